"""Splits bytes into lines of bounded size and keeps the line ends.

A line ends with LF, CRLF or CR, in any mix. Lines are split before they are decoded, which is
correct in every encoding that `workers.inputs.tables.encodings` accepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Line = tuple[int, bytes | None]  # its number from 1, and its bytes with their end; None: too long


def lines(chunks: Iterable[bytes], *, max_bytes: int) -> Iterator[Line]:
    r"""Split chunks into lines.

    Args:
        chunks: the bytes of the file, in chunks of any size.
        max_bytes: limit of a line, with its end; a longer line yields None and is not buffered.

    >>> list(lines([b"one\r", b"\ntw", b"o\n", b"much too long"], max_bytes=5))
    [(1, b'one\r\n'), (2, b'two\n'), (3, None)]
    """
    number, size = 0, 0
    incomplete: list[bytes] = []  # the incomplete line; empty if it is too long
    for chunk in _between_ends(chunks):
        pieces = chunk.splitlines(keepends=True)
        rest = b"" if pieces[-1].endswith((b"\n", b"\r")) else pieces.pop()
        for piece in pieces:
            number += 1
            if size:
                size += len(piece)
                yield number, b"".join([*incomplete, piece]) if size <= max_bytes else None
                incomplete, size = [], 0
            else:
                yield number, piece if len(piece) <= max_bytes else None
        if rest:
            size += len(rest)
            incomplete.append(rest)
            if size > max_bytes:
                incomplete.clear()
    if size:
        yield number + 1, b"".join(incomplete) if size <= max_bytes else None


def _between_ends(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, with no chunk ending between a CR and the LF that may follow it."""
    pending = b""
    for each in chunks:
        chunk = pending + each
        pending = b"\r" if chunk.endswith(b"\r") else b""
        if len(chunk) > len(pending):
            yield chunk[: len(chunk) - len(pending)]
    if pending:
        yield pending
