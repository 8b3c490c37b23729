"""Parquet writer: one row group at a time, so that memory is bounded by a group."""

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
# In Python, a list of labels and scores takes 7.7 times its size as JSON.
_NESTED_WEIGHT = 8

_encode = msgspec.json.Encoder().encode
_SCALARS = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}

# Arrow itself would convert 1.5 and True to 1.
_ACCEPTED: dict[str, frozenset[type]] = {
    "text": frozenset({str, NoneType}),
    "number": frozenset({int, float, NoneType}),
    "integer": frozenset({int, NoneType}),
    "boolean": frozenset({bool, NoneType}),
}


def write_parquet(rows: Iterable[Values], columns: Sequence[OutputColumn]) -> Iterator[bytes]:
    """Write the rows as a Parquet file, in pieces.

    Args:
        rows: rows with exactly the columns, in their order.
        columns: names and types; all are nullable.

    Raises:
        InvalidRequest: A value does not match the type of its column.
    """
    sink = OutputBuffer()
    with pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"), schema_of(columns), compression="snappy"
    ) as writer:
        for group in _groups(rows, columns):
            writer.write_table(table_of(group, columns))
            yield sink.drain()
    yield sink.drain()


def schema_of(columns: Sequence[OutputColumn]) -> pa.Schema:
    """The Arrow schema of columns."""
    return pa.schema([pa.field(column.name, _arrow_type(column.type)) for column in columns])


def _arrow_type(type_: Type) -> pa.DataType:
    if isinstance(type_, ListOf):
        return pa.list_(_arrow_type(type_.values))
    if isinstance(type_, Struct):
        return pa.struct([pa.field(name, _arrow_type(each)) for name, each in type_.fields])
    return _SCALARS[type_]


def table_of(group: Sequence[list[object]], columns: Sequence[OutputColumn]) -> pa.Table:
    """An Arrow table of column values.

    Raises:
        InvalidRequest: A value does not match the type of its column.
    """
    arrays = []
    for column, values in zip(columns, group, strict=True):
        if column.type == "text":
            values = [text_of(value) for value in values]
        try:
            if isinstance(column.type, str) and not _ACCEPTED[column.type].issuperset(
                map(type, values)
            ):
                raise TypeError
            arrays.append(pa.array(values, _arrow_type(column.type)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            what = column.type if isinstance(column.type, str) else "list or object"
            unreadable(
                f"a value does not match the column type ({what})", field=f"columns[{column.name}]"
            )
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _groups(
    rows: Iterable[Values], columns: Sequence[OutputColumn]
) -> Iterator[list[list[object]]]:
    """The column values of the rows of each row group."""
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
    """Collects the bytes written since the last `drain`."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()
        self._written = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append bytes."""
        self._buffer += data
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """The number of bytes written in total."""
        return self._written

    def drain(self) -> bytes:
        """Remove and return the collected bytes."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data
