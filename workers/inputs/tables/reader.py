"""Reads the rows of a file in any supported format."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Protocol

import pyarrow as pa

from workers.inputs.tables import csv_rows, jsonl, parquet
from workers.inputs.tables.compression import expanded
from workers.inputs.tables.csv_grammar import CsvRecords
from workers.inputs.tables.encodings import utf8
from workers.inputs.tables.file_format import Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.lines import lines
from workers.inputs.tables.row import Row, TableLimits, unreadable


class ParquetRows(Protocol):
    """Reads Parquet, as `workers.inputs.tables.parquet.rows` does."""

    def __call__(
        self,
        stream: BinaryIO,
        *,
        skip: int,
        bounds: TableLimits,
        wanted: RequestedColumns | None = None,
    ) -> Iterator[Row]:
        """The rows of a seekable file after the first `skip`."""


class ArrowBatches(Protocol):
    """Reads Parquet, as `workers.inputs.tables.parquet.record_batches` does."""

    def __call__(self, stream: BinaryIO, *, bounds: TableLimits) -> Iterator[pa.RecordBatch]:
        """All rows of a seekable file."""


def read_rows(
    stream: BinaryIO,
    found: Format,
    *,
    skip: int = 0,
    bounds: TableLimits | None = None,
    wanted: RequestedColumns | None = None,
    parquet_rows: ParquetRows = parquet.rows,
) -> Generator[Row, None, None]:
    """Yield the rows of a file in bounded memory.

    An invalid row has a fault. An error that makes the rest unreadable, such as a truncated
    compressed file, raises after the rows before it. Close the iterator if it is not exhausted: a
    Parquet file may be copied to a temporary file.

    Args:
        stream: the file at its beginning; reads may return any number of bytes.
        found: the format that `sniff` has detected.
        skip: number of rows to skip; the first row has the number `skip` + 1.
        bounds: limits; by default those of `TableLimits`.
        wanted: the requested columns of a table; JSONL may have other keys in each line.
        parquet_rows: reads Parquet; by default in this process. Workers pass the sandboxed reader.

    Raises:
        InvalidRequest: The file is unreadable or truncated, or lacks a column.
        Unavailable: No space is left for a temporary file.
    """
    bounds = bounds or TableLimits()
    if found.kind == "parquet":
        if found.compression == "none" and stream.seekable():
            yield from parquet_rows(stream, skip=skip, bounds=bounds, wanted=wanted)
            return
        with parquet.seekable(expanded(stream, found.compression, bounds)) as file:
            yield from parquet_rows(file, skip=skip, bounds=bounds, wanted=wanted)
        return
    chunks = expanded(stream, found.compression, bounds)
    yield from text_rows(chunks, found, skip=skip, bounds=bounds, wanted=wanted)


def read_batches(
    stream: BinaryIO, found: Format, *, bounds: TableLimits, arrow_batches: ArrowBatches
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows of a Parquet file as Arrow record batches; otherwise as `read_rows`.

    Raises:
        InvalidRequest: The file is not Parquet, or is unreadable or truncated.
        Unavailable: No space is left for a temporary file.
    """
    if found.kind != "parquet":
        unreadable("is not a Parquet file")
    if found.compression == "none" and stream.seekable():
        yield from arrow_batches(stream, bounds=bounds)
        return
    with parquet.seekable(expanded(stream, found.compression, bounds)) as file:
        yield from arrow_batches(file, bounds=bounds)


def text_rows(
    chunks: Iterable[bytes],
    found: Format,
    *,
    skip: int,
    bounds: TableLimits,
    wanted: RequestedColumns | None = None,
) -> Iterator[Row]:
    """The rows of JSONL or CSV from decompressed chunks of any size."""
    cut = lines(utf8(chunks, found.encoding), max_bytes=bounds.max_row_bytes)
    if found.kind == "jsonl":
        return jsonl.rows(cut, encoding=found.encoding, skip=skip, bounds=bounds)
    records = CsvRecords(
        islice(cut, found.skip_rows, None),
        delimiter=found.delimiter,
        encoding=found.encoding,
        max_bytes=bounds.max_row_bytes,
    )
    return csv_rows.rows(records, skip=skip, wanted=wanted)
