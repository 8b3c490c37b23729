"""Parquet reader: a few rows at a time, as JSON values (`workers.inputs.tables.parquet_values`).

A value that does not match the type of its column is a fault of its row.

Arrow reads page by page. Its memory is bounded by `_BATCH_ROWS` times the largest value of a
column, which is not known in advance: the sizes that a file states count a value once even if a
million rows share it. Files are therefore refused by their stated sizes first and by the measured
sizes of their rows later. In any case a worker reads them in a sandboxed child process.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import InvalidRequest, Unavailable
from workers.inputs.tables.header import RequestedColumns, columns
from workers.inputs.tables.parquet_values import UNREADABLE, values_of
from workers.inputs.tables.row import MAX_COLUMNS, Row, RowFault, TableLimits, too_long, unreadable

_BATCH_ROWS = 128  # 1,024 rows would be 1.3 times as fast and take 8 times the memory
_BATCH_BYTES = 8 * 1024 * 1024  # fewer rows if they are large
_BUFFER_BYTES = 1024 * 1024
_MIN_BUFFER = 16 * 1024
_BUFFERS = 64 * 1024 * 1024  # for all columns together
_ROW_BYTES = 64  # fixed weight of a row
# A value that all rows share takes nearly no space in a file: a million such rows are no attack.
_FREE_WEIGHT = 256 * 1024 * 1024

_NO_ROOM = "no space is left for temporary files"
_BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, RuntimeError)


def rows(
    stream: BinaryIO, *, skip: int, bounds: TableLimits, wanted: RequestedColumns | None = None
) -> Iterator[Row]:
    """The rows of a Parquet file after the first `skip`; otherwise as `batches`."""
    return chain.from_iterable(batches(stream, skip=skip, bounds=bounds, wanted=wanted))


def batches(
    stream: BinaryIO, *, skip: int, bounds: TableLimits, wanted: RequestedColumns | None = None
) -> Iterator[list[Row]]:
    """The rows in lists; a list is empty if all its rows were skipped.

    Args:
        stream: a seekable stream.
        skip: number of rows to skip; row groups that are skipped completely are not read.
        bounds: limits; `max_ratio` and `max_expanded_bytes` also apply to the stated sizes.
        wanted: the requested columns.

    Raises:
        InvalidRequest: The file is broken, encrypted or too large, or lacks a column.
    """
    table, header = _opened(stream)
    names = columns(header, wanted)
    texts = frozenset() if wanted is None else wanted.texts
    number = 0
    for batch in _weighed(table, stream, skip=skip, bounds=bounds):
        if isinstance(batch, int):
            number += batch
            continue
        over = max(0, min(skip - number, batch.num_rows))
        number += over
        yield list(_rows(batch.slice(over), names, texts, number, bounds))
        number += batch.num_rows - over


def record_batches(stream: BinaryIO, *, bounds: TableLimits) -> Iterator[pa.RecordBatch]:
    """All rows of a Parquet file as Arrow record batches.

    Raises:
        InvalidRequest: The file is broken, encrypted or too large.
    """
    table, _ = _opened(stream)
    for batch in _weighed(table, stream, skip=0, bounds=bounds):
        if not isinstance(batch, int):
            yield batch


def _opened(stream: BinaryIO) -> tuple[pq.ParquetFile, list[str]]:
    """Open a file; returns it and its column names."""
    with _translated():
        metadata = pq.read_metadata(stream)
        if metadata.num_columns > MAX_COLUMNS:
            unreadable(f"has {metadata.num_columns} columns; the limit is {MAX_COLUMNS}")
        # Without `buffer_size`, or with `pre_buffer`, Arrow holds a whole row group.
        table = pq.ParquetFile(
            stream,
            metadata=metadata,
            buffer_size=max(
                _MIN_BUFFER, min(_BUFFER_BYTES, _BUFFERS // max(1, metadata.num_columns))
            ),
            pre_buffer=False,
            page_checksum_verification=True,
        )
        header = list(table.schema_arrow.names)
    if not header:
        unreadable("has no columns")
    return table, header


def _weighed(
    table: pq.ParquetFile, stream: BinaryIO, *, skip: int, bounds: TableLimits
) -> Iterator[pa.RecordBatch | int]:
    """First the number of rows in skipped row groups, then the record batches of the rest."""
    with _translated():
        groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    sent_bytes = stream.seek(0, 2)
    bounds.check_expanded(sum(group.total_byte_size for group in groups), sent_bytes=sent_bytes)
    number, first = 0, 0
    while first < len(groups) and number + groups[first].num_rows <= skip:
        number += groups[first].num_rows
        first += 1
    yield number
    weight = 0
    for batch in _batches(table, range(first, len(groups))):
        weight += max(batch.nbytes, _ROW_BYTES * batch.num_rows)
        _check_weight(weight, sent_bytes, bounds)
        yield batch


@contextmanager
def seekable(chunks: Iterable[bytes]) -> Iterator[BinaryIO]:
    """Copy the bytes to an unnamed temporary file, which disappears with the process.

    Raises:
        Unavailable: The directory of TMPDIR has no space left.
    """
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below, where it is used
    except OSError as exc:
        raise Unavailable(_NO_ROOM) from exc
    with file:
        for chunk in chunks:
            _write(file, chunk)
        file.seek(0)
        yield cast(BinaryIO, file)


def _write(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as exc:
        raise Unavailable(_NO_ROOM) from exc


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (MemoryError, InvalidRequest):
        raise
    except _BROKEN as exc:
        # Messages of Arrow are long and may quote the file.
        unreadable(
            f"is broken, or not a Parquet file that Arrow can read ({type(exc).__name__}): "
            "write it again"
        )


def _check_weight(weight: int, sent_bytes: int, bounds: TableLimits) -> None:
    """Refuse a file whose rows are far larger than its stated sizes."""
    if weight > _FREE_WEIGHT or weight > bounds.max_expanded_bytes:
        bounds.check_expanded(weight, sent_bytes=sent_bytes)


def _batches(table: pq.ParquetFile, groups: range) -> Iterator[pa.RecordBatch]:
    if not groups:
        return
    # The first row sets the batch size: only a file that begins with small values and continues
    # with large ones can make a batch large.
    first = next(_iterated(table, range(groups.start, groups.start + 1), 1), None)
    weight = 0 if first is None else max(1, first.nbytes)
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, weight)))
    yield from _iterated(table, groups, batch_rows)


def _iterated(table: pq.ParquetFile, groups: range, rows: int) -> Iterator[pa.RecordBatch]:
    with _translated():
        batches = table.iter_batches(batch_size=rows, row_groups=list(groups), use_threads=False)
    while True:
        with _translated():
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _rows(
    batch: pa.RecordBatch, names: list[str], texts: frozenset[str], before: int, bounds: TableLimits
) -> Iterator[Row]:
    """The rows of a record batch that follows `before` other rows."""
    with _translated():
        values = [
            values_of(column, text=name in texts)
            for name, column in zip(names, batch.columns, strict=True)
        ]
    # If the whole batch is within the limit of a row, so is each row. Nulls and empty lists have
    # no bytes, so nested types are always checked.
    large = batch.nbytes > bounds.max_row_bytes or any(
        pa.types.is_nested(each.type) or isinstance(each.type, pa.BaseExtensionType)
        for each in batch.schema
    )
    for number, row in enumerate(zip(*values, strict=True), start=before + 1):
        fault: RowFault | None = None
        data = dict(zip(names, row, strict=True))
        if UNREADABLE in row:
            name = names[row.index(UNREADABLE)]
            fault = RowFault(
                "unreadable_value",
                "holds a value that does not match the type of its column",
                param=name,
            )
        elif large and len(msgspec.json.encode(data)) > bounds.max_row_bytes:
            fault = too_long(bounds.max_row_bytes)
        yield Row(number=number, line=number, data=None if fault else data, fault=fault)
