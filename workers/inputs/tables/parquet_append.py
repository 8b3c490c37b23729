"""Copies rows of a Parquet file and appends columns; the schema of the file is preserved.

Values are copied as Arrow values. Integers keep their width, so that joins on them work, and types
that Python and JSON lack, such as nanoseconds or infinities, are preserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from workers.inputs.tables.header import columns as names_of
from workers.inputs.tables.output_columns import OutputColumn, Values
from workers.inputs.tables.parquet_writer import (
    GROUP_BYTES,
    GROUP_ROWS,
    OutputBuffer,
    schema_of,
    table_of,
)
from workers.inputs.tables.row import unreadable


def appended(
    batches: Iterable[pa.RecordBatch],
    rows: Iterable[tuple[int, Values]],
    columns: Sequence[OutputColumn],
) -> Iterator[bytes]:
    """Write a Parquet file of selected rows of a table, with further columns, in pieces.

    Args:
        batches: the record batches of the table, or of several tables with one schema, in order.
        rows: the numbers of the rows to write, from 1 and ascending, each with the values of the
            further columns, in their order.
        columns: the further columns; none may have the name of a column of the table.

    Raises:
        InvalidRequest: A row does not exist, the schema changes, or a value does not match the
            type of its column.
    """
    sink = OutputBuffer()
    writer: pq.ParquetWriter | None = None
    tables: list[pa.Table] = []
    count = size = 0
    try:
        for table in _joined(batches, rows, columns):
            writer = writer or pq.ParquetWriter(
                pa.PythonFile(sink, mode="w"), table.schema, compression="snappy"
            )
            tables.append(table)
            count, size = count + table.num_rows, size + table.nbytes
            if count >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.concat_tables(tables))
                tables, count, size = [], 0, 0
                yield sink.drain()
        if writer is not None and tables:
            writer.write_table(pa.concat_tables(tables))
    finally:
        if writer is not None:
            writer.close()
    yield sink.drain()


def _joined(
    batches: Iterable[pa.RecordBatch],
    rows: Iterable[tuple[int, Values]],
    columns: Sequence[OutputColumn],
) -> Iterator[pa.Table]:
    """For each record batch, the selected rows with the further columns."""
    remaining = iter(rows)
    row = next(remaining, None)
    first: pa.Schema | None = None
    schema = pa.schema([])
    before = 0
    for batch in batches:
        if first is None:
            first, schema = batch.schema, _with_columns(batch.schema, columns)
        elif not batch.schema.equals(first):
            batch = _cast(batch, first)
        places: list[int] = []
        group: list[list[object]] = [[] for _ in columns]
        while row is not None and before < row[0] <= before + batch.num_rows:
            number, values = row
            places.append(number - before - 1)
            for column_values, value in zip(group, values.values(), strict=True):
                column_values.append(value)
            row = next(remaining, None)
            if row is not None and row[0] <= number:
                unreadable("the rows arrived in a different order")
        before += batch.num_rows
        if places:
            part = batch if len(places) == batch.num_rows else batch.take(pa.array(places))
            added = table_of(group, columns)
            yield pa.Table.from_arrays([*part.columns, *added.columns], schema=schema)
    if row is not None:
        unreadable("has fewer rows than when it was first read")


def _with_columns(schema: pa.Schema, columns: Sequence[OutputColumn]) -> pa.Schema:
    """The schema with unique column names and the further columns."""
    fields = [
        field.with_name(name) for field, name in zip(schema, names_of(schema.names), strict=True)
    ]
    return pa.schema([*fields, *schema_of(columns)], metadata=schema.metadata)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast a record batch of another object to the schema of the first object."""
    try:
        return batch.cast(schema)
    except (pa.ArrowException, ValueError):
        unreadable("has a different schema than the first object")
