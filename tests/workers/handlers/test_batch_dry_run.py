"""Trying a batch: its file judged and its cost told, and nothing done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import ids, object_keys
from shared.batches import DryRunRequest, DryRunResult
from shared.jobs import Job
from shared.member_reports import WorkerReport
from shared.messages import decode, encode
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import ME, a_batch, decode_body, ended, jsonl, run_all


def tried(bench: Bench, job: Job) -> DryRunResult:
    """The report on what a batch asks."""
    body = decode_body(bench, job)
    trial = bench.submit(DryRunRequest(model="tiny", batch=body))
    run_all(bench)
    return decode(DryRunResult, bench.store.get(object_keys.result(ME, trial.id)).data)


def alive(bench: Bench, *speeds: float | None) -> None:
    for speed in speeds:
        known = {} if speed is None else {"tiny": speed}
        report = WorkerReport(device="cpu", queues=(), models=("tiny",), tokens_per_s=known)
        bench.ledger.report("worker", ids.token(), encode(report), ttl_s=60)


def test_a_file_is_judged_as_by_its_batch(bench: Bench):
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "text": f"red {n}"} for n in range(20)]
    rows[4]["text"] = ""
    rows[6]["id"] = "r1"
    del rows[8]["text"]
    data = jsonl(*rows) + b"no json\n"

    found = tried(bench, a_batch(bench, data))

    assert (found.total, found.bad_count, found.format) == (21, 4, "JSONL, UTF-8")
    assert [(bad.line, bad.code) for bad in found.bad] == [
        (5, "empty_text"), (7, "duplicate_id"), (9, "missing_column"), (21, "invalid_json_line"),
    ]  # fmt: skip


@pytest.mark.parametrize("rows_per_part", [1000, 7])
def test_what_is_told_exactly_is_what_is_charged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, rows_per_part: int
):
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", rows_per_part)
    rows = [{"id": n, "text": "" if 7 <= n < 14 else f"{'red ' * (n + 1)}"} for n in range(40)]
    job = a_batch(bench, jsonl(*rows))

    found = tried(bench, job)

    assert found.exact
    assert found.tokens == ended(bench, job).usage.total_tokens > 40
    assert found.sampled == 40


def test_requests_are_told_exactly_too(bench: Bench):
    labels = ["red", "green"]
    bodies: list[dict[str, Any]] = [
        {"input": "a red thing", "labels": labels},
        {"input": ["green grass", "red"], "labels": labels, "descriptions": {"red": "like blood"}},
        {"input": "x", "labels": ["only"]},
        {"input": "word " * 60, "labels": labels},
        {"nothing": 1},
    ]
    said = [{"custom_id": str(n), "body": body} for n, body in enumerate(bodies)]
    job = a_batch(bench, jsonl(*said), rows=None)

    found = tried(bench, job)

    assert found.exact
    assert found.tokens == ended(bench, job).usage.total_tokens
    assert found.bad_count == 2  # that a text is too long is seen when it is worked on
    assert [(bad.line, bad.code) for bad in found.bad] == [
        (3, "input_invalid_labels"), (5, "validation_error"),
    ]  # fmt: skip


def test_a_long_file_is_sampled_evenly_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.handlers.batch.estimate._MAX_SAMPLED", 100)
    rows = [{"id": n, "text": "red " * (5 if n < 3000 else 20)} for n in range(4000)]
    job = a_batch(bench, jsonl(*rows))

    found = tried(bench, job)

    assert not found.exact
    assert 50 <= found.sampled <= 100
    charged = ended(bench, job).usage.total_tokens
    assert found.tokens == pytest.approx(charged, rel=0.1)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b broken"])
def test_a_file_that_cannot_be_read_is_told_with_the_reason(bench: Bench, data: bytes):
    found = tried(bench, a_batch(bench, data))

    assert found.format is None
    assert found.error is not None
    assert found.error.code == "VALIDATION_ERROR"


def test_nothing_runs_and_nothing_is_charged(bench: Bench):
    job = a_batch(bench, jsonl(*({"id": n, "text": "red"} for n in range(50))))
    body = decode_body(bench, job)
    bench.ledger.lose_everything()
    before = bench.encoder.ran
    trial = bench.submit(DryRunRequest(model="tiny", batch=body))
    run_all(bench)

    assert bench.encoder.ran == before
    assert ended(bench, trial).usage.total_tokens == 0
    assert [*bench.store.list("files/")] == [object_keys.file_content(ME, body.source.object)]


def test_the_time_is_that_of_the_workers_who_live(bench: Bench):
    job = a_batch(bench, jsonl(*({"id": n, "text": "red red"} for n in range(100))))

    assert tried(bench, job).seconds is None
    alive(bench, None)
    assert tried(bench, job).seconds is None
    alive(bench, 10.0, 30.0)

    found = tried(bench, job)
    assert found.tokens == 202
    assert found.seconds == pytest.approx(202 / (3 * 20), abs=0.1)


def test_the_result_is_json(bench: Bench):
    found = tried(bench, a_batch(bench, jsonl({"id": 1, "text": "red"})))

    assert json.loads(encode(found))["usage"] == {"input_tokens": 0, "label_tokens": 0}
