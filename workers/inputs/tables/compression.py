"""Streaming decompression of gzip and zstd, with limits against zip bombs.

A file may have several members. A truncated file raises when its end is reached; the rows before
that point have been read by then.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

from shared.errors import InvalidRequest
from workers.inputs.tables.file_format import Compression
from workers.inputs.tables.row import TableLimits, unreadable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 256 * 1024

# The default limit of the zstd command: 128 MB; only --ultra and --long exceed it.
_WINDOW_LOG_MAX = 27
_GZIP_WBITS = 31


def compression_of(head: bytes) -> Compression:
    """Detect the compression of a file from its first bytes.

    >>> compression_of(bytes.fromhex("1f8b08"))
    'gzip'
    """
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A zstd file may begin with a skippable frame, as those of pzstd do.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return "zstd"
    return "none"


def expanded(stream: BinaryIO, compression: Compression, bounds: TableLimits) -> Iterator[bytes]:
    """Decompress a file into chunks of about `CHUNK_BYTES`.

    Raises:
        InvalidRequest: The data is corrupt, truncated, or exceeds a limit when decompressed.
    """
    source = _CountingReader(stream)
    pieces: Iterable[bytes]
    if compression == "none":
        pieces = iter(source.read, b"")
    else:
        pieces = _members(source.read, _GzipMember if compression == "gzip" else _zstd, compression)
    total = 0
    for chunk in _gathered(pieces):
        total += len(chunk)
        bounds.check_expanded(total, sent_bytes=source.sent_bytes)
        yield chunk


def expanded_head(head: bytes, compression: Compression, *, size: int) -> bytes:
    """Decompress the head of a file, up to `size` bytes, as far as it goes."""
    if compression == "none":
        return head[:size]
    parts: list[bytes] = []
    pieces = _members(
        io.BytesIO(head).read, _GzipMember if compression == "gzip" else _zstd, compression
    )
    try:
        for piece in pieces:
            parts.append(piece)
            if sum(map(len, parts)) >= size:
                break
    except InvalidRequest:
        pass  # the head is truncated; corrupt data is reported when the file is read
    return b"".join(parts)[:size]


class _CountingReader:
    """Reads a stream in chunks and counts the bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sent_bytes = 0

    def read(self) -> bytes:
        data = self._stream.read(CHUNK_BYTES)
        self.sent_bytes += len(data)
        return data


class _Member(Protocol):
    """The decompressor of one member, with the interface of `zstd.ZstdDecompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    """A decompressor of one gzip member, with the interface of the zstd one."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        # Zeros may follow: padding to the block size of a tape or disk.
        return self._inflate.unused_data.lstrip(b"\0")

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inflate.decompress(data or self._inflate.unconsumed_tail, max_length)
        # An output of exactly `max_length` may have more behind it, without further input.
        self.needs_input = len(out) < max_length and not self._inflate.unconsumed_tail
        return out


def _zstd() -> _Member:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
    )


def _members(
    read: Callable[[], bytes], member_of: Callable[[], _Member], name: str
) -> Iterator[bytes]:
    """Decompress all members, in pieces of at most `CHUNK_BYTES` whatever the ratio."""
    data = read()
    while data:
        member = member_of()
        while not member.eof:
            feed = b""
            if member.needs_input:
                feed = data or read()
                data = b""
                if not feed:
                    unreadable(
                        f"its {name} data is truncated, as after an interrupted upload: "
                        "send it again"
                    )
            try:
                piece = member.decompress(feed, CHUNK_BYTES)
            except (zlib.error, zstd.ZstdError):
                unreadable(
                    f"its {name} data is corrupt, or other data follows it: compress it again"
                )
            if piece:
                yield piece
        data = member.unused_data or _past_zeros(read, padded=name == "gzip")


def _past_zeros(read: Callable[[], bytes], *, padded: bool) -> bytes:
    """The next bytes, without zero padding."""
    while data := read():
        data = data.lstrip(b"\0") if padded else data
        if data:
            break
    return data


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Merge small pieces, so that later stages run once for many bytes."""
    buffered: list[bytes] = []
    size = 0
    for piece in pieces:
        buffered.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES // 2:
            yield b"".join(buffered)
            buffered, size = [], 0
    if buffered:
        yield b"".join(buffered)
