"""Bytes to lines, none longer than the bound, ends kept.

A line ends with LF, CRLF or CR, in any mix. It is cut before it is decoded, which is right in every
encoding that `workers.inputs.tables.encodings` lets through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Line = tuple[int, bytes | None]  # its number from 1, and its bytes with their end; None: too long


def lines(chunks: Iterable[bytes], *, max_bytes: int) -> Iterator[Line]:
    r"""The lines of a file, wherever its chunks end.

    Args:
        chunks: of any size.
        max_bytes: of one line, its end included; a longer one is passed over, never held.

    >>> list(lines([b"one\r", b"\ntw", b"o\n", b"much too long"], max_bytes=5))
    [(1, b'one\r\n'), (2, b'two\n'), (3, None)]
    """
    number, size = 0, 0
    begun: list[bytes] = []  # the line whose end has not come; empty when it is too long
    for chunk in _between_ends(chunks):
        pieces = chunk.splitlines(keepends=True)
        rest = b"" if pieces[-1].endswith((b"\n", b"\r")) else pieces.pop()
        for piece in pieces:
            number += 1
            if size:
                size += len(piece)
                yield number, b"".join([*begun, piece]) if size <= max_bytes else None
                begun, size = [], 0
            else:
                yield number, piece if len(piece) <= max_bytes else None
        if rest:
            size += len(rest)
            begun.append(rest)
            if size > max_bytes:
                begun.clear()
    if size:
        yield number + 1, b"".join(begun) if size <= max_bytes else None


def _between_ends(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, with no chunk ending between a CR and the LF that may follow it."""
    held = b""
    for each in chunks:
        chunk = held + each
        held = b"\r" if chunk.endswith(b"\r") else b""
        if len(chunk) > len(held):
            yield chunk[: len(chunk) - len(held)]
    if held:
        yield held
