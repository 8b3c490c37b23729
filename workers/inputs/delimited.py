"""CSV: a header, and rows of as many fields. Every value is a text.

Names in the header are trimmed, values are not. Excel's first line ``sep=;`` is passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from workers.inputs.records import Record, Records
from workers.inputs.row import Fault, Row, unreadable

_SEP = re.compile(r"sep=(.?)")  # the delimiter is gone where the line was split at it


def rows(records: Records, *, skip: int) -> Iterator[Row]:
    """The rows of CSV, but for the first `skip`, which are only counted.

    Raises:
        InvalidRequest: The header names no column, one twice, or cannot be read.
    """
    below = without_sep(records)
    first = next(below, None)
    if first is None:
        return
    names = _header(*first)
    number = 0
    for line, cells in below:
        number += 1
        if number <= skip:
            continue
        if isinstance(cells, Fault):
            yield Row(number=number, line=line, fault=cells)
        elif len(cells) == len(names):
            yield Row(number=number, line=line, data=dict(zip(names, cells, strict=True)))
        else:
            yield Row(number=number, line=line, fault=_miscounted(len(cells), len(names)))


def without_sep(records: Iterable[Record]) -> Iterator[Record]:
    """The records, without the line that tells Excel the delimiter."""
    below = iter(records)
    for line, cells in below:
        if isinstance(cells, list) and _SEP.fullmatch(cells[0]) and not any(cells[1:]):
            return below
        return chain([(line, cells)], below)
    return below


def _header(line: int, cells: list[str] | Fault) -> list[str]:
    if isinstance(cells, Fault):
        unreadable(f"the header in line {line} {cells.message}")
    names = [name.strip() for name in cells]
    if "" in names:
        unreadable(
            f"column {names.index('') + 1} has no name in the header: give it one, or leave it "
            "out (pandas writes one such with index=True)"
        )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        place = names.index(name, names.index(name) + 1) + 1
        unreadable(
            f"columns {names.index(name) + 1} and {place} have the same name in the header: "
            "rename one"
        )
    return names


def _miscounted(found: int, named: int) -> Fault:
    more = found > named
    hint = ": put a field that holds the delimiter into quotes" if more else ""
    return Fault(
        "field_count",
        f"has {found} field{'' if found == 1 else 's'}, but the header has {named}{hint}",
    )
