"""JSONL: what is a row, what is a fault, and that neither depends on how the bytes arrive."""

from __future__ import annotations

import io
import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.inputs.streams import (
    Repeated,
    binary,
    chunks,
    codes_of,
    data_of,
    rows_of,
)
from workers.inputs.tables.file_format import Format
from workers.inputs.tables.reader import read_rows, text_rows
from workers.inputs.tables.row import TableLimits

JSONL = Format(kind="jsonl")
ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=5)


@given(
    objects=OBJECTS,
    encoding=st.sampled_from(ENCODINGS),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n \t\n"]),
    sizes=st.lists(st.integers(1, 6), min_size=1),
)
def test_any_object_comes_back_in_any_encoding_wherever_chunks_end(
    objects: list[dict[str, object]], encoding: str, ascii_only: bool, end: str, sizes: list[int]
):
    text = "".join(json.dumps(each, ensure_ascii=ascii_only) + end for each in objects)
    found = Format(kind="jsonl", encoding=encoding)

    rows = list(
        text_rows(chunks(text.encode(encoding), sizes), found, skip=0, bounds=TableLimits())
    )

    assert data_of(rows) == objects
    assert [row.number for row in rows] == list(range(1, len(objects) + 1))


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (b"{", "invalid_json_line", "is truncated"),
        (b'{"a":1,}', "invalid_json_line", "trailing comma"),
        (b"{'a':1}", "invalid_json_line", "not valid JSON"),
        (b'{"a":1} {"b":2}', "invalid_json_line", "trailing characters"),
        (b'{"a":"tab\there"}', "invalid_json_line", "invalid character"),
        (b'{"a":"x\x00"}', "invalid_json_line", "invalid character"),
        (b"nonsense", "invalid_json_line", "not valid JSON"),
        (b"[" * 100_000, "invalid_json_line", "too deeply"),
        (b'{"a":' * 100_000, "invalid_json_line", "too deeply"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "invalid_json_line", "too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, None, ""),
        (b'{"a":NaN}', "invalid_number", "holds NaN"),
        (b'{"a":-Infinity}', "invalid_number", "holds -Infinity"),
        (b'{"a":1e999}', "invalid_number", "too large"),
        (b'{"a":1' + b"0" * 5000 + b"}", "invalid_number", "too large"),
        (b'{"a":"\\ud800"}', "invalid_text", "surrogate"),
        (b'{"a":"\\udc00\\ud800"}', "invalid_text", "surrogate"),
        (b'{"\\ud800":1}', "invalid_text", "surrogate"),
        (b'{"a":"\\ud83d\\ude00"}', None, ""),
        (b'{"a":1,"a":1}', "duplicate_key", "duplicate key"),
        (b'{"a" :1,"a" :1,"b":":"}', "duplicate_key", "duplicate key"),
        (b'{"a":1,"\\u0061":1}', "duplicate_key", "duplicate key"),
        (b'{"a":{"b":1,"b":2}}', "duplicate_key", "duplicate key"),
        (b'{"a":[{"b":1,"b":2}]}', "duplicate_key", "duplicate key"),
        (b'{"a":[{"b":1},{"b":":2,"}],"c":"d:"}', None, ""),
        (b'{"a":"b","c":":)","d":1' + b"0" * 4000 + b"}", None, ""),
        (b"[]", "not_an_object", "an array"),
        (b'"a"', "not_an_object", "a string"),
        (b"1.5", "not_an_object", "a number"),
        (b"true", "not_an_object", "true or false"),
        (b"null", "not_an_object", "null"),
        (b"{}", None, ""),
        (b' {"a": 1}\t', None, ""),
        (b'{"a":12345678901234567890123}', None, ""),
    ],
)
def test_each_fault_has_its_code_and_reason_and_the_next_line_is_read(
    line: bytes, code: str | None, reason: str
):
    rows = rows_of(line + b'\n{"b":2}\n', found=JSONL)

    assert codes_of(rows) == [code, None]
    assert rows[1].data == {"b": 2}
    assert reason in (rows[0].fault.message if rows[0].fault else "")


@given(st.text('{}[]":,\\a1e.+-N \n\u00e9', max_size=30))
def test_what_is_read_is_what_python_reads_where_it_is_strict(line: str):
    def refuse(name: str) -> None:
        raise ValueError(name)

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    for row, text in zip(
        rows_of(line.encode(), found=JSONL),
        [each for each in line.split("\n") if each.strip()],
        strict=True,
    ):
        try:
            value = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
            right = isinstance(value, dict) and "inf" not in repr(value)
        except ValueError:
            right = False
        assert (row.data is not None) == right
        assert row.data is None or row.data == value


def test_blank_lines_are_no_rows_but_lines():
    rows = rows_of(b'\n \n{"a":1}\r\n\r\n\t\n{"a":2}', found=JSONL)
    assert [(row.number, row.line) for row in rows] == [(1, 3), (2, 6)]


def test_lines_may_end_in_cr_alone():
    rows = rows_of(b'{"a":1}\r{"a":2}\r')
    assert [(row.number, row.line, row.data) for row in rows] == [
        (1, 1, {"a": 1}),
        (2, 2, {"a": 2}),
    ]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_rows(data: bytes):
    assert rows_of(data) == []


def test_integers_are_exact():
    (row,) = rows_of(b'{"id":12345678901234567890123,"small":0.1}')
    assert row.data == {"id": 12345678901234567890123, "small": 0.1}


@pytest.mark.parametrize("skip", range(6))
def test_rows_are_passed_over_by_number_the_wrong_ones_too(skip: int):
    data = b'{"a":1}\n\nwrong\n' + b"x" * 100 + b'\n\n{"a":4}\n\xff\n'
    bounds = TableLimits(max_row_bytes=50)
    everything = rows_of(data, found=JSONL, bounds=bounds)
    assert [row.number for row in everything] == [1, 2, 3, 4, 5]
    assert rows_of(data, found=JSONL, skip=skip, bounds=bounds) == everything[skip:]


def test_a_line_beyond_the_bound_is_a_fault_and_never_held():
    stream = Repeated(b"x", size=50_000_000, first=b'{"a":1}\n', last=b'\n{"a":3}\n')
    tracemalloc.start()
    try:
        rows = list(read_rows(binary(stream), JSONL, bounds=TableLimits(max_row_bytes=1_000_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert codes_of(rows) == [None, "row_too_long", None]
    assert rows[1].fault is not None
    assert "longer than 1000000 bytes" in rows[1].fault.message
    assert [row.line for row in rows] == [1, 2, 3]
    assert peak < 6_000_000


def test_no_fault_repeats_what_the_row_says():
    secret = b"confidential"
    for line in (b'{"%s"' % secret, b'["%s"]' % secret, b'{"%s":1,"%s":1}' % (secret, secret)):
        (row,) = rows_of(line, found=JSONL)
        assert row.fault is not None
        assert "confidential" not in row.fault.message


def test_floats_are_finite():
    (row,) = rows_of(b'{"a":1.7976931348623157e308}')
    assert row.data is not None
    assert math.isfinite(float(str(row.data["a"])))
    assert list(read_rows(io.BytesIO(b""), JSONL)) == []
