"""A table of which a child process reads: rows to pieces of msgpack there, and back to rows here.

Where rows are copied with all that their types can hold, the pieces are those of Arrow.

A row that would be too long is a fault before it travels, so that what the worker holds of a table
is bounded, whatever the table claims: a piece is `PIECE_BYTES` and one row more at most.
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
    """The rows of a Parquet file, but for the first `skip`, some in each piece.

    Where many rows are read over, a piece without rows says now and then that it goes on.

    Raises:
        InvalidRequest: As `workers.inputs.tables.parquet.batches`.
    """
    held: list[msgspec.Raw] = []
    size, sent_at = 0, time.monotonic()
    for rows in parquet.batches(file, skip=skip, bounds=bounds, wanted=wanted):
        for row in rows:
            encoded = _encode(row)
            held.append(msgspec.Raw(encoded))
            size += len(encoded)
            if size >= PIECE_BYTES:
                yield _encode(held)
                held, size, sent_at = [], 0, time.monotonic()
        if time.monotonic() - sent_at > _SILENT_S or len(held) > _PIECE_ROWS:
            yield _encode(held)
            held, size, sent_at = [], 0, time.monotonic()
    if held:
        yield _encode(held)


def arrow_pieces(file: BinaryIO, bounds: TableLimits) -> Iterator[bytes]:
    """The rows of a Parquet file as Arrow has them, some in each piece, an Arrow stream by itself.

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
        most = PIECE_BYTES + bounds.max_row_bytes
        unreadable(
            f"holds a row of {piece.size} bytes; the limit for a row of the output is {most}"
        )


def batches_of(pieces: Generator[bytes, None, None]) -> Iterator[pa.RecordBatch]:
    """The rows in such pieces, which are closed with them.

    Raises:
        InvalidRequest: The child refused the file, or could not read it within its bounds.
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
    """The rows in pieces that a child sends; the pieces are closed with the rows.

    Raises:
        InvalidRequest: The child refused the file, or could not read it within its bounds.
    """
    with closing(pieces):
        try:
            for piece in pieces:
                yield from _decode(piece)
        except UnreadableInput as exc:
            unreadable(exc.detail)
        except msgspec.DecodeError:
            unreadable("is broken: reading it crashed the sandbox process")
