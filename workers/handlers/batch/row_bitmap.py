"""A set of rows of a file as a bitmap: a hundred million rows take 12 MB."""

from __future__ import annotations

from collections.abc import Iterable


class RowBitmap:
    """Rows by their numbers, from 0. It grows as rows are added.

    >>> rows = RowBitmap()
    >>> rows.add(2, 9)
    >>> [number for number in range(12) if number in rows], len(rows)
    ([2, 3, 4, 5, 6, 7, 8, 9], 8)
    """

    def __init__(self, data: bytes = b"") -> None:
        self._bits = bytearray(data)

    def add(self, first: int, last: int | None = None) -> None:
        """Add a row, or all from the first to the last."""
        last = first if last is None else last
        missing = last // 8 + 1 - len(self._bits)
        if missing > 0:
            self._bits += bytes(missing)
        for number in range(first, last + 1):
            self._bits[number >> 3] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)

    def __or__(self, other: RowBitmap) -> RowBitmap:
        mine, theirs = (int.from_bytes(each.dumps(), "little") for each in (self, other))
        size = max(len(self.dumps()), len(other.dumps()))
        return RowBitmap((mine | theirs).to_bytes(size, "little"))

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def dumps(self) -> bytes:
        """The bits, to be stored."""
        return bytes(self._bits)


def ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers in any order as ranges with both ends, ascending.

    >>> ranges([3, 1, 2, 7])
    ((1, 3), (7, 7))
    """
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)
