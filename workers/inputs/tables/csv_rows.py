"""CSV rows: a header, and rows with as many fields. Every value is a string.

Names in the header are trimmed, values are not. A first line ``sep=;`` for Excel is skipped. Other
lines above the header are skipped only if `skip_rows` says so; a guess could take a row for the
header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from workers.inputs.tables.csv_grammar import CsvRecords, Record
from workers.inputs.tables.header import RequestedColumns, columns
from workers.inputs.tables.row import Row, RowFault, unreadable

MAX_ABOVE_HEADER = 20  # records that are searched for the header
_SEP = re.compile(r"sep=(.?)")  # the delimiter is missing if the line was split at it


def rows(
    records: CsvRecords, *, skip: int, wanted: RequestedColumns | None = None
) -> Iterator[Row]:
    """The rows of a CSV file after the first `skip`, which are only counted.

    Raises:
        InvalidRequest: The header is invalid, or lacks a requested column.
    """
    below = without_sep(records)
    first = next(below, None)
    if first is None:
        return
    names = _columns(first, below, wanted)
    number = 0
    for line, cells in below:
        if len(names) > 1 and isinstance(cells, list) and len(cells) == 1 and cells[0].isspace():
            continue  # a line of whitespace is a blank line
        number += 1
        if number <= skip:
            continue
        if isinstance(cells, RowFault):
            yield Row(number=number, line=line, fault=cells)
        elif len(cells) == len(names):
            yield Row(number=number, line=line, data=dict(zip(names, cells, strict=True)))
        else:
            yield Row(number=number, line=line, fault=_miscounted(len(cells), len(names)))


def without_sep(records: Iterable[Record]) -> Iterator[Record]:
    """The records without the line `sep=` for Excel."""
    below = iter(records)
    for line, cells in below:
        if isinstance(cells, list) and _SEP.fullmatch(cells[0]) and not any(cells[1:]):
            return below
        return chain([(line, cells)], below)
    return below


def _columns(first: Record, below: Iterator[Record], wanted: RequestedColumns | None) -> list[str]:
    """The column names of the first record; errors hint at a later line that may be the header."""
    line, cells = first
    header = [] if isinstance(cells, RowFault) else [name.strip() for name in cells]
    hint = ""
    if wanted is not None and not wanted.all_in(columns(header)):
        hint = _hint(header, below, wanted)
    if isinstance(cells, RowFault):
        unreadable(f"the header in line {line} {cells.message}{hint and f'. {hint}'}")
    return columns(header, wanted, hint=hint)


def _hint(first: list[str], below: Iterator[Record], wanted: RequestedColumns) -> str:
    """A hint at a later line that looks like the header; empty if none does.

    Such a line has the requested columns. Failing that, it is the first one without an empty field,
    if the first record is a title: one field, and the empty fields that a spreadsheet adds.
    """
    records = [
        (line, cells) for line, cells in islice(below, MAX_ABOVE_HEADER) if isinstance(cells, list)
    ]
    likely = [line for line, cells in records if wanted.all_in(cells)]
    if not likely and len(first) > 1 and sum(map(bool, first)) == 1:
        likely = [line for line, cells in records if all(cell.strip() for cell in cells)]
    if not likely:
        return ""
    above = likely[0] - 1
    return (
        f"Line {likely[0]} looks like the header: set skip_rows to {above}, or remove what is above"
    )


def _miscounted(found: int, named: int) -> RowFault:
    more = found > named
    hint = ": quote every field that contains the delimiter" if more else ""
    return RowFault(
        "field_count",
        f"has {found} field{'' if found == 1 else 's'}, but the header has {named}{hint}",
    )
