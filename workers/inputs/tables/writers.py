"""Writes rows as JSONL, CSV or Parquet, in pieces.

A column that is not declared is never dropped: its value goes into the column `rest`, or the write
fails.

CSV is quoted by RFC 4180 and uses CRLF, so that a lone CR in a text survives. Spreadsheets read a
text that begins with ``=``, ``+``, ``-`` or ``@`` as a formula (CSV injection). Such a text is
written unchanged, because a prefix would change the data, unless `escape_formulas` requests it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from shared.batches import CsvForm, Kind
from workers.inputs.tables.output_columns import OutputColumn, Values, text_of
from workers.inputs.tables.parquet_writer import write_parquet
from workers.inputs.tables.row import unreadable

PIECE_BYTES = 64 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # as OWASP lists them for CSV injection
_NEGATIVE = re.compile(r"-[0-9]+([.,'\u00a0\u202f\u2019 ][0-9]+)*%?", re.ASCII)  # by any locale

_encode = msgspec.json.Encoder().encode


def write_rows(
    rows: Iterable[Values],
    kind: Kind,
    columns: Sequence[OutputColumn | str] | None = None,
    *,
    rest: str | None = None,
    escape_formulas: bool = False,
    form: CsvForm | None = None,
) -> Iterator[bytes]:
    """Write a file of the rows, in pieces.

    Args:
        rows: JSON values, and bytes, which become base64; NaN and infinities become null in JSON.
        kind: the format; without columns, JSONL writes each row unchanged.
        columns: the columns in order; a name alone is a text column. A value that a row lacks is
            null or, in CSV, empty. None: the keys of the first row.
        escape_formulas: in CSV, prefix a ``'`` to each text and column name that a spreadsheet
            would read as a formula; numbers are unchanged.
        form: of CSV.
        rest: the name of a last column for undeclared values, as a JSON object.

    Raises:
        InvalidRequest: A row has an undeclared column, and there is no `rest`; or, in Parquet, a
            value does not match the type of its column.
    """
    if kind == "jsonl" and columns is None:
        return _jsonl(rows)
    first, rows = _peeked(rows)
    declared = [
        OutputColumn(name=each) if isinstance(each, str) else each
        for each in (first if columns is None else columns)
    ]
    names = [column.name for column in declared]
    if rest is not None:
        declared.append(OutputColumn(name=rest))
    if len({column.name for column in declared}) < len(declared):
        unreadable("two columns of the output have the same name", field="columns")
    ordered = _ordered(rows, names, rest)
    if kind == "jsonl":
        return _jsonl(ordered)
    if kind == "csv":
        header = [column.name for column in declared]
        return _csv(ordered, header, form or CsvForm(), escape=escape_formulas)
    return write_parquet(ordered, declared)


def _peeked(rows: Iterable[Values]) -> tuple[Values, Iterable[Values]]:
    """The first row, and an iterable of all rows."""
    remaining = iter(rows)
    for first in remaining:
        return first, chain([first], remaining)
    return {}, ()


def _ordered(rows: Iterable[Values], names: list[str], rest: str | None) -> Iterator[Values]:
    """The rows with the declared columns, and the undeclared values in `rest`."""
    known = frozenset(names)
    for number, row in enumerate(rows, start=1):
        ordered = {name: row.get(name) for name in names}
        others = None if row.keys() <= known else {k: v for k, v in row.items() if k not in known}
        if rest is not None:
            ordered[rest] = others
        elif others:
            unreadable(f"row {number} has a column that was not declared", field="columns")
        yield ordered


def _jsonl(rows: Iterable[Values]) -> Iterator[bytes]:
    buffer = bytearray()
    for row in rows:
        buffer += _encode(row)
        buffer += b"\n"
        if len(buffer) >= PIECE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def escaped(value: object) -> object:
    r"""Escape a text that a spreadsheet would read as a formula; other values are unchanged.

    A negative number is none, and the columns of a CSV are texts.

    >>> [escaped(each) for each in ("=1+1", "\t=1", "a-b", "", -1.5, "-1.234,56", "-1+1")]
    ["'=1+1", "'\t=1", 'a-b', '', -1.5, '-1.234,56', "'-1+1"]
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _NEGATIVE.fullmatch(value):
        return value
    return f"'{value}"


def _with_comma(value: object) -> object:
    return repr(value).replace(".", ",") if isinstance(value, float) else value


def _csv(
    rows: Iterable[Values], names: list[str], form: CsvForm, *, escape: bool
) -> Iterator[bytes]:
    buffer = io.StringIO()
    write = csv.writer(buffer, delimiter=form.delimiter, lineterminator="\r\n").writerow
    if form.bom:
        buffer.write("\ufeff")
    if names:
        write([escaped(name) for name in names] if escape else names)
    for row in rows:
        values = map(escaped, row.values()) if escape else row.values()
        if form.decimal == ",":
            values = map(_with_comma, values)
        write([text_of(value) for value in values])
        if buffer.tell() >= PIECE_BYTES:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().encode()
