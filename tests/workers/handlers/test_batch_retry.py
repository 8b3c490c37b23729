"""A batch that runs again what did not come out of another: those rows and no others."""

from __future__ import annotations

from typing import Any

import pytest

from shared import ids, object_keys
from shared.batches import BatchRequest, Plan, RetryRows
from shared.jobs import Cancel, Job, State, advance
from shared.messages import CONTROL, decode
from tests.workers.conftest import QUEUE, Bench
from tests.workers.handlers.test_batch import (
    ME,
    a_batch,
    content,
    decode_body,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 2)


def retry(bench: Bench, job: Job, rows: RetryRows = "all") -> Job:
    """Accept a batch that retries another, as the front end does."""
    body = decode_body(bench, job)
    again = body.model_copy(
        update={
            "retry_of": job.id,
            "retry_rows": rows,
            "origin": body.origin or job.id,
            "output_file": ids.file_id(10**12, ids.random_bits()),
            "error_file": ids.file_id(10**12, ids.random_bits()),
        }
    )
    return bench.submit(again)


def cancel(bench: Bench, job: Job) -> None:
    now = bench.ledger.record(job.id)
    assert now is not None
    assert bench.ledger.replace(now, advance(now, Cancel(), now.created_at))
    bench.ledger.abort_job(job.id)


def came_out(bench: Bench, job: Job) -> list[str]:
    return [line["id"] for line in lines(bench, result(bench, job).output_file)]


def errors(bench: Bench, job: Job) -> dict[str, tuple[int, str]]:
    found = lines(bench, result(bench, job).error_file)
    return {line["id"]: (line["line"], line["error"]["code"]) for line in found}


def test_what_a_cancelled_batch_left_undone_is_done_and_nothing_twice(bench: Bench):
    rows = [{"id": f"r{n}", "text": f"red {n}"} for n in range(43)]
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    cancel(bench, job)
    run_all(bench)
    before = bench.encoder.ran

    again = retry(bench, job)
    run_all(bench)

    first, second = came_out(bench, job), came_out(bench, again)
    assert (len(first), len(second)) == (5, 38)
    assert first + second == [row["id"] for row in rows]
    assert bench.encoder.ran == before + 38
    done = ended(bench, again)
    assert (done.state, done.progress.total, done.progress.completed) == (State.SUCCEEDED, 38, 38)
    found = lines(bench, result(bench, again).output_file)
    assert [line["line"] for line in found] == list(range(6, 44))


def mixed(bench: Bench) -> Job:
    """A cancelled batch of 20 rows: of the first five one came out bad, the others not at all."""
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "text": f"red {n}"} for n in range(20)]
    rows[1]["text"] = ""
    rows[12]["text"] = ""
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    cancel(bench, job)
    run_all(bench)
    return job


def test_error_lines_and_the_result_say_what_a_retry_can_cure(bench: Bench):
    job = mixed(bench)

    found = lines(bench, result(bench, job).error_file)
    told = {line["id"]: line["error"]["retryable"] for line in found}
    assert told == {"r1": False} | {f"r{n}": True for n in range(5, 20)}
    assert result(bench, job).retryable == 15


def test_a_retry_of_what_can_be_cured_leaves_the_others_alone(bench: Bench):
    job = mixed(bench)

    again = retry(bench, job, "retryable")
    run_all(bench)

    assert came_out(bench, again) == [f"r{n}" for n in range(5, 20) if n != 12]
    assert errors(bench, again) == {"r12": (13, "empty_text")}
    assert (ended(bench, again).progress.total, result(bench, again).retryable) == (15, 0)
    rest = retry(bench, again, "retryable")
    run_all(bench)
    assert ended(bench, rest).progress.total == 0


def test_a_retry_of_all_takes_up_what_earlier_retries_left_alone(bench: Bench):
    cured = retry(bench, mixed(bench), "retryable")
    run_all(bench)

    rest = retry(bench, cured, "all")
    run_all(bench)

    assert errors(bench, rest) == {"r1": (2, "empty_text"), "r12": (13, "empty_text")}


def test_a_retry_that_is_put_together_twice_leaves_the_same_rows_alone(bench: Bench):
    job = retry(bench, mixed(bench), "retryable")
    run_all(bench)
    name = object_keys.final_rows(ME, job.id)
    before = bench.store.get(name).data
    bench.store.delete(object_keys.job(ME, job.id))
    bench.ledger.lose_everything()
    bench.ledger.create_job(job, parts=0)
    run_all(bench)

    assert bench.store.get(name).data == before


def test_rows_that_were_refused_are_judged_again_with_their_own_lines(bench: Bench):
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "text": f"red {n}"} for n in range(12)]
    rows[3]["text"] = ""
    rows[7]["text"] = "word " * 60
    rows[9]["id"] = "r1"
    job = a_batch(bench, jsonl(*rows))
    run_all(bench)

    again = retry(bench, job)
    run_all(bench)

    refused = {
        "r3": (4, "empty_text"),
        "r7": (8, "input_token_limit_exceeded"),
        "r1": (10, "duplicate_id"),
    }
    assert errors(bench, job) == errors(bench, again) == refused
    assert result(bench, again).output_file is None
    plan = decode(Plan, bench.store.get(object_keys.plan(ME, again.id)).data)
    assert (plan.total, plan.bad_count, plan.repeated) == (3, 2, 1)


def test_a_retry_of_a_retry_leaves_out_what_came_out_of_either(bench: Bench):
    rows = [{"id": f"r{n}", "text": f"red {n}"} for n in range(30)]
    job = a_batch(bench, jsonl(*rows))
    for number in range(2):
        bench.parts.run(bench.claim(CONTROL))
        bench.parts.run(bench.claim(QUEUE))
        cancel(bench, job)
        run_all(bench)
        assert len(came_out(bench, job)) == 5, number
        job = retry(bench, job)
    run_all(bench)

    assert came_out(bench, job) == [f"r{n}" for n in range(10, 30)]
    body = decode_body(bench, job)
    assert body.origin != body.retry_of


def test_a_retry_cancelled_before_it_was_planned_forgets_nothing(bench: Bench):
    rows = [{"id": f"r{n}", "text": f"red {n}"} for n in range(15)]
    job = a_batch(bench, jsonl(*rows))
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    cancel(bench, job)
    run_all(bench)
    unplanned = retry(bench, job)
    cancel(bench, unplanned)
    run_all(bench)

    again = retry(bench, unplanned)
    run_all(bench)

    assert came_out(bench, again) == [f"r{n}" for n in range(5, 15)]


def test_a_table_that_came_out_as_a_table_is_retried_too(bench: Bench):
    text = ["id,text", *(f"r{n},{'' if n % 4 == 1 else f'red {n}'}" for n in range(12))]
    job = a_batch(bench, "\n".join(text).encode(), filename="rows.csv", output_format="csv")
    run_all(bench)

    again = retry(bench, job)
    run_all(bench)

    assert content(bench, result(bench, job).output_file).count(b"\n") == 10
    assert [*errors(bench, again)] == ["r1", "r5", "r9"]


def test_of_a_batch_that_was_deleted_meanwhile_fails_with_the_reason(bench: Bench):
    job = a_batch(bench, jsonl({"id": "a", "text": ""}))
    run_all(bench)
    again = retry(bench, job)
    bench.store.delete(object_keys.done_rows(ME, job.id))
    run_all(bench)

    done = ended(bench, again)
    assert done.state is State.FAILED
    assert done.error is not None
    assert "retry_of" in done.error.detail


def test_of_which_nothing_is_left_ends_at_once(bench: Bench):
    job = a_batch(bench, jsonl({"id": "a", "text": "red"}))
    run_all(bench)

    again = retry(bench, job)
    run_all(bench)

    done = ended(bench, again)
    assert (done.state, done.progress.total) == (State.SUCCEEDED, 0)


def test_lines_of_requests_keep_their_ids_and_places(bench: Bench):
    asked = {"input": "a red thing", "labels": ["red", "green"]}
    said = [
        {"custom_id": f"c{n}", "body": asked if n % 3 else {**asked, "labels": ["one"]}}
        for n in range(9)
    ]
    job = a_batch(bench, jsonl(*said), rows=None)
    run_all(bench)

    again = retry(bench, job)
    run_all(bench)

    failed = lines(bench, result(bench, again).error_file)
    assert [line["custom_id"] for line in failed] == ["c0", "c3", "c6"]
    assert [line["id"].rpartition("_")[2] for line in failed] == ["1", "4", "7"]


def test_a_retry_killed_between_any_two_writes_goes_on(bench: Bench):
    """A second planner, and a new ledger in the middle, change nothing."""
    rows = [{"id": f"r{n}", "text": f"red {n}" if n % 2 else ""} for n in range(40)]
    job = a_batch(bench, jsonl(*rows))
    run_all(bench)
    again = retry(bench, job)
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    bench.ledger.lose_everything()
    bench.ledger.create_job(again, parts=0)
    run_all(bench)

    assert [*errors(bench, again)] == [f"r{n}" for n in range(0, 40, 2)]
    body = decode_body(bench, again)
    assert isinstance(body, BatchRequest)
