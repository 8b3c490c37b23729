"""What a file is, by its beginning."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.batches import Kind
from shared.errors import InvalidRequest
from tests.workers.inputs.test_compression import zstd
from workers.inputs.tables.file_format import DeclaredFormat
from workers.inputs.tables.sniff import HEAD_BYTES, sniff


def gzipped(data: bytes) -> bytes:
    """The same bytes at any time."""
    return gzip.compress(data, mtime=0)


PROSE = [
    "It works; it is nice, really",
    "No",
    "Hello, world, how are you?",
    "At 10:30, or 11:00",
    "a | b",
]


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "described"),
    [
        (b'{"text":"a"}\n', "JSONL, UTF-8"),
        (b'\n \n {"text":"a"}\n', "JSONL, UTF-8"),
        (b'\xef\xbb\xbf{"text":"a"}\n', "JSONL, UTF-8 with BOM"),
        (b"{}\n", "JSONL, UTF-8"),
        (b'broken\n{"a":1}\n{"a":2}\n', "JSONL, UTF-8"),
        (b'["a"]\n{"a":1}\n{"a":2}\n', "JSONL, UTF-8"),
        (b'{"text":"a"}\r{"text":"b"}\r', "JSONL, UTF-8"),
        (b"id,text\n1,a\n", "CSV, delimiter ',', UTF-8"),
        (b"id;text\n1;Hello, world\n", "CSV, delimiter ';', UTF-8"),
        (b"id\ttext\n1\tHello, world\n", "CSV, delimiter tab, UTF-8"),
        (b"id|text\n1|Hello, world\n", "CSV, delimiter '|', UTF-8"),
        (b"id^text\n1^Hello, world\n", "CSV, delimiter '^', UTF-8"),
        (b"id\x1ftext\n1\x1fHello\n", "CSV, delimiter unit separator, UTF-8"),
        ("id;text\n1;a\n".encode("utf-16"), "CSV, delimiter ';', UTF-16LE with BOM"),
        ("id;text\n1;naïve\n".encode("cp1252"), "CSV, delimiter ';', Windows-1252"),
        (gzipped(b"id;text\n1;a\n"), "CSV, delimiter ';', UTF-8, gzip"),
        (zstd.compress(b'{"a":1}'), "JSONL, UTF-8, zstd"),
        (parquet(), "Parquet"),
        (gzipped(parquet()), "Parquet, gzip"),
        (b"ORC,text\n1,2\n", "CSV, delimiter ',', UTF-8"),
        (b"sep=;\nid;a,b\n1;2,3\n", "CSV, delimiter ';', UTF-8"),
        (b"", "JSONL, UTF-8"),
    ],
)
def test_is_told_by_content(data: bytes, described: str):
    assert sniff(data).describe() == described


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_a_delimiter_is_told_by_consistency(delimiter: str):
    quoted = ['"' + text + '\nand ""so"" on"' for text in PROSE]
    lines = [delimiter.join(["id", "text", "lang"])]
    lines += [delimiter.join([str(i), text, "en"]) for i, text in enumerate(quoted)]
    assert sniff("\r\n".join(lines).encode()).delimiter == delimiter


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_a_few_wrong_rows_do_not_hide_it(delimiter: str):
    lines = [delimiter.join(["id", "text"])] + [f"{i}{delimiter}hello you" for i in range(20)]
    lines[3:3] = ["too few", delimiter.join("many"), "1" + delimiter + '"stray']
    assert sniff("\n".join(lines).encode()).delimiter == delimiter


def test_a_single_column_of_prose_is_not_cut():
    data = "\n".join(["text", *PROSE]).encode()
    assert sniff(data).delimiter not in ",;|:"
    quoted = "\n".join(["text", *(f'"{text}"' for text in PROSE)]).encode()
    assert sniff(quoted).delimiter == ","


def test_a_head_that_ends_anywhere_tells_the_same():
    data = "\n".join(["id;text", *(f'{i};"Grüße, {i}\nund ""so"" weiter"' for i in range(40))])
    for end in range(30, len(data.encode()), 7):
        found = sniff(data.encode()[:end])
        assert (found.kind, found.encoding, found.delimiter) == ("csv", "utf-8", ";"), end


def test_a_first_row_longer_than_the_head_does_not_hide_it():
    row = '1;"' + "one, two | three,\n" * (HEAD_BYTES // 17)
    assert sniff(f"id;text\n{row}".encode()[:HEAD_BYTES]).delimiter == ";"


def test_a_first_line_longer_than_the_head_is_told():
    assert sniff(b'{"text":"' + b"x" * HEAD_BYTES).kind == "jsonl"
    assert sniff(b'{"text":"' + b"x" * HEAD_BYTES, filename="a.csv").kind == "jsonl"


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("a.csv", "csv"), ("a.tsv.gz", "csv"), ("a.jsonl", "jsonl"), ("", "jsonl"), ("a", "jsonl")],
)
def test_a_name_tells_where_content_does_not(filename: str, kind: str):
    assert sniff(b" \n", filename=filename).kind == kind
    assert sniff(b'{"a":1}\n', filename=filename).kind == "jsonl"
    assert sniff(b"broken\n", filename="A.JSONL.GZ").kind == "jsonl"


def test_what_is_said_wins():
    said = DeclaredFormat(format="csv", delimiter="tab", encoding="latin-1")
    found = sniff(b'{"a":1}\n', declared=said)
    assert (found.kind, found.delimiter, found.encoding) == ("csv", "\t", "iso8859-1")
    assert sniff(b"a,b\n1,2\n", declared=DeclaredFormat(delimiter=";")).delimiter == ";"
    assert sniff(b"a,b\n1,2\n", declared=DeclaredFormat(format="jsonl")).kind == "jsonl"


@pytest.mark.parametrize("said", ["", "ab", '"', "\n", "\r", "\0"])
def test_a_delimiter_that_is_none_is_refused(said: str):
    with pytest.raises(InvalidRequest, match="or one character") as caught:
        sniff(b"a,b\n", declared=DeclaredFormat(delimiter=said))
    assert caught.value.fields[0].field == "delimiter"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_parquet_and_text_are_not_taken_for_each_other(kind: Kind):
    with pytest.raises(
        InvalidRequest, match=f"is a Parquet file, but its format was given as {kind}"
    ):
        sniff(parquet(), declared=DeclaredFormat(format=kind))
    for data in (b"a,b\n", b"", b"PAR"):
        with pytest.raises(InvalidRequest, match="is not a Parquet file"):
            sniff(data, declared=DeclaredFormat(format="parquet"))


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("xl/workbook.xml", "a")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zipped(), "Excel"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\x00", "PDF"),
        (b"BZh91AY&SY\x01\x02", "bzip2"),
        (b"\xfd7zXZ\x00\x00", "xz"),
        (gzipped(gzipped(b"a")), "compressed twice"),
        (bytes(257) + b"ustar\x00", "tar archive"),
        (json.dumps([{"a": 1}, {"a": 2}]).encode(), "JSON array"),
        (json.dumps([{"a": 1}, {"a": 2}], indent=2).encode(), "JSON array"),
        (json.dumps([["a", 1], ["b", 2]]).encode(), "JSON array"),
    ],
)
def test_what_is_no_table_is_refused_by_name(data: bytes, reason: str):
    with pytest.raises(InvalidRequest, match=reason) as caught:
        sniff(data)
    assert caught.value.fields[0].field == "file"
