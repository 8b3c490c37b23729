"""Tables that claim little and are much: each is made here, in a moment, and is small."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

MB = 1_000_000


def written(table: pa.Table, **options: object) -> bytes:
    """The table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def _same(value: str, rows: int) -> pa.Array:
    """One value many times, which is here once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [value])


def repeated_value(rows: int = 128, size: int = 15 * MB) -> bytes:
    """Rows that all have one value: the file holds it once, and says that it is so large."""
    # Without Arrow's schema it is not known to be a dictionary.
    return written(pa.table({"text": _same("a" * size, rows)}), store_schema=False)


def repeated_category(rows: int = 128, size: int = 15 * MB) -> bytes:
    """The same in a column that Arrow too reads as a dictionary."""
    return written(pa.table({"text": _same("a" * size, rows)}))


def repeated_later(rows: int = 256, size: int = 15 * MB) -> bytes:
    """The same behind rows of one letter, by which nothing can be told of those to come."""
    index = pa.array([0] * 128 + [1] * rows, pa.int32())
    values = pa.DictionaryArray.from_arrays(index, ["a", "b" * size])
    return written(pa.table({"text": values}), store_schema=False)


def repeated_in_lists(rows: int = 128, size: int = 15 * MB) -> bytes:
    """The same one level down."""
    offsets = pa.array(range(rows + 1), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, _same("a" * size, rows))
    return written(pa.table({"text": lists}), store_schema=False)


def endless_nulls(rows: int = 20 * MB) -> bytes:
    """Rows without a value, which have no bytes at all."""
    return written(pa.table({"text": pa.nulls(rows)}), row_group_size=rows)


def long_lists(rows: int = 16, length: int = 2 * MB) -> bytes:
    """Lists of nulls: nothing in Arrow, and much in Python and JSON."""
    offsets = pa.array(range(0, length * (rows + 1), length), pa.int32())
    return written(
        pa.table({"text": pa.ListArray.from_arrays(offsets, pa.nulls(rows * length, pa.int8()))})
    )


def deep_lists(depth: int = 60) -> bytes:
    """Lists in lists."""
    values = pa.array(["a"])
    for _ in range(depth):
        values = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)
    return written(pa.table({"text": values}))


def many_columns(columns: int = 100_000) -> bytes:
    """More columns than any table has; the footer is 10 MB."""
    return written(pa.table({f"c{number}": pa.array([1], pa.int8()) for number in range(columns)}))


def many_groups(groups: int = 20_000) -> bytes:
    """A row group for each row."""
    table = pa.table({"text": [str(number) for number in range(groups)]})
    return written(table, row_group_size=1)


def large_footer(size: int = 20 * MB) -> bytes:
    """Metadata larger than the data."""
    schema = pa.schema([("text", pa.string())], metadata={"note": "x" * size})
    return written(pa.table({"text": ["a"]}, schema=schema))


def claims_many_rows() -> bytes:
    """A footer that is wrong about its rows: broken, in one way or another."""
    data = bytearray(written(pa.table({"text": ["a"] * 300})))
    chance = random.Random(7)
    for _ in range(40):
        data[-chance.randrange(9, 300)] = 0xFF
    return bytes(data)


def wide_rows(rows: int = 200, size: int = 3_900_000) -> bytes:
    """Rows just below the bound, of a column that nothing is asked of."""
    texts = pa.array([str(number) for number in range(rows)])
    table = pa.table({"text": texts, "note": _same("n" * size, rows)})
    return written(table, store_schema=False)


PARQUET: dict[str, Callable[[], bytes]] = {
    made.__name__: made
    for made in (
        repeated_value, repeated_category, repeated_later, repeated_in_lists, endless_nulls,
        long_lists, deep_lists, many_columns, many_groups, large_footer, claims_many_rows,
        wide_rows,
    )
}  # fmt: skip


def gzipped(block: bytes, times: int) -> bytes:
    """A block again and again, each a member of its own."""
    return gzip.compress(block, 9) * times


def lines_of_lists(rows: int = 3) -> Iterator[bytes]:
    """JSONL of 3.9 MB a row that are a million empty lists, 70 MB as Python has them."""
    for number in range(rows):
        yield b'{"text":"%d","x":[%s[]]}\n' % (number, b"[]," * 1_300_000)
