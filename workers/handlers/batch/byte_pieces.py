"""Readable files whose bytes are generated while they are read."""

from __future__ import annotations

import io
from collections.abc import Iterable


class PieceStream(io.RawIOBase):
    """Pieces of bytes as a stream to be read once; `size` counts what was read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self.size = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, all that is left if it is negative; empty at the end."""
        if size < 0:
            found = b"".join([bytes(self._rest), *self._pieces])
            self._rest = memoryview(b"")
            self.size += len(found)
            return found
        taken: list[memoryview] = []
        missing = size
        while missing:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    break
            taken.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(taken[-1])
        self.size += size - missing
        return b"".join(taken)
