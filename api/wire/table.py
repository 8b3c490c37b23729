"""CSV: a header, and rows below it, each with the line it begins in.

A row is a list of cells; a broken one is a fault, and where nothing after it can be trusted, the
last. Rows without a word in them are no rows. What a column means is not known here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator

from shared.dialects.refusal import refuse
from shared.errors import FieldError

DELIMITERS = ",;\t|"
_HEAD_CHARS = 64 * 1024  # where the header is looked for
_MOST_BLANK = 65_536  # rows that are passed over; a file of nothing else would take seconds
_LONGEST_CELL = 2**31 - 1  # the module's own limit is 131,072 characters; ours is in tokens


def place(line: int) -> str:
    """A line of a file, for an error."""
    return f"file line {line}"


def decoded(data: bytes) -> str:
    """The text of a file.

    Raises:
        InvalidRequest: It is not UTF-8; names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        refuse(place(line), "is not UTF-8: save the file as UTF-8")


def delimiter_of(text: str, wanted: Collection[str]) -> str:
    """The delimiter that makes most of the columns that are wanted, or else most columns.

    >>> delimiter_of("text;label\\na,b;c", ["text", "label"])
    ';'
    """
    head = text[:_HEAD_CHARS]
    headers = {each: _header(head, each) for each in DELIMITERS}
    return max(
        DELIMITERS,
        key=lambda each: (len(set(wanted).intersection(headers[each])), len(headers[each])),
    )


def records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | FieldError]]:
    """The header, its names trimmed, and the rows, each as long as the header."""
    header: list[str] | None = None
    for line, cells in _rows(text, delimiter):
        if isinstance(cells, FieldError):
            yield line, cells
        elif header is None:
            header = [name.strip() for name in cells]
            yield line, header
        elif len(cells) != len(header):
            message = (
                f"has not the {len(header)} cells of the header but {len(cells)}: put a cell that "
                "holds the delimiter into quotes"
            )
            yield line, FieldError(field=place(line), message=message)
        else:
            yield line, cells


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | FieldError]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    blank = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            never_closed = "unexpected end" in str(exc)
            message = "opens a quote that is never closed" if never_closed else f"is no CSV: {exc}"
            yield line, FieldError(field=place(line), message=message)
            return
        if any(cell.strip() for cell in cells):
            yield line, cells
        elif (blank := blank + 1) > _MOST_BLANK:
            message = f"more than {_MOST_BLANK} rows without a word are too many: leave them out"
            yield line, FieldError(field=place(line), message=message)
            return


def _header(head: str, delimiter: str) -> list[str]:
    _, cells = next(records(head, delimiter), (1, []))
    return [] if isinstance(cells, FieldError) else cells
