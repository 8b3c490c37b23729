"""The delimiter of a CSV file: the one that cuts its header into the columns that a request names.

Where several do, or none, it is the one that cuts the lines into as many fields as the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from shared import batches
from workers.inputs.tables.csv_grammar import CsvRecords, Record
from workers.inputs.tables.csv_rows import MAX_ABOVE_HEADER, without_sep
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.lines import lines
from workers.inputs.tables.row import RowFault, unreadable

_USUAL = ",;\t|"
_OTHERS = "\x1f\x01^~¦§:"
_RARE = 0.8
_RECORDS = 1000
_SEP = re.compile(r"\ufeff?sep=([^\"\r\n])[\r\n]")


def delimiter_of(text: str, wanted: RequestedColumns | None = None) -> str:
    r"""The delimiter of the table that begins so.

    A header of a single column has no delimiter in it; then it is one that the rows do not need.

    Args:
        text: its beginning.
        wanted: columns that it should have.

    >>> delimiter_of('id;text\n1;"one, two"\n2;three, four, five\n')
    ';'
    >>> delimiter_of("text\none, two\nthree\n")
    ';'
    >>> delimiter_of("a;b;c|text\n1;2;3|x\n", RequestedColumns(required={"text_column": "text"}))
    '|'
    """
    if told := delimiter_told(text):
        return told
    candidates = _USUAL + _OTHERS
    if wanted is not None and wanted.required:
        cuts = {each: _cut(text, each, wanted) for each in candidates}
        candidates = "".join(each for each in cuts if cuts[each] == max(cuts.values()))
    # Of those that fit equally well `max` takes the first; the rare ones have to fit better.
    fits = {each: _fit(text, each) * (1 if each in _USUAL else _RARE) for each in candidates}
    return max(fits, key=lambda each: fits[each])


def delimiter_told(text: str) -> str | None:
    r"""The delimiter that the first line tells Excel, if it does.

    >>> delimiter_told("sep=;\nid;text\n")
    ';'
    """
    told = _SEP.match(text)
    return None if told is None else str(told[1])


def delimiter_said(said: str) -> str:
    r"""A delimiter as people say it.

    Raises:
        InvalidRequest: It is none.

    >>> delimiter_said("tab"), delimiter_said("\\t"), delimiter_said(";")
    ('\t', '\t', ';')
    """
    delimiter = batches.delimiter_of(said)
    if delimiter is None:
        unreadable(
            "must be 'tab', or one character that is neither a quote nor a line end",
            field="delimiter",
        )
    return delimiter


def _cut(text: str, delimiter: str, wanted: RequestedColumns) -> tuple[int, int]:
    """How many of the columns the header has when cut so, and how far down it stands, negated.

    A title may stand above the header.
    """
    above = islice(_records(text, delimiter), MAX_ABOVE_HEADER)
    found = [0 if isinstance(cells, RowFault) else wanted.found(cells) for _, cells in above]
    most = max(found, default=0)
    return most, -found.index(most) if most else 0


def _fit(text: str, delimiter: str) -> float:
    """The share of records that have as many fields as the first; half, where that is one."""
    counts = [
        0 if isinstance(cells, RowFault) else len(cells)
        for _, cells in islice(_records(text, delimiter), _RECORDS)
    ]
    if not counts or not counts[0]:
        return 0.0
    return counts.count(counts[0]) / len(counts) * (1.0 if counts[0] > 1 else 0.5)


def _records(text: str, delimiter: str) -> Iterator[Record]:
    data = text.encode()
    cut = lines([data], max_bytes=len(data))
    records = CsvRecords(
        cut, delimiter=delimiter, encoding="utf-8", max_bytes=len(data), whole=False
    )
    return without_sep(records)
