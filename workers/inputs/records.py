"""The grammar of CSV: lines to records of cells, by RFC 4180, and as lenient as Python's `csv`.

A quote opens a cell only at its beginning; inside, two quotes are one; what stands between the
closing quote and the delimiter is kept. Two things differ from `csv`:

- a cell that runs over line ends must be closed at a delimiter or a line end. If it is not, or not
  within the bound, its quote was a stray one: that line is a fault, and reading goes on at the next
  line, where `csv` would swallow rows up to the next quote, or the file;
- there is no limit of 131,072 characters in a cell that all threads share.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

from workers.inputs.encodings import is_unicode, undecodable
from workers.inputs.lines import Line
from workers.inputs.row import Fault, too_long

Record = tuple[int, list[str] | Fault]  # the line it begins in, and its cells

_Held = tuple[int, bytes]  # a line that may be read again

# How many bytes are read again after stray quotes, per byte of the file. A file made of lines that
# each open a quote to the bound would otherwise take its size times that bound.
_MOST_AGAIN = 8

_NUL = Fault("nul_byte", "holds a NUL byte, which no text has: is it in another encoding?")


class Records:
    """The records of a CSV file, one after another; blank lines are none.

    Args:
        lines: with their ends.
        delimiter: one character, neither a quote nor a line end.
        encoding: of the file; lines of UTF-16 and UTF-32 come as UTF-8.
        max_bytes: of one record.
        whole: the lines are all of the file; else a record that they end in is not given out.
    """

    def __init__(
        self,
        lines: Iterable[Line],
        *,
        delimiter: str,
        encoding: str,
        max_bytes: int,
        whole: bool = True,
    ) -> None:
        self._lines = iter(lines)
        self._again: deque[Line] = deque()
        self._bytes_first = 0
        self._bytes_again = 0
        self._delimiter = delimiter
        self._encoding = encoding
        self._codec = "utf-8" if is_unicode(encoding) else encoding
        self._max_bytes = max_bytes
        self._whole = whole
        d = re.escape(delimiter)
        # A cell behind the start or a delimiter: quoted, with what follows; plain; or left open.
        self._cells = re.compile(
            rf'(?:\A|{d})(?:"([^"]*+(?:""[^"]*+)*+)"([^{d}]*+)|((?!")[^{d}]*+)|("(?s:.*+)))'
        )

    def __iter__(self) -> Iterator[Record]:
        delimiter = self._delimiter
        while (line := self._next()) is not None:
            number, raw = line
            if raw is None:
                yield number, too_long(self._max_bytes)
                continue
            text, fault = self._decoded(raw)
            if '"' in text:
                cells = self._quoted(number, raw, text)
                if cells is None:
                    return
                yield number, fault or cells
            elif text := text.rstrip("\r\n"):
                yield number, fault or text.split(delimiter)

    def _next(self) -> Line | None:
        if self._again:
            return self._again.popleft()
        line = next(self._lines, None)
        if line is not None:
            self._bytes_first += len(line[1] or b"")
        return line

    def _decoded(self, raw: bytes) -> tuple[str, Fault | None]:
        """A line as text; a broken one too, since its quotes count."""
        try:
            text = raw.decode(self._codec)
        except UnicodeDecodeError:
            text = raw.decode(self._codec, "replace")
            return text, undecodable(raw, self._encoding)
        if "\0" in text:
            return text, _NUL
        return text, None

    def _quoted(self, number: int, raw: bytes, text: str) -> list[str] | Fault | None:
        """The cells of a record with a quote in it, and of as many lines as it has."""
        cells, parts = self._split(text)
        held: list[_Held] = []
        size = len(raw)
        fault: Fault | None = None
        while parts:
            line = self._next()
            if line is None and not self._whole:
                return None
            if line is None or line[1] is None:
                if line is not None:
                    self._again.appendleft(line)
                return self._stray(number, held, "never closed")
            held.append((line[0], line[1]))
            size += len(line[1])
            if size > self._max_bytes:
                return self._stray(number, held, f"not closed within {self._max_bytes} bytes")
            text, broken = self._decoded(line[1])
            fault = fault or broken
            inside = _INSIDE.match(text)
            assert inside is not None  # it matches anything
            parts.append(inside[0])
            rest = text[inside.end() + 1 :]
            if inside.end() == len(text):
                continue  # the quote is still open
            cells.append("".join(parts).replace('""', '"'))
            parts = []
            if rest.startswith(self._delimiter):
                more, parts = self._split(rest[1:])
                cells += more
            elif rest.rstrip("\r\n"):
                return self._stray(number, held, "closed in the middle of a field below")
        return fault or cells

    def _split(self, text: str) -> tuple[list[str], list[str]]:
        """The cells of a line, and the beginning of one that goes on below it, if one does."""
        found = self._cells.findall(text.rstrip("\r\n"))
        cells = [
            inside.replace('""', '"') + behind if inside or behind else plain
            for inside, behind, plain, _ in found
        ]
        open_cell = found[-1][3]
        if not open_cell:
            return cells, []
        end = text[len(text.rstrip("\r\n")) :]
        return cells[:-1], [open_cell[1:] + end]

    def _stray(self, number: int, held: list[_Held], how: str) -> Fault:
        """Give up the line with the quote; the lines below it are read again, within reason."""
        message = f"opens a quote that is {how}: put two quotes for one, around the field too"
        size = sum(len(raw) for _, raw in held)
        if self._bytes_again + size <= _MOST_AGAIN * self._bytes_first:
            self._bytes_again += size
            self._again.extendleft(reversed(held))
        elif held:
            message += f"; lines {number} to {held[-1][0]} are passed over"
        return Fault("unclosed_quote", message)


_INSIDE = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # up to the quote that closes, or the end
