"""Jobs whose deadline is over: they start nothing more, and keep what was finished."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared import object_keys, service_clock
from shared.jobs import Cancel, Finalise, Job, State, advance
from shared.messages import CONTROL
from shared.service_clock import ServiceClock
from tests.fakes import FakeDoorbell
from tests.workers.conftest import QUEUE, Bench
from tests.workers.handlers.test_batch import (
    ME,
    a_batch,
    decode_body,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_train import hold
from workers.job_completion.deadlines import lapse, over
from workers.keeper.job_recovery import adopt

NOW = datetime.now(UTC)
ROWS = [{"id": f"r{n}", "text": f"red {n}"} for n in range(20)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)


def batch(bench: Bench, *, left_s: float) -> Job:
    """A batch whose deadline is so far away."""
    job = a_batch(bench, jsonl(*ROWS))
    now = bench.ledger.record(job.id)
    assert now is not None
    given = now.model_copy(update={"deadline": NOW + timedelta(seconds=left_s)})
    assert bench.ledger.replace(now, given)
    return given


def record(bench: Bench, job: Job) -> Job:
    found = bench.ledger.record(job.id)
    assert found is not None
    return found


def pass_by(bench: Bench, job: Job) -> None:
    """Let the deadline be over."""
    now = record(bench, job)
    assert bench.ledger.replace(
        now, now.model_copy(update={"deadline": NOW - timedelta(seconds=1)})
    )


def audit(bench: Bench) -> None:
    adopt(bench.store, bench.ledger, FakeDoorbell(bench.rung.append), now=NOW)


def test_a_batch_whose_window_ends_starts_no_more_parts_and_keeps_what_is_finished(bench: Bench):
    job = batch(bench, left_s=3600)
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    ran = bench.encoder.ran
    pass_by(bench, job)

    bench.parts.run(bench.claim(QUEUE))

    assert record(bench, job).state is State.EXPIRING
    assert bench.nothing_ready(QUEUE)  # the others are not walked through
    run_all(bench)
    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.EXPIRED, 5, 15)
    assert done.finalising_at is not None
    assert bench.encoder.ran == ran
    assert len(lines(bench, result(bench, job).output_file)) == 5
    assert not [*bench.store.list(object_keys.parts(ME, job.id))]


def test_the_keeper_ends_it_where_no_worker_lives(bench: Bench):
    job = batch(bench, left_s=3600)
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    audit(bench)
    assert record(bench, job).state is State.RUNNING
    pass_by(bench, job)

    audit(bench)
    audit(bench)

    assert record(bench, job).state is State.EXPIRING
    assert bench.nothing_ready(QUEUE)
    run_all(bench)  # the first worker that comes puts the files together
    done = ended(bench, job)
    assert (done.state, done.progress.completed) == (State.EXPIRED, 5)


def test_a_batch_that_was_never_planned_expires_too(bench: Bench):
    job = batch(bench, left_s=-1)

    audit(bench)
    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed) == (State.EXPIRED, 0)
    assert not [*bench.store.list(object_keys.OPEN)]


def test_a_part_that_runs_is_stopped(bench: Bench):
    job = batch(bench, left_s=3600)
    bench.parts.run(bench.claim(CONTROL))
    claim = bench.claim(QUEUE)
    pass_by(bench, job)

    audit(bench)

    assert bench.ledger.heartbeat(claim, lease_s=9) is False
    assert bench.nothing_ready(CONTROL)
    bench.ledger.requeue(claim, burn=False)
    run_all(bench)
    assert ended(bench, job).state is State.EXPIRED


def test_a_batch_all_of_whose_parts_are_done_by_then_has_succeeded(bench: Bench):
    job = batch(bench, left_s=3600)
    bench.parts.run(bench.claim(CONTROL))
    for _ in range(3):
        bench.parts.run(bench.claim(QUEUE))
    last = bench.claim(QUEUE)
    running = record(bench, job)
    bench.part_runner.run(last, running, decode_body(bench, job), hold())
    pass_by(bench, job)
    audit(bench)
    bench.ledger.requeue(last, burn=False)
    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed) == (State.SUCCEEDED, 20)


def test_only_a_job_that_is_not_just_ending_lapses():
    job = Job.model_validate(
        {
            "id": "j",
            "account": "a",
            "kind": "batch",
            "queue": "q",
            "created_at": NOW,
            "expires_at": NOW,
            "progress": {"total": 1},
            "deadline": NOW,
        }
    )
    later = NOW + timedelta(seconds=1)

    assert over(job, later)
    assert not over(job, NOW)
    assert not over(job.model_copy(update={"deadline": None}), later)
    assert not over(advance(job, Finalise(), NOW), later)
    assert not over(advance(job, Cancel(), NOW), later)


@pytest.mark.parametrize("wall_s", [1e9 + 90, 1e9 - 90])
def test_a_machine_whose_clock_is_off_ends_no_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, wall_s: float
):
    job = batch(bench, left_s=-1)
    clock = ServiceClock(wall=lambda: wall_s)
    clock.follow(lambda: 1e9)
    monkeypatch.setattr(service_clock, "CLOCK", clock)

    assert lapse(bench.ledger, record(bench, job), NOW) is False

    assert record(bench, job).state is State.QUEUED
    monkeypatch.undo()
    lapse(bench.ledger, record(bench, job), NOW)
    assert record(bench, job).state is State.EXPIRING


def test_whoever_was_faster_wins(bench: Bench):
    job = batch(bench, left_s=-1)
    now = record(bench, job)
    assert bench.ledger.replace(now, advance(now, Cancel(), NOW))

    assert lapse(bench.ledger, now, NOW) is False
    assert record(bench, job).state is State.CANCELLING
