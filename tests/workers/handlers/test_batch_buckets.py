"""Batches whose rows come from a bucket and whose files go to one, on in-memory ports."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared import ids, object_keys
from shared.batches import BatchInputs, BatchRequest, ColumnMapping, Plan, RowSource, StoredFile
from shared.jobs import Job, State
from shared.messages import CONTROL, decode
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import (
    ASK,
    ME,
    content,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_batch_retry import cancel, retry
from tests.workers.job_completion.test_webhook_events import put_webhook, told

PLACE = "s3://inbox/rows/"
OUT = "s3://outbox/results/"


def a_batch(bench: Bench, url: str, **changes: Any) -> Job:
    """An accepted batch of what is at an address."""
    rows = changes.pop("rows", {"id_column": "id"})
    body = BatchRequest(
        model="tiny",
        source=RowSource(url=url, **changes.pop("said", {})),
        rows=None if rows is None else ColumnMapping(ask=ASK, **rows),
        output_file=ids.file_id(10**12, ids.random_bits()),
        error_file=ids.file_id(10**12, ids.random_bits()),
        **changes,
    )
    return bench.submit(body)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def put_three(bench: Bench) -> None:
    """Three tables of different formats, a bad row in the second and in the third."""
    bench.buckets.objects |= {
        f"{PLACE}a.csv": b"id;text\n1;a red rose\n2;green grass\n",
        f"{PLACE}b/rows.jsonl.gz": gzip.compress(
            jsonl({"id": "3", "text": "red"}) + b"\nnot json\n" + jsonl({"id": "4", "text": "red"})
        ),
        f"{PLACE}c.parquet": parquet([{"id": "5", "text": ""}, {"id": "6", "text": "green"}]),
        f"{PLACE}_SUCCESS": b"",
        f"{PLACE}folder/": b"",
        f"{PLACE}_delta_log/0.json": b'{"commitInfo": {}}\n',
        f"{PLACE}b/.rows.jsonl.gz.crc": b"crc",
        "s3://inbox/rows2/x.csv": b"id,text\n7,not ours\n",
    }


def failure(bench: Bench, job: Job) -> str:
    done = ended(bench, job)
    assert done.state is State.FAILED
    assert done.error is not None
    return done.error.detail


def plan(bench: Bench, job: Job) -> Plan:
    return decode(Plan, bench.store.get(object_keys.plan(ME, job.id)).data)


def test_one_object_is_read_as_a_file_is(bench: Bench):
    bench.buckets.objects[f"{PLACE}x.csv"] = b"id,text\n1,red\n2\n"
    job = a_batch(bench, f"{PLACE}x.csv")

    run_all(bench)

    assert ended(bench, job).progress.completed == 1
    assert [line["id"] for line in lines(bench, result(bench, job).output_file)] == ["1"]
    (error,) = lines(bench, result(bench, job).error_file)
    assert (error["line"], error["error"]["code"]) == (3, "field_count")
    assert "x.csv" not in error["error"]["message"]
    assert plan(bench, job).format == "CSV, delimiter ',', UTF-8"


def test_objects_below_a_prefix_are_one_table_counted_through(bench: Bench):
    put_three(bench)
    job = a_batch(bench, PLACE)

    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 5, 2)
    output = lines(bench, result(bench, job).output_file)
    assert [(line["id"], line["line"]) for line in output] == [
        ("1", 2),
        ("2", 3),
        ("3", 4),
        ("4", 7),
        ("6", 9),
    ]
    assert [line["row"] for line in output][::4] == [
        {"id": "1", "text": "a red rose"},
        {"id": "6", "text": "green"},
    ]
    errors = lines(bench, result(bench, job).error_file)
    assert [(each["id"], each["line"], each["error"]["message"]) for each in errors] == [
        (None, 6, errors[0]["error"]["message"]),
        ("5", 8, "c.parquet, line 1: is empty: there is no text to classify"),
    ]
    assert errors[0]["error"]["message"].startswith("b/rows.jsonl.gz, line 3: ")
    said = plan(bench, job).format
    assert said.startswith("3 objects: CSV, delimiter ';', UTF-8; JSONL, UTF-8, gzip; Parquet")


def test_a_row_whose_id_came_before_names_its_object_too(bench: Bench):
    bench.buckets.objects[f"{PLACE}a.csv"] = b"id,text\n1,red\n"
    bench.buckets.objects[f"{PLACE}b.csv"] = b"id,text\n2,green\n1,green\n2,red\n"
    job = a_batch(bench, PLACE)

    run_all(bench)

    (error,) = lines(bench, result(bench, job).error_file)  # the 1 is of another object
    assert error["row"] == {"id": "2", "text": "red"}
    assert error["error"]["message"] == "b.csv, line 4: has an id that came before"
    assert [bad.message for bad in plan(bench, job).bad] == [error["error"]["message"]]


def test_rows_without_an_id_are_numbered_through(bench: Bench):
    put_three(bench)
    job = a_batch(bench, PLACE, rows={})

    run_all(bench)

    found = result(bench, job)
    numbers = [line["id"] for line in lines(bench, found.output_file)]
    assert numbers == ["1", "2", "3", "5", "7"]
    assert [line["id"] for line in lines(bench, found.error_file)] == ["4", "6"]


def test_requests_may_be_in_several_objects(bench: Bench):
    for name in "ab":
        request = {"input": "a red rose", "labels": ["red", "green"]}
        bench.buckets.objects[PLACE + name] = jsonl({"custom_id": name, "body": request})
    job = a_batch(bench, PLACE, rows=None, said={"format": "jsonl"})

    run_all(bench)

    found = lines(bench, result(bench, job).output_file)
    assert [line["custom_id"] for line in found] == ["a", "b"]


@pytest.mark.parametrize("window", [1, 2])
def test_reading_goes_on_in_the_object_where_it_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, window: int
):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 3)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", window)
    number = 0
    for name, rows in (("a", 4), ("b", 0), ("c", 1), ("d", 7), ("e", 12)):
        text = "id,text\n"
        for _ in range(rows):
            text += f'{number},"red\nthing {number}"\n'
            number += 1
        bench.buckets.objects[f"{PLACE}{name}.csv"] = text.encode()
    opened: list[str] = []
    open_ = bench.buckets.open

    def watched(url: str, **said: str) -> BinaryIO:
        opened.append(url)
        return open_(url, **said)

    monkeypatch.setattr(bench.buckets, "open", watched)
    job = a_batch(bench, PLACE)

    run_all(bench)

    found = lines(bench, result(bench, job).output_file)
    assert [line["id"] for line in found] == [str(each) for each in range(24)]
    at = [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]  # the rows of a, c and d
    assert [line["line"] for line in found][:12] == at
    inputs = decode(BatchInputs, bench.store.get(object_keys.inputs(ME, job.id)).data)
    assert [each.rows for each in inputs.objects] == [4, 0, 1, 7, 12]
    assert opened.count(f"{PLACE}a.csv") < opened.count(f"{PLACE}e.csv")


@pytest.mark.parametrize("change", ["another", "none"])
def test_an_object_that_changes_while_the_batch_runs_fails_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str
):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 3)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 1)
    rows = [{"id": n, "text": f"red {n}"} for n in range(20)]
    bench.buckets.objects = {PLACE + "a": jsonl(*rows[:10]), PLACE + "b": jsonl(*rows[10:])}
    job = a_batch(bench, PLACE)
    bench.parts.run(bench.claim(CONTROL))

    if change == "another":
        bench.buckets.objects[PLACE + "b"] = jsonl(*rows[9:])
    else:
        del bench.buckets.objects[PLACE + "b"]
    bench.buckets.objects[PLACE + "a2"] = jsonl({"id": "new", "text": "not of this batch"})
    run_all(bench)

    said = failure(bench, job)
    assert said.startswith("b: input_url: ")
    assert ("was changed" in said) is (change == "another")
    found = lines(bench, result(bench, job).output_file)
    assert [line["id"] for line in found] == [str(n) for n in range(len(found))]
    assert 3 <= len(found) <= 10


@pytest.mark.parametrize(
    ("objects", "url", "says"),
    [
        ({}, PLACE, "holds no objects"),
        ({}, f"{PLACE}x", "does not exist"),
        ({f"{PLACE}x": b""}, PLACE, "holds no rows"),
        ({f"{PLACE}x": b"id,text\n"}, PLACE, "holds no rows"),
        ({f"{PLACE}_x": b"id,text\n1,red\n"}, PLACE, "begin with _ or ., are not read"),
        ({f"{PLACE}x/y": b"%PDF-1.7\x00\x01"}, PLACE, "x/y: file: is a PDF document"),
        ({f"{PLACE}x": b"id,words\n1,red\n"}, PLACE, "x: text_column: the table has no column"),
        ({}, "s3://inbox/rows2/", "PIGEONHOLE_S3_INPUTS"),
    ],
)
def test_what_cannot_be_read_fails_the_batch_with_the_reason(
    bench: Bench, objects: dict[str, bytes], url: str, says: str
):
    bench.buckets.objects = objects
    job = a_batch(bench, url)

    run_all(bench)

    assert says in failure(bench, job)


def test_more_objects_than_are_read_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.input_reader._MAX_OBJECTS", 2)
    put_three(bench)
    job = a_batch(bench, PLACE)

    run_all(bench)

    assert "more than 2 objects" in failure(bench, job)


def test_the_files_are_written_where_it_was_asked_too(bench: Bench):
    put_three(bench)
    job = a_batch(bench, PLACE, output_url=OUT, output_format="csv")

    run_all(bench)

    found = result(bench, job)
    batch = ids.batch_id_of(job.id)
    assert found.output_url == f"{OUT}{batch}_output.csv"
    assert found.error_url == f"{OUT}{batch}_errors.jsonl"
    assert bench.buckets.objects[found.output_url] == content(bench, found.output_file)
    assert bench.buckets.objects[found.error_url] == content(bench, found.error_file)
    assert content(bench, found.output_file).startswith(b"id,text,prediction,")


def test_the_files_are_called_as_it_was_asked(bench: Bench):
    put_three(bench)
    name = "dt={date}/{input_name}-{kind}"
    job = a_batch(bench, PLACE, output_url=OUT, output_format="parquet", output_name=name)

    run_all(bench)

    found = result(bench, job)
    day = f"{OUT}dt={job.created_at.date().isoformat()}"
    assert (found.output_url, found.error_url) == (f"{day}/rows-output", f"{day}/rows-errors")
    assert bench.buckets.objects[f"{day}/rows-output"] == content(bench, found.output_file)
    assert bench.buckets.media_types[f"{day}/rows-output"] == "application/vnd.apache.parquet"
    assert bench.buckets.media_types[f"{day}/rows-errors"] == "application/jsonl"
    assert (named(bench, found.output_file), named(bench, found.error_file)) == (
        "rows-output",
        "rows-errors",
    )


def test_a_retry_leaves_the_files_of_the_first_batch(bench: Bench):
    put_three(bench)
    job = a_batch(bench, PLACE, output_url=OUT, output_name="{kind}.{ext}")
    run_all(bench)
    first = {url: data for url, data in bench.buckets.objects.items() if url.startswith(OUT)}
    assert list(first) == [f"{OUT}output.jsonl", f"{OUT}errors.jsonl"]

    again = retry(bench, job)
    run_all(bench)

    batch = ids.batch_id_of(again.id)
    assert result(bench, again).error_url == f"{OUT}errors_{batch}.jsonl"
    assert {url: bench.buckets.objects[url] for url in first} == first


def named(bench: Bench, file: str | None) -> str:
    return decode(StoredFile, bench.store.get(object_keys.file(ME, file or "")).data).filename


@pytest.mark.parametrize("cancelled", [False, True])
def test_webhooks_say_where_the_files_are(bench: Bench, cancelled: bool):
    put_webhook(bench.store)
    put_three(bench)
    job = a_batch(bench, PLACE, output_url=OUT)
    if cancelled:
        cancel(bench, job)

    run_all(bench)

    (delivery,) = told(bench.store)
    data = json.loads(delivery.payload)["data"]
    found = result(bench, job)
    assert (found.output_url is None) == cancelled
    assert data["status"] == ("cancelled" if cancelled else "completed")
    assert (data["output_file_id"], data["error_file_id"]) == (found.output_file, found.error_file)
    assert (data["output_url"], data["error_url"]) == (found.output_url, found.error_url)


def test_a_file_that_would_hold_nothing_is_not_written(bench: Bench):
    bench.buckets.objects[f"{PLACE}x"] = jsonl({"id": "1", "text": "red"})
    job = a_batch(bench, f"{PLACE}x", output_url=OUT)

    run_all(bench)

    assert result(bench, job).error_url is None
    assert len([url for url in bench.buckets.objects if url.startswith(OUT)]) == 1


def test_a_bucket_that_refuses_the_files_fails_the_batch_but_they_are_kept(bench: Bench):
    bench.buckets.objects[f"{PLACE}x"] = jsonl({"id": "1", "text": "red"})
    job = a_batch(bench, f"{PLACE}x", output_url=f"{OUT}closed/")

    run_all(bench)

    assert failure(bench, job).startswith("output_url: ")
    assert ended(bench, job).progress.completed == 1
    assert len(lines(bench, result(bench, job).output_file)) == 1
    assert not list(bench.store.list(object_keys.OPEN))


def test_a_server_that_is_away_is_waited_for(bench: Bench):
    bench.buckets.objects[f"{PLACE}x"] = json.dumps({"id": "1", "text": "red"}).encode()
    job = a_batch(bench, f"{PLACE}x", output_url=OUT)

    bench.buckets.away = True
    bench.parts.run(bench.claim(CONTROL))
    waiting = bench.ledger.record(job.id)
    assert waiting is not None
    assert not waiting.state.terminal
    bench.buckets.away = False
    bench.ledger.reclaim_expired(attempts=9)

    bench.ledger.lose_everything()  # else it is due in a second
    bench.ledger.create_job(job, parts=0)
    run_all(bench)
    assert ended(bench, job).state is State.SUCCEEDED
