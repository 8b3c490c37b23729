"""The CSV parser: lines to records of cells, by RFC 4180, without guessing.

A quote opens a cell at its beginning only; inside, two quotes are one; elsewhere a quote is a
character. Apart from doubled quotes, every parsed cell occurs literally in the file. Four things
differ from Python's `csv`:

- a closing quote is followed by a delimiter or the end of the line. If it is not, as where quotes
  are escaped by a backslash, the line is a fault; `csv` drops the quote and continues;
- a cell that spans lines must be closed like that within the size limit. If it is not, its opening
  quote is a stray quote: that line is a fault, and parsing resumes at the next line, where `csv`
  would swallow the rows up to the next quote, or the rest of the file;
- blanks before the opening quote and after the closing one are not part of the cell;
- there is no limit of 131,072 characters in a cell that all threads share.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

from workers.inputs.tables.encodings import is_unicode, undecodable
from workers.inputs.tables.lines import Line
from workers.inputs.tables.row import RowFault, too_long

Record = tuple[int, list[str] | RowFault]  # the line it begins in, and its cells

_Held = tuple[int, bytes]  # a line that may be parsed again

# Limit of bytes parsed again after stray quotes, per byte of the file. Otherwise a file whose lines
# each open a quote would cost its size times the size limit of a record.
_MAX_AGAIN = 8

_NUL = RowFault("nul_byte", "holds a NUL byte; check whether the file uses another encoding")


class CsvRecords:
    """The records of a CSV file; blank lines are skipped.

    Args:
        lines: the lines of the file, with their ends.
        delimiter: one character, neither a quote nor a line end.
        encoding: the encoding of the file; lines of UTF-16 and UTF-32 arrive as UTF-8.
        max_bytes: limit of one record.
        whole: whether the lines are the whole file; if not, an incomplete last record is dropped.
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
        self._blanks = "".join({" ", "\t"} - {delimiter})
        d, b = re.escape(delimiter), f"[{self._blanks}]*+"
        # A cell after the start or a delimiter: quoted; plain; or with a quote that is not closed
        # in this line, or not at the end of the cell.
        self._cells = re.compile(
            rf'(?:\A|{d})(?:{b}"([^"]*+(?:""[^"]*+)*+)"{b}(?={d}|\Z)'
            rf'|((?!{b}")[^{d}]*+)|{b}("(?s:.*+)))'
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

    def _decoded(self, raw: bytes) -> tuple[str, RowFault | None]:
        """Decode a line. An undecodable line yields text, too, since its quotes count."""
        try:
            text = raw.decode(self._codec)
        except UnicodeDecodeError:
            text = raw.decode(self._codec, "replace")
            return text, undecodable(raw, self._encoding)
        if "\0" in text:
            return text, _NUL
        return text, None

    def _quoted(self, number: int, raw: bytes, text: str) -> list[str] | RowFault | None:
        """Parse a record that contains a quote and may span lines."""
        cells, parts = self._split(text)
        lines_read: list[_Held] = []
        size = len(raw)
        fault: RowFault | None = None
        while parts:
            if _is_closed(parts[-1]):
                return self._given_up(number, lines_read, _misplaced(len(cells) + 1, parts[-1]))
            line = self._next()
            if line is None and not self._whole:
                return None
            if line is None or line[1] is None:
                if line is not None:
                    self._again.appendleft(line)
                return self._given_up(number, lines_read, _unclosed("never closed"))
            lines_read.append((line[0], line[1]))
            size += len(line[1])
            if size > self._max_bytes:
                how = f"not closed within {self._max_bytes} bytes"
                return self._given_up(number, lines_read, _unclosed(how))
            text, broken = self._decoded(line[1])
            fault = fault or broken
            inside = _INSIDE.match(text)
            assert inside is not None  # it matches anything
            parts.append(inside[0])
            if inside.end() == len(text):
                continue  # the quote is still open
            cells.append("".join(parts).replace('""', '"'))
            parts = []
            rest = text[inside.end() + 1 :].lstrip(self._blanks)
            if rest.startswith(self._delimiter):
                more, parts = self._split(rest[1:])
                cells += more
            elif rest.rstrip("\r\n"):
                how = "closed in the middle of a later field"
                return self._given_up(number, lines_read, _unclosed(how))
        return fault or cells

    def _split(self, text: str) -> tuple[list[str], list[str]]:
        """The cells of a line, and the text after an opening quote that is not closed."""
        matches = self._cells.findall(text.rstrip("\r\n"))
        cells = [inside.replace('""', '"') if inside else plain for inside, plain, _ in matches]
        rest = matches[-1][2]
        if not rest:
            return cells, []
        end = text[len(text.rstrip("\r\n")) :]
        return cells[:-1], [rest[1:] + end]

    def _given_up(self, number: int, lines_read: list[_Held], fault: RowFault) -> RowFault:
        """The fault of the line with the quote; the lines below are parsed again, up to a limit."""
        size = sum(len(raw) for _, raw in lines_read)
        if self._bytes_again + size <= _MAX_AGAIN * self._bytes_first:
            self._bytes_again += size
            self._again.extendleft(reversed(lines_read))
        elif lines_read:
            skipped = f"; lines {number} to {lines_read[-1][0]} are skipped"
            return RowFault(fault.code, fault.message + skipped)
        return fault


_INSIDE = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # up to the quote that closes, or the end


def _is_closed(text: str) -> bool:
    """Whether the text after an opening quote contains the closing quote."""
    inside = _INSIDE.match(text)
    return inside is not None and inside.end() < len(text)


def _unclosed(how: str) -> RowFault:
    return RowFault(
        "unclosed_quote",
        f"opens a quote that is {how}: quote the whole field, and double each quote in it",
    )


def _misplaced(place: int, text: str) -> RowFault:
    """The fault of a cell whose closing quote is not followed by a delimiter."""
    inside = _INSIDE.match(text)
    escaped = inside is not None and inside[0].endswith("\\")
    how = "escaped by a backslash" if escaped else "followed by neither a delimiter nor a line end"
    return RowFault(
        "stray_quote",
        f"has a quote within field {place} that is {how}: double each quote inside a quoted field",
    )
