"""What comes out of a batch of Parquet has the types of what went in."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shared import object_keys
from shared.batches import BatchRequest
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import ME, a_batch, result, run_all
from tests.workers.handlers.test_batch_buckets import PLACE
from tests.workers.handlers.test_batch_buckets import a_batch as a_url_batch
from workers.handlers.batch.input_reader import OpenFile, Reader
from workers.inputs.tables.parquet_values import values_of

N = 400  # more than a batch of rows that is read, and several parts


def a_table() -> pa.Table:
    """A table of most types, in which every seventh row has no text."""
    structs = pa.struct([("at", pa.timestamp("ns")), ("for", pa.duration("us"))])
    columns: dict[str, pa.Array] = {
        "sku": pa.array([2**53 + n for n in range(N)], pa.int64()),
        "small": pa.array([n % 100 for n in range(N)], pa.uint8()),
        "text": pa.array(
            [None if n % 7 == 0 else f"a {'red' if n % 2 else 'green'} bill" for n in range(N)],
            pa.large_string(),
        ),
        "rate": pa.array([(math.inf, -math.inf, math.nan, None, 0.1)[n % 5] for n in range(N)]),
        "half": pa.array([n / 2 for n in range(N)], pa.float16()),
        "at": pa.array(range(N), pa.timestamp("ns", "Europe/Berlin")),
        "day": pa.array([dt.date(2020, 1, 1)] * N, pa.date32()),
        "for": pa.array([None if n == 3 else -n for n in range(N)], pa.duration("ns")),
        "cost": pa.array([decimal.Decimal(n) / 100 for n in range(N)], pa.decimal128(12, 2)),
        "raw": pa.array([b"AP8=" if n % 2 else b"\x00\xff" for n in range(N)], pa.binary()),
        "lists": pa.array([[n, None] if n % 3 else None for n in range(N)], pa.list_(pa.int16())),
        "pairs": pa.array([[("k", n)] for n in range(N)], pa.map_(pa.string(), pa.int32())),
        "nested": pa.array([{"at": n, "for": n} for n in range(N)], structs),
        "class": pa.array([f"c{n % 3}" for n in range(N)]).dictionary_encode(),
        "own": pa.array([bytes([n % 256]) * 16 for n in range(N)], pa.uuid()),
        "prediction": pa.array(["taken"] * N),
    }
    fields = [pa.field(name, each.type, metadata={"k": name}) for name, each in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields, metadata={"made": "here"}))


def written(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def values(table: pa.Table) -> list[str]:
    """All values, each as a word: NaN is equal to itself then."""
    columns = ([values_of(chunk) for chunk in column.chunks] for column in table.columns)
    return [str([value for chunk in column for value in chunk]) for column in columns]


def output(bench: Bench, job: Any) -> bytes:
    found = result(bench, job).output_file
    assert found is not None
    return bench.store.get(object_keys.file_content(ME, found)).data


def parquet_of(bench: Bench, job: Any) -> pa.Table:
    return pq.read_table(io.BytesIO(output(bench, job)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("group", [50, N])
def test_parquet_keeps_its_schema_and_gets_columns(bench: Bench, packed: bool, group: int):
    table = a_table()
    data = written(table, row_group_size=group)
    job = a_batch(
        bench,
        gzip.compress(data) if packed else data,
        filename="rows.parquet",
        rows={"id_column": "sku"},
        output_format="parquet",
    )

    run_all(bench)

    found = parquet_of(bench, job)
    table = pq.read_table(io.BytesIO(data))  # a reader gives some types other names
    good = table.filter(pc.is_valid(table["text"]))
    kept = found.select(table.schema.names)
    assert kept.schema.equals(table.schema, check_metadata=True)
    assert values(kept) == values(good)
    ours = found.schema.names[len(table.schema.names) :]
    assert ours == ["prediction_", "score", "predictions"]
    assert found.schema.field("score").type == pa.float64()
    assert set(found["prediction_"].to_pylist()) == {"red", "green"}
    for row in found.select(["text", "prediction_"]).to_pylist():
        assert row["prediction_"] in row["text"]


def test_infinities_are_kept_in_csv_and_null_in_jsonl(bench: Bench):
    table = pa.table({"text": ["red", "green", "red"], "x": [math.inf, -math.inf, 0.5]})
    jobs = {
        kind: a_batch(bench, written(table), filename="r.parquet", rows={}, output_format=kind)
        for kind in ("csv", "jsonl")
    }

    run_all(bench)

    rows = list(csv.DictReader(io.StringIO(output(bench, jobs["csv"]).decode(), newline="")))
    assert [row["x"] for row in rows] == ["Infinity", "-Infinity", "0.5"]
    assert b'"x":null' in output(bench, jobs["jsonl"])


def test_columns_without_names_of_their_own_keep_their_types(bench: Bench):
    arrays = [pa.array([1, 2]), pa.array(["red", "green"]), pa.array([3, 4], pa.int8())]
    table = pa.Table.from_arrays(arrays, names=["", "text", ""])
    job = a_batch(bench, written(table), filename="r.parquet", rows={}, output_format="parquet")

    run_all(bench)

    found = parquet_of(bench, job)
    assert found.schema.names[:3] == ["column_1", "text", "column_3"]
    assert found.schema.types[:3] == [pa.int64(), pa.string(), pa.int8()]


def test_objects_of_one_schema_keep_it(bench: Bench):
    for part in range(3):
        ids = pa.array([10 * part + n for n in range(3)], pa.int32())
        table = pa.table({"sku": ids, "text": ["red", "green", None]})
        bench.buckets.objects[f"{PLACE}{part}.parquet"] = written(table)
    job = a_url_batch(bench, PLACE, output_format="parquet", rows={"id_column": "sku"})

    run_all(bench)

    found = parquet_of(bench, job)
    assert found.schema.field("sku").type == pa.int32()
    assert found["sku"].to_pylist() == [0, 1, 10, 11, 20, 21]


def test_objects_of_different_schemas_come_out_as_texts(bench: Bench):
    bench.buckets.objects[f"{PLACE}a.parquet"] = written(pa.table({"text": ["red"], "n": [1]}))
    bench.buckets.objects[f"{PLACE}b.parquet"] = written(pa.table({"text": ["green"], "m": [2]}))
    job = a_url_batch(bench, PLACE, output_format="parquet", rows={})

    run_all(bench)

    found = parquet_of(bench, job)
    assert found["text"].to_pylist() == ["red", "green"]
    assert found["n"].to_pylist() == ["1", None]
    assert found["other_columns"].to_pylist() == [None, '{"m":2}']


def test_without_the_file_the_rows_come_out_as_texts(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    table = pa.table({"text": ["red", "green"], "n": [1, 2]})
    job = a_batch(bench, written(table), filename="r.parquet", rows={}, output_format="parquet")
    batches = Reader.batches

    def gone(self: Reader, file: OpenFile, body: BatchRequest) -> Any:
        bench.store.delete(object_keys.file_content(ME, body.source.object))
        return batches(self, file, body)

    monkeypatch.setattr(Reader, "batches", gone)
    run_all(bench)

    found = parquet_of(bench, job)
    assert found["n"].to_pylist() == ["1", "2"]
    assert set(found["prediction"].to_pylist()) == {"red", "green"}
