"""Rows to Parquet, a row group at a time: what is held is one group, and what it is as bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from workers.inputs.tables.output_columns import ListOf, OutputColumn, Struct, Type, Values, text_of
from workers.inputs.tables.row import unreadable

GROUP_ROWS = 16_384
GROUP_BYTES = 16 * 1024 * 1024  # of text
# A list of labels and scores in Python takes 7.7 times the bytes that it has as JSON.
_NESTED_WEIGHT = 8

_encode = msgspec.json.Encoder().encode
_SCALARS = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}

# Arrow itself would make 1 of 1.5, and of True.
_TAKEN: dict[str, frozenset[type]] = {
    "text": frozenset({str, NoneType}),
    "number": frozenset({int, float, NoneType}),
    "integer": frozenset({int, NoneType}),
    "boolean": frozenset({bool, NoneType}),
}


def write_parquet(rows: Iterable[Values], columns: Sequence[OutputColumn]) -> Iterator[bytes]:
    """A Parquet file of the rows, in pieces.

    Args:
        rows: each with exactly the columns, in their order.
        columns: names and types; every one may be null.

    Raises:
        InvalidRequest: A value is not of its column's type.
    """
    sink = OutputBuffer()
    with pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"), schema_of(columns), compression="snappy"
    ) as writer:
        for group in _groups(rows, columns):
            writer.write_table(table_of(group, columns))
            yield sink.taken()
    yield sink.taken()


def schema_of(columns: Sequence[OutputColumn]) -> pa.Schema:
    """The types that columns have in Parquet."""
    return pa.schema([pa.field(column.name, _arrow_type(column.type)) for column in columns])


def _arrow_type(type_: Type) -> pa.DataType:
    if isinstance(type_, ListOf):
        return pa.list_(_arrow_type(type_.values))
    if isinstance(type_, Struct):
        return pa.struct([pa.field(name, _arrow_type(each)) for name, each in type_.fields])
    return _SCALARS[type_]


def table_of(group: Sequence[list[object]], columns: Sequence[OutputColumn]) -> pa.Table:
    """The values of columns as a table.

    Raises:
        InvalidRequest: A value is not of its column's type.
    """
    arrays = []
    for column, values in zip(columns, group, strict=True):
        if column.type == "text":
            values = [text_of(value) for value in values]
        try:
            if isinstance(column.type, str) and not _TAKEN[column.type].issuperset(
                map(type, values)
            ):
                raise TypeError
            arrays.append(pa.array(values, _arrow_type(column.type)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            what = column.type if isinstance(column.type, str) else "list or object of its type"
            unreadable(f"a value is not a {what}", field=f"columns[{column.name}]")
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _groups(
    rows: Iterable[Values], columns: Sequence[OutputColumn]
) -> Iterator[list[list[object]]]:
    """The values of each column, for as many rows as a group holds."""
    group: list[list[object]] = [[] for _ in columns]
    count, size = 0, 0
    for row in rows:
        for column, values, value in zip(columns, group, row.values(), strict=True):
            if column.type == "text":
                text = text_of(value)
                size += len(text or "")
                values.append(text)
            else:
                if not isinstance(column.type, str):
                    size += _NESTED_WEIGHT * len(_encode(value))
                values.append(value)
        count += 1
        if count == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group = [[] for _ in columns]
            count, size = 0, 0
    if count:
        yield group


class OutputBuffer(io.RawIOBase):
    """What was written since it was last taken."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._place = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take more."""
        self._held += data
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        """How much was written in all."""
        return self._place

    def taken(self) -> bytes:
        """Hand it over."""
        held = bytes(self._held)
        self._held.clear()
        return held
