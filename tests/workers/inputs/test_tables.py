"""Any bytes at all: rows, or a refusal; and the same rows however they come."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from tests.workers.inputs.streams import Dribble, binary, chunks, rows_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.reader import read_rows, text_rows
from workers.inputs.tables.row import Row, TableLimits
from workers.inputs.tables.sniff import sniff

BYTES = st.lists(
    st.sampled_from(
        [
            b'{"a":1}', b'{"a":"\xc3\xa9"}', b"\n", b"\r\n", b"\r", b",", b";", b'"', b'""', b"a,b",
            b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\xe9", b"\x1f\x8b", b"PAR1", b"x" * 30,
        ]
    )
    | st.binary(max_size=4),
    max_size=30,
).map(b"".join)  # fmt: skip
FORMATS = st.builds(
    Format,
    kind=st.sampled_from(["jsonl", "csv"]),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-32-be", "cp1252", "gb18030"]),
    delimiter=st.sampled_from(",;"),
)
SMALL = TableLimits(max_row_bytes=40)


def all_of(data: bytes, found: Format, skip: int = 0) -> list[Row] | str:
    try:
        return rows_of(data, found=found, skip=skip, bounds=SMALL)
    except InvalidRequest as exc:
        return str(exc)


@given(BYTES, st.booleans())
def test_any_bytes_are_rows_or_a_refusal(data: bytes, compressed: bool):
    data = gzip.compress(data) if compressed else data
    try:
        rows = rows_of(data)
    except InvalidRequest:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all((row.data is None) != (row.fault is None) for row in rows)
    assert all(one.line < other.line for one, other in pairwise(rows))


@given(BYTES, FORMATS, st.lists(st.integers(1, 9), min_size=1))
def test_rows_are_the_same_wherever_chunks_end(data: bytes, found: Format, sizes: list[int]):
    expected = all_of(data, found)
    try:
        rows: list[Row] | str = list(text_rows(chunks(data, sizes), found, skip=0, bounds=SMALL))
    except InvalidRequest as exc:
        rows = str(exc)
    assert rows == expected


@given(BYTES, FORMATS, st.integers(0, 5))
def test_skipping_gives_the_rows_that_would_have_come(data: bytes, found: Format, skip: int):
    expected = all_of(data, found)
    assume(isinstance(expected, list))
    assert all_of(data, found, skip) == expected[skip:]


@given(st.text(max_size=50), st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))
def test_a_sniffed_encoding_with_a_mark_is_always_right(text: str, encoding: str):
    assume("\0" not in text and text.strip() and not text.startswith(("[", "{", "sep=", "\ufeff")))
    data = f'x|y\n"{text.replace(chr(34), "")}"|1\n'.encode(encoding)
    (row,) = rows_of(data, declared=DeclaredFormat(format="csv", delimiter="|"))
    assert row.data == {"x": text.replace('"', ""), "y": "1"}


def test_a_stream_that_cannot_go_back_is_read_by_its_head_and_the_rest():
    data = b"id;text\n" + b"1;hello\n" * 50_000
    stream = binary(Dribble(data, [1000, 3]))
    assert sum(row.data is not None for row in read_rows(stream, sniff(data[:65_536]))) == 50_000


def test_what_the_stream_raises_comes_through():
    class Broken(Dribble):
        def read(self, size: int = -1) -> bytes:
            raise TimeoutError

    for kind in ("jsonl", "csv", "parquet"):
        with pytest.raises(TimeoutError):
            list(read_rows(binary(Broken(b"", [1])), Format(kind=kind)))  # type: ignore[arg-type]
