"""The columns of a table: names of their own, and those that a request names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from tests.workers.inputs.streams import codes_of, data_of, rows_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns, columns, listed
from workers.inputs.tables.sniff import sniff

TEXT = RequestedColumns(required={"text_column": "text"})
BOTH = RequestedColumns(required={"text_column": "text", "id_column": "id"}, optional=("weight",))


@given(st.lists(st.sampled_from(["", "a", "a_2", "column_1", "column_2", "column_2_2"])))
def test_each_column_has_a_name_of_its_own_and_the_first_keeps_its_name(header: list[str]):
    names = columns(header)
    assert len(set(names)) == len(names) == len(header)
    for place, name in enumerate(header):
        if name and name not in header[:place]:
            assert names[place] == name


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["", "text"], ["column_1", "text"]),
        (["text", ""], ["text", "column_2"]),
        (["", "column_1"], ["column_1_2", "column_1"]),
        (["a", "a", "a"], ["a", "a_2", "a_3"]),
        (["a", "a", "a_2"], ["a", "a_3", "a_2"]),
    ],
)
def test_unnamed_and_doubled_columns_get_names(header: list[str], names: list[str]):
    assert columns(header) == names


@pytest.mark.parametrize(
    ("header", "field", "says"),
    [
        (["id", "body"], "text_column", "the table has no column 'text'; there are: 'id', 'body'."),
        (["sku", "text"], "id_column", "the table has no column 'id'; there are: 'sku', 'text'."),
        (["id", "text\t"], "text_column", r"there are: 'id', 'text\t'."),
        (["id", "text", "text"], "text_column", "columns 2 and 3 are both called 'text'"),
        (["weight", "text", "id", "weight"], "file", "columns 1 and 4 are both called 'weight'"),
    ],
)
def test_what_is_named_must_be_there_once(header: list[str], field: str, says: str):
    with pytest.raises(InvalidRequest) as refusal:
        columns(header, BOTH)
    assert says in refusal.value.detail
    assert refusal.value.fields[0].field == field


def test_what_is_not_named_may_stand_twice_or_be_missing():
    assert columns(["id", "note", "text", "note"], BOTH) == ["id", "note", "text", "note_2"]


def test_a_column_without_a_name_may_be_named():
    wanted = RequestedColumns(required={"id_column": "column_1"})
    assert columns(["", "text"], wanted) == ["column_1", "text"]


def test_a_long_list_is_cut():
    assert (
        listed(["x" * 50, *"abcdefghijk"])
        == f"'{'x' * 39}…', " + ", ".join(repr(each) for each in "abcdefghi") + ", …"
    )


def test_the_index_that_pandas_writes_is_a_column():
    rows = rows_of(b",text\n0,Where is my parcel\n1,b\n", wanted=TEXT)
    assert data_of(rows) == [
        {"column_1": "0", "text": "Where is my parcel"},
        {"column_1": "1", "text": "b"},
    ]


def test_blanks_behind_delimiters_are_not_of_names_nor_before_quotes():
    data = b'id, text\n1, "Hello, where is it"\n2, "charged twice, again"\n'
    assert data_of(rows_of(data, wanted=BOTH)) == [
        {"id": "1", "text": "Hello, where is it"},
        {"id": "2", "text": "charged twice, again"},
    ]


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        ("id, text\n1, Where; is; it\n2, a; b; c\n", ","),
        ("a,b,id|text\n1,2,3|x\n1,2,3|x\n", "|"),
        ("when;text;id\n10:00;a, b;1\n11:00;c, d;2\n", ";"),
        ("id:text\n1:a, b\n2:c, d\n", ":"),
        ("id text\n", None),
        ("Made: 2025-01-06, by hand\nid;text\n1;a, b\n", ";"),
        ("Made; by; hand\n\nid\ttext\n1\ta\n", "\t"),
    ],
)
def test_the_delimiter_is_the_one_that_cuts_out_the_columns_named(data: str, delimiter: str | None):
    found = sniff(data.encode(), wanted=BOTH).delimiter
    assert found == delimiter if delimiter else found not in " "


def test_what_the_request_says_of_the_delimiter_wins():
    found = sniff(b"id;text\n1;a\n", declared=DeclaredFormat(delimiter=","), wanted=BOTH)
    assert found.delimiter == ","


TITLED = "Extract of 2025-01-06\n\nid,text\n1,Where is my parcel\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_lines_above_the_header_are_skipped_where_the_request_says_so(end: str, encoding: str):
    data = TITLED.replace("\n", end).encode(encoding)
    said = DeclaredFormat(skip_rows=2)

    (row,) = rows_of(data, declared=said, wanted=BOTH)

    assert (row.number, row.line, row.data) == (1, 4, {"id": "1", "text": "Where is my parcel"})
    assert "2 lines skipped" in sniff(data, declared=said, wanted=BOTH).describe()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (TITLED, 3),
        ("Extract\nid,text\n1,a\n", 2),
        ('"Extract, of today"\nid,text\n1,a\n', 2),
        ('"Extract" of today\nid,text\n1,a\n', 2),
        ("Extract; of today\nid;text\n1;a\n", 2),
        ("Extract;;\n;;\nNo.;Date;Complaint\n1;2026-11-01;a\n", 3),
        ("{Extract}\nid,text\n1,a\n2,b\n", 2),
    ],
)
def test_a_line_below_that_looks_like_the_header_is_named(data: str, line: int):
    with pytest.raises(InvalidRequest) as refusal:
        rows_of(data.encode(), wanted=BOTH)
    assert f"Line {line} looks like the header: set skip_rows to {line - 1}" in (
        refusal.value.detail
    )


def test_a_row_that_has_not_all_names_is_not_taken_for_the_header():
    with pytest.raises(InvalidRequest, match="add a header row above it"):
        rows_of(b"sku,body\nid,words\n", wanted=BOTH)


def test_more_lines_are_skipped_than_there_are():
    assert (
        rows_of(b"id,text\n1,a\n", declared=DeclaredFormat(format="csv", skip_rows=9), wanted=BOTH)
        == []
    )


def test_only_csv_has_lines_to_skip():
    with pytest.raises(
        InvalidRequest, match="skip_rows: is allowed for CSV only, but the file is JSONL"
    ):
        rows_of(b'title\n{"text":"a"}\n', declared=DeclaredFormat(skip_rows=1))


def test_a_header_is_checked_also_where_no_row_can_be_read():
    with pytest.raises(InvalidRequest, match="no column 'text'"):
        rows_of(b"id,words\n1\n2\n", wanted=TEXT)
    assert codes_of(rows_of(b"id,text\n1\n2\n", wanted=TEXT)) == ["field_count"] * 2


def test_a_table_of_a_million_columns_is_refused_at_once_and_many_of_one_name_are_named():
    with pytest.raises(InvalidRequest, match="has 1000001 columns; the limit is 16384"):
        rows_of(b"text" + b",a" * 1_000_000 + b"\n1\n", found=Format(kind="csv"))
    names = columns(["a"] * 16_384)
    assert (names[:3], names[-1]) == (["a", "a_2", "a_3"], "a_16384")
