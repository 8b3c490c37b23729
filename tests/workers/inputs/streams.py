"""Streams as a network gives them, and files too large to be held."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import cycle
from typing import BinaryIO, cast

from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.reader import read_rows
from workers.inputs.tables.row import Row, TableLimits
from workers.inputs.tables.sniff import HEAD_BYTES, sniff


class Dribble(io.RawIOBase):
    """Gives a few bytes at a time, and cannot go back."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__()
        self._data = data
        self._place = 0
        self._sizes = cycle(sizes)

    def read(self, size: int = -1) -> bytes:
        piece = self._data[self._place : self._place + min(size, next(self._sizes))]
        self._place += len(piece)
        return piece


class Repeated(io.RawIOBase):
    """A beginning, then one piece as often as it takes; none of it is held."""

    def __init__(self, piece: bytes, *, size: int, first: bytes = b"", last: bytes = b"") -> None:
        super().__init__()
        self._pieces = self._all(first, piece * max(1, 65_536 // len(piece)), size, last)

    @staticmethod
    def _all(first: bytes, block: bytes, size: int, last: bytes) -> Iterator[bytes]:
        yield first
        for _ in range(-(-size // len(block))):
            yield block
        yield last

    def read(self, size: int = -1) -> bytes:
        assert size >= 65_536
        return next((piece for piece in self._pieces if piece), b"")


def binary(stream: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, stream)


def chunks(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data, cut."""
    place = 0
    for size in cycle(sizes):
        if place >= len(data):
            return
        yield data[place : place + size]
        place += size


def rows_of(
    data: bytes,
    *,
    found: Format | None = None,
    declared: DeclaredFormat | None = None,
    filename: str = "",
    skip: int = 0,
    bounds: TableLimits | None = None,
    wanted: RequestedColumns | None = None,
) -> list[Row]:
    """Everything that is read from a file."""
    found = found or sniff(data[:HEAD_BYTES], filename=filename, declared=declared, wanted=wanted)
    return list(read_rows(io.BytesIO(data), found, skip=skip, bounds=bounds, wanted=wanted))


def data_of(rows: list[Row]) -> list[dict[str, object] | None]:
    return [row.data for row in rows]


def codes_of(rows: list[Row]) -> list[str | None]:
    return [row.fault.code if row.fault else None for row in rows]
