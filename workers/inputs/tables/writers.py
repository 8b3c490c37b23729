"""Rows to a file: JSONL, CSV or Parquet, piece by piece.

A column that was not declared is never dropped: it goes into the column `rest`, or raises.

CSV is quoted by RFC 4180, with CRLF, so that a lone CR in a text comes back too. A spreadsheet
takes a text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula. It is left as it is,
because a mark before it changes the data, unless the caller asks for that mark: `escape_formulas`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from shared.batches import Kind
from workers.inputs.tables.output_columns import OutputColumn, Values, text_of
from workers.inputs.tables.parquet_writer import write_parquet
from workers.inputs.tables.row import unreadable

PIECE_BYTES = 64 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # as OWASP lists them for CSV injection

_encode = msgspec.json.Encoder().encode


def write_rows(
    rows: Iterable[Values],
    kind: Kind,
    columns: Sequence[OutputColumn | str] | None = None,
    *,
    rest: str | None = None,
    escape_formulas: bool = False,
) -> Iterator[bytes]:
    """A file of the rows, in pieces.

    Args:
        rows: values as JSON knows them, and bytes, which become base64; NaN and infinities are
            null in JSON.
        kind: JSONL writes each row as it is where no columns are given.
        columns: their order, in which one that a row lacks is null or, in CSV, empty; a name alone
            is a text. None: the keys of the first row.
        escape_formulas: in CSV, a ``'`` stands before each text and each column's name that a
            spreadsheet would take for a formula; numbers stay.
        rest: the column after them that takes what a row has besides, as a JSON object.

    Raises:
        InvalidRequest: A row has a column that was not declared, and there is no `rest`; or a value
            that is not of its column's type, in Parquet.
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
        return _csv(ordered, [column.name for column in declared], escape=escape_formulas)
    return write_parquet(ordered, declared)


def _peeked(rows: Iterable[Values]) -> tuple[Values, Iterable[Values]]:
    """The first row, and all of them."""
    remaining = iter(rows)
    for first in remaining:
        return first, chain([first], remaining)
    return {}, ()


def _ordered(rows: Iterable[Values], names: list[str], rest: str | None) -> Iterator[Values]:
    """The rows with the declared columns, and what they have besides in `rest`."""
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
    held = bytearray()
    for row in rows:
        held += _encode(row)
        held += b"\n"
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def escaped(value: object) -> object:
    r"""A text so that no spreadsheet takes it for a formula; what is no text stays.

    >>> [escaped(each) for each in ("=1+1", "\t=1", "a-b", "", -1.5)]
    ["'=1+1", "'\t=1", 'a-b', '', -1.5]
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv(rows: Iterable[Values], names: list[str], *, escape: bool) -> Iterator[bytes]:
    held = io.StringIO()
    write = csv.writer(held, lineterminator="\r\n").writerow
    if names:
        write([escaped(name) for name in names] if escape else names)
    for row in rows:
        values = map(escaped, row.values()) if escape else row.values()
        write([text_of(value) for value in values])
        if held.tell() >= PIECE_BYTES:
            yield held.getvalue().encode()
            held.seek(0)
            held.truncate()
    if held.tell():
        yield held.getvalue().encode()
