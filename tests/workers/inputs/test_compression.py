"""Compressed files: members, cuts, and those that expand without end."""

from __future__ import annotations

import gzip
import io
import random
import sys
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from tests.workers.inputs.streams import Dribble, Repeated, binary, data_of
from workers.inputs.tables.compression import compression_of, expanded, expanded_head
from workers.inputs.tables.file_format import Compression, Format
from workers.inputs.tables.reader import read_rows
from workers.inputs.tables.row import Row, TableLimits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}
BOTH = pytest.mark.parametrize("name", ["gzip", "zstd"])


def all_of(data: bytes, name: Compression, bounds: TableLimits | None = None) -> bytes:
    return b"".join(expanded(io.BytesIO(data), name, bounds or TableLimits()))


@BOTH
@given(
    members=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 40), min_size=1),
)
def test_members_follow_one_another_however_they_arrive(
    name: Compression, members: list[bytes], sizes: list[int]
):
    data = b"".join(map(COMPRESS[name], members))

    found = b"".join(expanded(binary(Dribble(data, sizes)), name, TableLimits()))

    assert compression_of(data) == name
    assert found == b"".join(members)


@BOTH
def test_a_large_file_comes_in_chunks(name: Compression):
    inside = random.Random(1).randbytes(3_000_000) + bytes(10_000_000)
    assert all_of(COMPRESS[name](inside), name) == inside


@BOTH
@pytest.mark.parametrize("left", [0.02, 0.5, 0.99])
def test_one_cut_off_gives_its_rows_and_then_raises(name: Compression, left: float):
    lines = b"".join(b'{"n":%d,"r":"%d"}\n' % (n, hash((n, 7))) for n in range(100_000))
    data = COMPRESS[name](lines)
    found = Format(kind="jsonl", compression=name)
    rows: list[Row] = []

    with pytest.raises(InvalidRequest, match="data is truncated") as caught:
        rows.extend(read_rows(io.BytesIO(data[: int(len(data) * left)]), found))

    assert caught.value.fields[0].field == "file"
    assert len(rows) > 100_000 * (left - 0.1) - 10_000
    assert [each["n"] for each in data_of(rows)[:-1] if each] == list(range(len(rows) - 1))


@BOTH
def test_a_broken_one_raises(name: Compression):
    inside = random.Random(2).randbytes(10_000)
    checked = {zstd.CompressionParameter.checksum_flag: 1}  # as the zstd command writes it
    data = bytearray(
        gzip.compress(inside) if name == "gzip" else zstd.compress(inside, None, checked)
    )
    data[len(data) // 2] ^= 0xFF

    with pytest.raises(InvalidRequest, match="corrupt"):
        all_of(bytes(data), name)


@BOTH
def test_garbage_behind_it_raises(name: Compression):
    with pytest.raises(InvalidRequest, match="or other data follows it"):
        all_of(COMPRESS[name](b"{}\n") + b"garbage", name)


def test_zeros_behind_gzip_are_padding():
    assert all_of(gzip.compress(b"a") + bytes(300_000), "gzip") == b"a"
    assert all_of(gzip.compress(b"a") + bytes(9) + gzip.compress(b"b"), "gzip") == b"ab"


def test_frames_to_be_skipped_are_skipped():
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    data = skipped + zstd.compress(b"a") + skipped
    assert compression_of(data) == "zstd"
    assert all_of(data, "zstd") == b"a"


def test_a_window_that_would_take_gigabytes_is_refused():
    options = {zstd.CompressionParameter.window_log: 30}
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(b"a" * 1000) + compressor.flush()
    with pytest.raises(InvalidRequest, match="corrupt"):
        all_of(data, "zstd")


@BOTH
def test_a_bomb_is_stopped_by_its_ratio_in_little_memory(name: Compression):
    data = COMPRESS[name](bytes(200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="more than 200 times its size"):
            sum(map(len, expanded(io.BytesIO(data), name, TableLimits())))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@BOTH
def test_a_bomb_is_stopped_by_its_size(name: Compression):
    data = COMPRESS[name](bytes(3_000_000))
    with pytest.raises(InvalidRequest, match="more than 1000000 bytes"):
        all_of(data, name, TableLimits(max_expanded_bytes=1_000_000))
    assert len(all_of(data, name, TableLimits(max_expanded_bytes=3_000_000))) == 3_000_000


def test_the_size_is_bounded_without_compression_too():
    stream = binary(Repeated(b"x", size=10_000_000))
    with pytest.raises(InvalidRequest, match="more than 1000 bytes"):
        list(expanded(stream, "none", TableLimits(max_expanded_bytes=1000)))


@BOTH
def test_the_head_of_one_is_expanded_as_far_as_it_goes(name: Compression):
    inside = random.Random(3).randbytes(400_000)
    data = COMPRESS[name](inside)
    assert expanded_head(data, name, size=100) == inside[:100]
    some = expanded_head(data[:200_000], name, size=1_000_000)
    assert inside.startswith(some)
    assert len(some) > 50_000
    assert expanded_head(data[:3], name, size=100) == b""
