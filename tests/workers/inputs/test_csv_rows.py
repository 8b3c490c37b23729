"""CSV files: headers, counts of fields, and every odd file that people send."""

from __future__ import annotations

import gzip
import io

import pytest

from shared.errors import InvalidRequest
from tests.workers.inputs.streams import Dribble, binary, codes_of, data_of, rows_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.reader import read_rows
from workers.inputs.tables.row import TableLimits
from workers.inputs.tables.sniff import sniff

CSV = Format(kind="csv")


def test_rows_are_named_by_the_header():
    rows = rows_of(b'id,text\n1,"a, b"\n\n2,c\n')
    assert [(row.number, row.line, row.data) for row in rows] == [
        (1, 2, {"id": "1", "text": "a, b"}),
        (2, 4, {"id": "2", "text": "c"}),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sizes", [[1], [2, 3], [1 << 20]])
def test_unicode_with_and_without_mark_compressed_and_dribbling(
    encoding: str, end: str, sizes: list[int]
):
    text = end.join(["id;text", '1;"Grüße, 😀', 'und ""so"" weiter"', "2;ñ", ""])
    data = gzip.compress(text.encode(encoding))

    rows = list(read_rows(binary(Dribble(data, sizes)), sniff(data)))

    assert data_of(rows) == [
        {"id": "1", "text": f'Grüße, 😀{end}und "so" weiter'},
        {"id": "2", "text": "ñ"},
    ]
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "has 1 field, but the header has 2"),
        (
            "1,a,b",
            "has 3 fields, but the header has 2: quote every field that contains the delimiter",
        ),
        (",,,", "has 4 fields, but the header has 2"),
    ],
)
def test_a_row_of_another_length_says_so(line: str, message: str):
    rows = rows_of(f"id,text\n1,a\n{line}\n2,b\n".encode(), found=CSV)
    assert codes_of(rows) == [None, "field_count", None]
    assert rows[1].fault is not None
    assert rows[1].fault.message.startswith(message)
    assert (rows[1].number, rows[1].line) == (2, 3)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('id,"', "the header in line 1 opens a quote"),
        ("id,t\0", "the header in line 1 holds a NUL byte"),
        ("x" * 2000, "the header in line 1 is longer than 1000 bytes"),
    ],
)
def test_a_header_that_names_no_columns_makes_the_file_unreadable(header: str, reason: str):
    with pytest.raises(InvalidRequest, match=reason) as caught:
        rows_of(f"{header}\n1,a,b\n".encode(), found=CSV, bounds=TableLimits(max_row_bytes=1000))
    assert caught.value.fields[0].field == "file"


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"id,text", b"id,text\r\n\n"])
def test_an_empty_file_or_a_header_alone_has_no_rows(data: bytes):
    assert rows_of(data, found=CSV) == []


def test_one_row_and_one_column():
    assert data_of(rows_of(b"text\nhello")) == [{"text": "hello"}]
    assert data_of(rows_of(b'text\n""\n')) == [{"text": ""}]


def test_names_are_trimmed_and_values_are_not():
    assert data_of(rows_of(b" id , text\n 1 , a \n")) == [{"id": " 1 ", "text": " a "}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_line_that_tells_excel_the_delimiter_is_passed_over(delimiter: str):
    text = f"sep={delimiter}\r\nid{delimiter}text\r\n1{delimiter}a\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        rows = rows_of(text.encode(encoding))
        assert [(row.number, row.line, row.data) for row in rows] == [
            (1, 3, {"id": "1", "text": "a"})
        ]


@pytest.mark.parametrize("skip", range(7))
def test_rows_are_passed_over_by_number_the_wrong_ones_too(skip: int):
    data = b'id,text\n1,a\n2,"b\nb"\n3\n4,"stray\n5,e\xff\n6,f\n'
    everything = rows_of(data, found=CSV)
    assert codes_of(everything) == [
        None, None, "field_count", "unclosed_quote", "undecodable", None,
    ]  # fmt: skip
    assert rows_of(data, found=CSV, skip=skip) == everything[skip:]


def test_what_is_said_wins_over_what_is_found():
    data = "id;text,more\n1;é,x\n".encode("cp1252")
    said = DeclaredFormat(format="csv", delimiter=",", encoding="cp1252")
    assert data_of(rows_of(data, declared=said)) == [{"id;text": "1;é", "more": "x"}]


def test_a_file_of_a_single_line_of_50_mb_is_refused_by_its_header():
    with pytest.raises(InvalidRequest, match="the header in line 1 is longer"):
        rows_of(b"x" * 50_000_000)


def test_a_row_of_50_mb_is_a_fault():
    data = b"id,text\n1," + b"x" * 50_000_000 + b"\n2,b\n"
    assert codes_of(rows_of(data)) == ["row_too_long", None]


def test_a_cell_of_a_megabyte_is_read():
    text = "x" * 1_000_000
    assert data_of(rows_of(f'id,text\n1,"{text}"\n'.encode())) == [{"id": "1", "text": text}]


def test_nothing_is_read_before_it_is_asked_for():
    stream = io.BytesIO(b"id,text\n1,a\n")
    rows = read_rows(stream, CSV)
    assert stream.tell() == 0
    assert next(rows).number == 1
