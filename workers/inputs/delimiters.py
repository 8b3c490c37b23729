"""The delimiter of a CSV file: the one that cuts its lines into as many fields as its header."""

from __future__ import annotations

import re
from itertools import islice

from shared import batches
from workers.inputs.delimited import without_sep
from workers.inputs.lines import lines
from workers.inputs.records import Records
from workers.inputs.row import Fault, unreadable

_USUAL = ",;\t|"
_OTHERS = "\x1f\x01^~¦§:"
_RARE = 0.8
_RECORDS = 1000
_SEP = re.compile(r"\ufeff?sep=([^\"\r\n])[\r\n]")


def delimiter_of(text: str) -> str:
    r"""The delimiter of the table that begins so.

    A header of a single column has no delimiter in it; then it is one that the rows do not need.

    >>> delimiter_of('id;text\n1;"one, two"\n2;three, four, five\n')
    ';'
    >>> delimiter_of("text\none, two\nthree\n")
    ';'
    """
    if told := _SEP.match(text):
        return str(told[1])
    # Of those that fit equally well `max` takes the first; the rare ones have to fit better.
    fits = {each: _fit(text, each) for each in _USUAL}
    fits |= {each: _RARE * _fit(text, each) for each in _OTHERS}
    return max(fits, key=lambda each: fits[each])


def delimiter_said(said: str) -> str:
    r"""A delimiter as people say it.

    Raises:
        InvalidRequest: It is none.

    >>> delimiter_said("tab"), delimiter_said("\\t"), delimiter_said(";")
    ('\t', '\t', ';')
    """
    delimiter = batches.delimiter_of(said)
    if delimiter is None:
        unreadable("must be one character, no quote and no line end, or 'tab'", field="delimiter")
    return delimiter


def _fit(text: str, delimiter: str) -> float:
    """The share of records that have as many fields as the first; half, where that is one."""
    data = text.encode()
    cut = lines([data], max_bytes=len(data))
    records = Records(cut, delimiter=delimiter, encoding="utf-8", max_bytes=len(data), whole=False)
    counts = [
        0 if isinstance(cells, Fault) else len(cells)
        for _, cells in islice(without_sep(records), _RECORDS)
    ]
    if not counts or not counts[0]:
        return 0.0
    return counts.count(counts[0]) / len(counts) * (1.0 if counts[0] > 1 else 0.5)
