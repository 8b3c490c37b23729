"""Delimiter detection for CSV: the delimiter that splits the header into the requested columns.

If several delimiters do so, or none, the one wins that splits the lines into as many fields as the
header.
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
    r"""Detect the delimiter of a table.

    A header with a single column contains no delimiter; then a delimiter is chosen that does not
    split the rows.

    Args:
        text: the beginning of the table.
        wanted: the requested columns.

    >>> delimiter_of('id;text\n1;"one, two"\n2;three, four, five\n')
    ';'
    >>> delimiter_of("text\none, two\nthree\n")
    ';'
    >>> delimiter_of("a;b;c|text\n1;2;3|x\n", RequestedColumns(required={"text_column": "text"}))
    '|'
    """
    if declared := sep_delimiter(text):
        return declared
    candidates = _USUAL + _OTHERS
    if wanted is not None and wanted.required:
        cuts = {each: _cut(text, each, wanted) for each in candidates}
        candidates = "".join(each for each in cuts if cuts[each] == max(cuts.values()))
    # Among equal fits `max` takes the first; rare delimiters have to fit better.
    fits = {each: _fit(text, each) * (1 if each in _USUAL else _RARE) for each in candidates}
    return max(fits, key=lambda each: fits[each])


def sep_delimiter(text: str) -> str | None:
    r"""The delimiter of a first line `sep=` for Excel, if there is one.

    >>> sep_delimiter("sep=;\nid;text\n")
    ';'
    """
    match = _SEP.match(text)
    return None if match is None else str(match[1])


def parse_delimiter(value: str) -> str:
    r"""Parse the `delimiter` of a request: one character, `tab` or `\t`.

    Raises:
        InvalidRequest: The value is not a delimiter.

    >>> parse_delimiter("tab"), parse_delimiter("\\t"), parse_delimiter(";")
    ('\t', '\t', ';')
    """
    delimiter = batches.delimiter_of(value)
    if delimiter is None:
        unreadable(
            "must be 'tab', or one character that is neither a quote nor a line end",
            field="delimiter",
        )
    return delimiter


def _cut(text: str, delimiter: str, wanted: RequestedColumns) -> tuple[int, int]:
    """The number of requested columns in the header, and the negated row index of the header.

    Titles may precede the header.
    """
    above = islice(_records(text, delimiter), MAX_ABOVE_HEADER)
    counts = [0 if isinstance(cells, RowFault) else wanted.found(cells) for _, cells in above]
    best = max(counts, default=0)
    return best, -counts.index(best) if best else 0


def _fit(text: str, delimiter: str) -> float:
    """The share of records with as many fields as the first; halved if that is one field."""
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
