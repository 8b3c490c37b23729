"""Parquet files that are much more than they claim, read as a worker reads them: in a child.

Each is refused, or read, within bounds; and the process that reads them grows by next to nothing.
"""

from __future__ import annotations

import ctypes
import gc
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import InvalidRequest
from shared.jobs import State
from shared.settings import Settings
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import a_batch, ended, run_all
from tests.workers.inputs import table_bombs
from workers.handlers.batch.input_reader import Reader
from workers.inputs.tables.row import Row
from workers.sandbox.readers import FileReaders
from workers.wiring import reader_of, tables_of

MAX_MB = 60.0
EXPANDS = "decompresses to more than 200 times its size"
MEMORY = r"needs more than 1,073 MB of memory to decode.*\(PIGEONHOLE_DECODER_BYTES\)"
BROKEN = "is broken, or not a Parquet file that Arrow can read"
LATE = r"took longer than \d+ s to decode.*\(PIGEONHOLE_DECODE_LIMIT_S\)"
ENDS = {
    "repeated_value": EXPANDS,
    "repeated_category": EXPANDS,
    "repeated_later": MEMORY,
    "repeated_in_lists": EXPANDS,
    "endless_nulls": EXPANDS,
    "long_lists": LATE,
    "deep_lists": BROKEN,
    "many_columns": "has 100000 columns; the limit is 16384",
    "claims_many_rows": BROKEN,
    "wide_rows": EXPANDS,
}
READ = {"many_groups": 20_000, "large_footer": 1, "long_lists": 16}
QUICK = {"repeated_value", "repeated_in_lists", "claims_many_rows", "wide_rows"}


@pytest.fixture(scope="module")
def tables() -> Iterator[FileReaders]:
    made = tables_of(Settings())
    yield made
    made.close()


@pytest.fixture
def reader(bench: Bench, tables: FileReaders) -> Reader:
    return reader_of(bench.store, bench.buckets, tables, Settings())


@contextmanager
def little_memory(max_mb: float = MAX_MB) -> Iterator[None]:
    """Whatever is done in it takes so much more of this process at most, at any moment."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")
    before = status_mb("VmRSS")
    yield
    assert status_mb("VmHWM") - before < max_mb


def status_mb(name: str) -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith(name))


def rows_of(reader: Reader, data: bytes, skip: int = 0) -> Iterator[Row]:
    return reader.parquet_rows(io.BytesIO(data), skip=skip, bounds=reader.bounds)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in table_bombs.PARQUET
    ],
)
def test_a_hostile_table_is_refused_or_read_in_little_memory(reader: Reader, name: str):
    data = table_bombs.PARQUET[name]()
    count = 0

    with little_memory():
        try:
            for _ in rows_of(reader, data):
                count += 1
        except InvalidRequest as exc:
            error = exc
        else:
            assert count == READ[name]
            return

    with pytest.raises(InvalidRequest, match=ENDS[name]):
        raise error
    assert error.fields[0].field == "file"


@pytest.mark.parametrize("name", sorted(QUICK - {"repeated_in_lists"}))
def test_a_hostile_table_is_not_copied_either(reader: Reader, name: str):
    stream = io.BytesIO(table_bombs.PARQUET[name]())

    # One row may be refused for its own size before the table is for its sum.
    refusals = (
        f"{ENDS[name]}|holds a row of [0-9]+ bytes; the limit for a row of the output is [0-9]+"
    )
    with little_memory(), pytest.raises(InvalidRequest, match=refusals):
        for _ in reader.arrow_batches(stream, bounds=reader.bounds):
            pass


def test_a_table_is_copied_through_a_child(reader: Reader):
    table = pa.table({"n": range(1000), "words": [f"word {n % 7}" * (n % 50) for n in range(1000)]})
    table = table.set_column(1, "words", table["words"].dictionary_encode())
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=300)

    batches = list(reader.arrow_batches(file, bounds=reader.bounds))

    assert len(batches) > 4
    assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()
    assert batches[0].schema.equals(pq.read_table(file).schema)


def test_a_broken_text_does_not_lose_the_types_of_the_other_rows(reader: Reader):
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in (0, 1, 2, 3)))
    broken = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffb"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), broken)
    file = io.BytesIO()
    columns = {"n": pa.array([1, 2, 3], pa.int64()), "text": broken, "list": lists}
    pq.write_table(pa.table(columns), file)

    read = pa.Table.from_batches(list(reader.arrow_batches(file, bounds=reader.bounds)))

    assert read.schema.field("n").type == pa.int64()
    assert read.to_pylist() == [
        {"n": 1, "text": "a", "list": ["a"]},
        {"n": 2, "text": None, "list": None},
        {"n": 3, "text": "b", "list": ["b"]},
    ]


def test_many_large_rows_are_copied_and_one_too_large_is_refused(reader: Reader):
    def copied(*texts: str) -> int:
        file = io.BytesIO()
        pq.write_table(pa.table({"text": texts}), file, use_dictionary=False)
        return sum(each.num_rows for each in reader.arrow_batches(file, bounds=reader.bounds))

    assert copied("a", *["b" * 1_000_000] * 40) == 41
    with pytest.raises(
        InvalidRequest, match=r"a row of [0-9]+ bytes; the limit for a row of the output is [0-9]+"
    ):
        copied("a", "b" * 8_000_000)


def test_a_column_of_one_value_is_no_attack(reader: Reader):
    data = table_bombs.repeated_value(rows=2_000_000, size=100)
    assert len(data) < 50_000
    assert sum(row.data == {"text": "a" * 100} for row in rows_of(reader, data)) == 2_000_000


def test_rows_far_below_are_reached_although_all_before_are_read_over(reader: Reader):
    data = table_bombs.repeated_value(rows=1_000_000, size=100)
    assert next(rows_of(reader, data, skip=999_999)).number == 1_000_000


@pytest.mark.parametrize("made", [table_bombs.repeated_value, table_bombs.claims_many_rows])
def test_a_batch_of_such_a_file_fails_by_its_sentence_and_the_next_one_runs(
    bench: Bench, reader: Reader, made: Callable[[], bytes]
):
    object.__setattr__(bench.reader, "parquet_rows", reader.parquet_rows)
    job = a_batch(bench, made(), filename="rows.parquet", rows={})
    good = table_bombs.repeated_value(rows=300, size=3)

    with little_memory():
        run_all(bench)
    other = a_batch(bench, good, filename="rows.parquet", rows={})
    run_all(bench)

    done = ended(bench, job)
    assert done.state is State.FAILED
    assert done.error is not None
    assert done.error.detail.startswith("file: ")
    assert ended(bench, other).progress.completed == 300


def test_a_missing_column_is_told_by_its_field_from_the_child(bench: Bench, reader: Reader):
    object.__setattr__(bench.reader, "parquet_rows", reader.parquet_rows)
    data = table_bombs.repeated_value(rows=3, size=3)
    job = a_batch(bench, data, filename="rows.parquet", rows={"text_column": "words"})

    run_all(bench)

    error = ended(bench, job).error
    assert error is not None
    assert error.fields[0][0] == "text_column"
    assert "there are: 'text'." in error.detail
