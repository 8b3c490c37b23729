"""Some rows of a Parquet file, and columns beside them: the file's schema stays what it is.

Values are copied as Arrow has them. An integer stays one of its width, so that joins by it work,
and what Python or JSON have no types for, such as nanoseconds or infinities, is not touched.
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
    """A Parquet file of rows of a table, in pieces.

    Args:
        batches: of the table, or of several with one schema, in order.
        rows: the numbers of those that are written, from 1 and ascending, each with the values of
            the further columns, in their order.
        columns: names and types of those; none has the name of a column of the table.

    Raises:
        InvalidRequest: The table does not have such a row, its schema changes, or a value is not of
            its column's type.
    """
    sink = OutputBuffer()
    writer: pq.ParquetWriter | None = None
    held: list[pa.Table] = []
    count = size = 0
    try:
        for table in _joined(batches, rows, columns):
            writer = writer or pq.ParquetWriter(
                pa.PythonFile(sink, mode="w"), table.schema, compression="snappy"
            )
            held.append(table)
            count, size = count + table.num_rows, size + table.nbytes
            if count >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.concat_tables(held))
                held, count, size = [], 0, 0
                yield sink.taken()
        if writer is not None and held:
            writer.write_table(pa.concat_tables(held))
    finally:
        if writer is not None:
            writer.close()
    yield sink.taken()


def _joined(
    batches: Iterable[pa.RecordBatch],
    rows: Iterable[tuple[int, Values]],
    columns: Sequence[OutputColumn],
) -> Iterator[pa.Table]:
    """The rows that are written of each batch, with the further columns."""
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
            for held, value in zip(group, values.values(), strict=True):
                held.append(value)
            row = next(remaining, None)
            if row is not None and row[0] <= number:
                unreadable("the rows arrived in a different order")
        before += batch.num_rows
        if places:
            part = batch if len(places) == batch.num_rows else batch.take(pa.array(places))
            ours = table_of(group, columns)
            yield pa.Table.from_arrays([*part.columns, *ours.columns], schema=schema)
    if row is not None:
        unreadable("has fewer rows than when it was first read")


def _with_columns(schema: pa.Schema, columns: Sequence[OutputColumn]) -> pa.Schema:
    """The schema with a name of its own for each column, and further columns."""
    fields = [
        field.with_name(name) for field, name in zip(schema, names_of(schema.names), strict=True)
    ]
    return pa.schema([*fields, *schema_of(columns)], metadata=schema.metadata)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of another object, whose values the first one's types have too."""
    try:
        return batch.cast(schema)
    except (pa.ArrowException, ValueError):
        unreadable("has a different schema than the first object")
