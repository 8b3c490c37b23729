"""Tables that are partitioned by the keys of their objects: columns, ids, types, retries."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.jobs import State
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import content, ended, jsonl, lines, result, run_all
from tests.workers.handlers.test_batch_buckets import PLACE, a_batch, failure
from tests.workers.handlers.test_batch_retry import cancel, retry
from tests.workers.handlers.test_batch_types import written
from workers.handlers.batch.partitions import partitions_of

FIRST, SECOND = f"{PLACE}dt=2026-01-01/part-0", f"{PLACE}dt=2026-01-02/part-0"
KEYS = [url.removeprefix("s3://inbox/") for url in (FIRST, SECOND)]


def a_day(**columns: list[Any]) -> bytes:
    """A Parquet file of three rows, of which the last has no text; the ids repeat every day."""
    days = {"id": pa.array([1, 2, 3], pa.int32()), "text": ["a red bill", "green", None]}
    return written(pa.table({**days, **columns}))


def put_two_days(bench: Bench, **columns: list[Any]) -> None:
    bench.buckets.objects[f"{FIRST}.parquet"] = a_day(**columns)
    bench.buckets.objects[f"{SECOND}.parquet"] = a_day(**columns)


def table_of(bench: Bench, job: Any) -> pa.Table:
    return pq.read_table(io.BytesIO(content(bench, result(bench, job).output_file)))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("a/b.csv", {}),
        ("dt=1", {}),
        ("dt=2026-01-01/b.csv", {"dt": "2026-01-01"}),
        ("x/dt=/=1/a=b=c/b.csv", {"dt": "", "a": "b=c"}),
        ("a=1/a=2/b.csv", {"a": "2"}),
        ("t%20x=a%2Fb/b.csv", {"t x": "a/b"}),
        ("t=100%/b.csv", {"t": "100%"}),
        ("t=%FF/b.csv", {"t": "%FF"}),
        ("t=__HIVE_DEFAULT_PARTITION__/b.csv", {"t": None}),
        ("Größe=gross/b.csv", {"Größe": "gross"}),
    ],
)
def test_what_a_key_says(key: str, found: dict[str, str | None]):
    assert partitions_of(key) == found


def test_ids_may_repeat_in_each_object_and_partitions_are_columns(bench: Bench):
    put_two_days(bench)
    job = a_batch(bench, PLACE)

    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 4, 2)
    found = lines(bench, result(bench, job).output_file)
    assert [(line["id"], line["object_key"], line["row"]["dt"]) for line in found] == [
        ("1", f"{KEYS[0]}.parquet", "2026-01-01"),
        ("2", f"{KEYS[0]}.parquet", "2026-01-01"),
        ("1", f"{KEYS[1]}.parquet", "2026-01-02"),
        ("2", f"{KEYS[1]}.parquet", "2026-01-02"),
    ]
    errors = lines(bench, result(bench, job).error_file)
    assert [(line["id"], line["object_key"], line["row"]["dt"]) for line in errors] == [
        ("3", f"{KEYS[0]}.parquet", "2026-01-01"),
        ("3", f"{KEYS[1]}.parquet", "2026-01-02"),
    ]
    assert {line["error"]["code"] for line in errors} == {"empty_text"}


def test_parquet_keeps_its_types_beside_the_partitions(bench: Bench):
    put_two_days(bench)
    job = a_batch(bench, PLACE, output_format="parquet")

    run_all(bench)

    found = table_of(bench, job)
    assert found.schema.names == [
        "id", "text", "dt", "prediction", "score", "predictions", "object_key",
    ]  # fmt: skip
    assert found.schema.field("id").type == pa.int32()
    assert found.schema.field("dt").type == pa.string()
    assert found["id"].to_pylist() == [1, 2, 1, 2]
    assert found["dt"].to_pylist() == ["2026-01-01"] * 2 + ["2026-01-02"] * 2
    assert found["object_key"].to_pylist() == [f"{key}.parquet" for key in KEYS for _ in "12"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_other_formats_have_them_too(bench: Bench, kind: str):
    for url in (FIRST, SECOND):
        rows = [{"id": 1, "text": "red"}, {"id": 2, "text": "green"}]
        bench.buckets.objects[f"{url}.{kind}"] = (
            jsonl(*rows) if kind == "jsonl" else b"id,text\n1,red\n2,green\n"
        )
    job = a_batch(bench, PLACE, output_format="csv")

    run_all(bench)

    data = content(bench, result(bench, job).output_file).decode()
    found = list(csv.DictReader(io.StringIO(data, newline="")))
    assert [(row["id"], row["dt"]) for row in found] == [
        ("1", "2026-01-01"), ("2", "2026-01-01"), ("1", "2026-01-02"), ("2", "2026-01-02"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_column_of_the_object_wins(bench: Bench, kind: str):
    put_two_days(bench, dt=[7, 8, 9])
    job = a_batch(bench, PLACE, output_format=kind)

    run_all(bench)

    if kind == "parquet":
        found = table_of(bench, job)
        assert found.schema.field("dt").type == pa.int64()
        assert found["dt"].to_pylist() == [7, 8, 7, 8]
    elif kind == "csv":
        data = content(bench, result(bench, job).output_file).decode()
        rows = list(csv.DictReader(io.StringIO(data, newline="")))
        assert [row["dt"] for row in rows] == ["7", "8", "7", "8"]
    else:
        said = lines(bench, result(bench, job).output_file)
        assert [line["row"]["dt"] for line in said] == [7, 8, 7, 8]


def test_a_partition_may_be_what_an_id_is_made_of(bench: Bench):
    put_two_days(bench)
    job = a_batch(bench, PLACE, rows={"id_columns": ("dt", "id")})

    run_all(bench)

    found = [line["id"] for line in lines(bench, result(bench, job).output_file)]
    assert found == ["2026-01-01/1", "2026-01-01/2", "2026-01-02/1", "2026-01-02/2"]
    errors = lines(bench, result(bench, job).error_file)
    assert [line["id"] for line in errors] == ["2026-01-01/3", "2026-01-02/3"]


def test_several_columns_make_an_id_in_one_file_too(bench: Bench):
    data = b"order,line,text\n1,1,red\n1,2,green\n2,1,red\n1,2,red\n"
    bench.buckets.objects[f"{PLACE}x.csv"] = data
    job = a_batch(bench, f"{PLACE}x.csv", rows={"id_columns": ("order", "line")})

    run_all(bench)

    found = lines(bench, result(bench, job).output_file)
    assert [line["id"] for line in found] == ["1/1", "1/2", "2/1"]
    assert "object_key" not in found[0]
    (error,) = lines(bench, result(bench, job).error_file)
    assert (error["id"], error["error"]["code"]) == ("1/2", "duplicate_id")


def test_a_column_that_neither_the_object_nor_its_key_has_is_named(bench: Bench):
    put_two_days(bench)
    job = a_batch(bench, PLACE, rows={"id_columns": ("country", "id")})

    run_all(bench)

    said = failure(bench, job)
    assert "id_columns[0]: the table has no column 'country'; there are: 'id', 'text'" in said


def test_one_object_of_a_partitioned_table_has_its_columns(bench: Bench):
    put_two_days(bench)
    job = a_batch(bench, f"{SECOND}.parquet")

    run_all(bench)

    found = lines(bench, result(bench, job).output_file)
    assert [line["row"]["dt"] for line in found] == ["2026-01-02"] * 2


def test_documents_below_partitions_have_them(bench: Bench):
    for label in ("red", "green"):
        bench.buckets.objects[f"{PLACE}label={label}/1.pdf"] = label.encode()
    rows = {"id_column": "id", "file_column": "url"}
    job = a_batch(bench, PLACE, rows=rows, said={"items": True, "format": "jsonl"})

    run_all(bench)

    said = result(bench, job)
    found = lines(bench, said.output_file) + lines(bench, said.error_file)
    assert [(line["id"], line["row"]["label"]) for line in found] == [
        ("label=green/1.pdf", "green"),
        ("label=red/1.pdf", "red"),
    ]


def test_a_retry_does_the_rows_of_each_object_once(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 2)
    put_two_days(bench)
    job = a_batch(bench, PLACE)
    bench.parts.run(bench.claim("control"))
    bench.parts.run(bench.claim("cpu.standard.tiny"))
    cancel(bench, job)
    run_all(bench)
    done = lines(bench, result(bench, job).output_file)
    left = lines(bench, result(bench, job).error_file)
    assert len(done) + len(left) == 6

    again = retry(bench, job)
    run_all(bench)

    second = lines(bench, result(bench, again).output_file)
    assert sorted((line["id"], line["row"]["dt"]) for line in done + second) == [
        ("1", "2026-01-01"), ("1", "2026-01-02"), ("2", "2026-01-01"), ("2", "2026-01-02"),
    ]  # fmt: skip


def test_lines_that_are_requests_may_repeat_their_ids_in_another_object(bench: Bench):
    line = {"custom_id": "a", "body": {"input": "red", "labels": ["red", "green"]}}
    for name in ("1.jsonl", "2.jsonl"):
        bench.buckets.objects[f"{PLACE}{name}"] = jsonl(line)
    job = a_batch(bench, PLACE, rows=None)

    run_all(bench)

    found = lines(bench, result(bench, job).output_file)
    assert [(each["custom_id"], each["object_key"]) for each in found] == [
        ("a", "rows/1.jsonl"),
        ("a", "rows/2.jsonl"),
    ]
