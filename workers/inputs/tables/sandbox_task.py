"""Parquet in the sandbox: the child encodes rows as msgpack pieces, the worker decodes them.

Rows that are copied to the output with their types are sent as Arrow streams instead.

A row above its limit becomes a fault in the child, so that the memory of the worker is bounded,
whatever the table states: a piece has at most `PIECE_BYTES` plus one row.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

import msgspec
import pyarrow as pa

from shared.errors import UnreadableInput
from workers.inputs.tables import parquet
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.parquet_values import without_broken_values
from workers.inputs.tables.row import Row, TableLimits, unreadable

PIECE_BYTES = 512 * 1024
_PIECE_ROWS = 1024
_SILENT_S = 0.5

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Row]).decode


def parquet_pieces(
    file: BinaryIO, skip: int, bounds: TableLimits, wanted: RequestedColumns | None
) -> Iterator[bytes]:
    """The rows of a Parquet file after the first `skip`, in pieces of several rows.

    While many rows are skipped, empty pieces are sent as a sign of progress.

    Raises:
        InvalidRequest: As `workers.inputs.tables.parquet.batches`.
    """
    encoded_rows: list[msgspec.Raw] = []
    size, sent_at = 0, time.monotonic()
    for rows in parquet.batches(file, skip=skip, bounds=bounds, wanted=wanted):
        for row in rows:
            encoded = _encode(row)
            encoded_rows.append(msgspec.Raw(encoded))
            size += len(encoded)
            if size >= PIECE_BYTES:
                yield _encode(encoded_rows)
                encoded_rows, size, sent_at = [], 0, time.monotonic()
        if time.monotonic() - sent_at > _SILENT_S or len(encoded_rows) > _PIECE_ROWS:
            yield _encode(encoded_rows)
            encoded_rows, size, sent_at = [], 0, time.monotonic()
    if encoded_rows:
        yield _encode(encoded_rows)


def arrow_pieces(file: BinaryIO, bounds: TableLimits) -> Iterator[bytes]:
    """The record batches of a Parquet file; each piece is an Arrow stream.

    Raises:
        InvalidRequest: As `workers.inputs.tables.parquet.record_batches`; or a row is too large.
    """
    for batch in parquet.record_batches(file, bounds=bounds):
        yield from _streams(without_broken_values(batch), bounds)


def _streams(batch: pa.RecordBatch, bounds: TableLimits) -> Iterator[bytes]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    piece = sink.getvalue()
    if piece.size <= PIECE_BYTES + bounds.max_row_bytes:
        yield piece.to_pybytes()
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _streams(batch.slice(0, half), bounds)
        yield from _streams(batch.slice(half), bounds)
    else:
        limit = PIECE_BYTES + bounds.max_row_bytes
        unreadable(
            f"holds a row of {piece.size} bytes; the limit for a row of the output is {limit}"
        )


def batches_of(pieces: Generator[bytes, None, None]) -> Iterator[pa.RecordBatch]:
    """The record batches in the pieces of `arrow_pieces`; closing closes the pieces.

    Raises:
        InvalidRequest: The child refused the file, or exceeded a limit.
    """
    with closing(pieces):
        try:
            for piece in pieces:
                with pa.ipc.open_stream(piece) as stream:
                    for batch in stream:
                        batch.validate(full=True)
                        yield batch
        except UnreadableInput as exc:
            unreadable(exc.detail)
        except (pa.ArrowException, OSError):
            unreadable("is broken: reading it crashed the sandbox process")


def rows_of(pieces: Generator[bytes, None, None]) -> Iterator[Row]:
    """The rows in the pieces of `parquet_pieces`; closing closes the pieces.

    Raises:
        InvalidRequest: The child refused the file, or exceeded a limit.
    """
    with closing(pieces):
        try:
            for piece in pieces:
                yield from _decode(piece)
        except UnreadableInput as exc:
            unreadable(exc.detail)
        except msgspec.DecodeError:
            unreadable("is broken: reading it crashed the sandbox process")
