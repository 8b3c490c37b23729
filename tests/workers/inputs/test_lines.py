"""Lines are the same wherever chunks end, and none is held that is too long."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.inputs.streams import chunks
from workers.inputs.tables.lines import lines

_SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@given(st.text("a\r\n").map(str.encode), _SIZES, st.integers(1, 9))
def test_are_those_of_splitlines_wherever_chunks_end(data: bytes, sizes: list[int], most: int):
    expected = [
        (number, line if len(line) <= most else None)
        for number, line in enumerate(data.splitlines(keepends=True), start=1)
    ]
    assert list(lines(chunks(data, sizes), max_bytes=most)) == expected


def test_of_nothing_are_none():
    assert list(lines([], max_bytes=9)) == []
    assert list(lines([b"", b""], max_bytes=9)) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
def test_a_line_of_50_mb_is_passed_over_and_not_held(end: bytes):
    block = b"x" * 262_144
    tracemalloc.start()
    try:
        found = list(lines([b"a\n", *[block] * 200, end, b"b" if end else b""], max_bytes=1 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == [(1, b"a\n"), (2, None), *([(3, b"b")] if end else [])]
    assert peak < 4 << 20
