from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from shared import object_keys
from shared.jobs import Cancel, Job, Progress, State, advance
from shared.messages import CONTROL, decode
from shared.ports import FINALISE, Claim
from shared.types import ClassifyResult, Item, Media, Priority
from tests.waiting import wait_until
from tests.workers.conftest import QUEUE, Bench, a_request
from workers.handlers.task_runner import TaskRunner
from workers.work_context import WorkContext


def hot(bench: Bench, job: Job) -> Job:
    record = bench.ledger.record(job.id)
    assert record is not None
    return record


def is_open(bench: Bench, job: Job) -> bool:
    return object_keys.open_marker(job.id) in bench.store.objects


def test_a_part_ends_its_job_with_result_record_and_no_marker(bench: Bench):
    job = bench.submit(a_request("red", "green"))

    bench.parts.run(bench.claim())

    stored = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    result = decode(ClassifyResult, bench.store.get(object_keys.result("acme", job.id)).data)
    assert hot(bench, job) == stored
    assert stored.state is State.SUCCEEDED
    assert stored.progress.completed == stored.progress.total == 2
    assert stored.usage == result.usage
    assert not is_open(bench, job)


def test_items_that_could_not_be_read_are_counted_as_failed(bench: Bench):
    items = tuple(Item(images=(Media(data=colour),)) for colour in ("red", "nonsense", "broken"))
    update = {"items": items, "errors": "per_item"}
    job = bench.submit(a_request().model_copy(update=update))

    bench.parts.run(bench.claim())

    ended = hot(bench, job)
    assert ended.state is State.SUCCEEDED
    assert ended.progress == Progress(total=3, completed=1, failed=2)


def test_the_result_is_stored_before_the_state_says_so(bench: Bench):
    job = bench.submit()
    seen: list[tuple[str, State]] = []
    put = bench.store.put

    def spy(name: str, data: bytes, **how: object) -> str:
        seen.append((name.rpartition("/")[2], hot(bench, job).state))
        return put(name, data, **how)

    bench.store.put = spy
    bench.parts.run(bench.claim())

    assert seen == [
        ("result.json", State.RUNNING),
        ("job.json", State.FINALISING),
        (f"{job.id}.json", State.FINALISING),  # the charge
    ]


def test_a_refused_request_fails_the_job_with_the_reason(bench: Bench):
    job = bench.submit(a_request("word " * 51))

    bench.parts.run(bench.claim())

    failed = hot(bench, job)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error.code == "INPUT_TOKEN_LIMIT_EXCEEDED"
    assert (failed.progress.completed, failed.progress.failed) == (0, 1)
    assert not is_open(bench, job)


@pytest.mark.parametrize(
    ("dialect", "place"),
    [("classer", "text"), ("classer_tag", "text"), ("cn8", "text"), ("jina", "input[0]")],
)
def test_the_reason_has_the_field_as_the_dialect_of_the_job_calls_it(
    bench: Bench, dialect: str, place: str
):
    job = bench.submit(a_request("word " * 51), dialect=dialect)

    bench.parts.run(bench.claim())

    error = hot(bench, job).error
    assert error is not None
    assert error.detail.startswith(f"{place}: has 51 tokens")
    assert [field for field, _, _ in error.fields] == [place]


def test_a_crash_is_tried_again_and_fails_the_job_after_its_attempts(bench: Bench):
    job = bench.submit()
    bench.encoder.error = ValueError("a bug")

    bench.parts.run(bench.claim())
    first = hot(bench, job).state
    bench.ledger.let_pass(0.55)  # the pause before the second attempt
    bench.ledger.reclaim_expired(attempts=2)
    bench.parts.run(bench.claim())

    assert first is State.RUNNING
    failed = hot(bench, job)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error.detail == "given up after 2 attempts: ValueError"


def test_a_store_that_is_away_burns_no_attempt(bench: Bench):
    job = bench.submit()
    claim = bench.claim()
    bench.store.away = True

    bench.parts.run(claim)
    bench.store.away = False
    bench.ledger.let_pass(1.05)
    bench.ledger.reclaim_expired(attempts=2)

    again = bench.claim()
    assert again.attempt == 1
    bench.parts.run(again)
    assert hot(bench, job).state is State.SUCCEEDED


def test_a_store_that_goes_away_before_the_end_is_written_loses_nothing(bench: Bench):
    job = bench.submit()
    put = bench.store.put

    def failing(name: str, data: bytes, **how: object) -> str:
        bench.store.away = name.endswith("job.json")
        return put(name, data, **how)

    bench.store.put = failing
    bench.parts.run(bench.claim())
    assert hot(bench, job).state is State.FINALISING
    assert is_open(bench, job)

    bench.store.put, bench.store.away = put, False
    bench.ledger.let_pass(1.05)
    bench.ledger.reclaim_expired(attempts=2)
    end = bench.claim(CONTROL)
    bench.parts.run(end)

    assert end.task == FINALISE
    assert hot(bench, job).state is State.SUCCEEDED


def test_finalised_twice_the_first_record_stands(bench: Bench):
    job = bench.submit()
    bench.parts.run(bench.claim())
    first = bench.store.get(object_keys.job("acme", job.id))
    again = Claim(
        job_id=job.id, account="acme", task=FINALISE, attempt=2, token="none", failure=b""
    )

    bench.finaliser.run(again)

    assert bench.store.get(object_keys.job("acme", job.id)) == first


def test_a_finaliser_killed_after_its_record_was_written_is_followed_by_one_that_agrees(
    bench: Bench,
):
    job = bench.submit()
    retire = bench.ledger.finish_job

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    bench.ledger.finish_job = killed
    thread = threading.Thread(target=lambda: _ignoring_exit(bench.parts, bench.claim()))
    thread.start()
    thread.join(60)
    first = bench.store.get(object_keys.job("acme", job.id))
    bench.ledger.finish_job = retire
    bench.ledger.let_pass(1.1)  # its lease ends with it
    bench.ledger.reclaim_expired(attempts=2)

    bench.parts.run(bench.claim(CONTROL))

    assert bench.store.get(object_keys.job("acme", job.id)) == first
    assert hot(bench, job).state is State.SUCCEEDED


def _ignoring_exit(parts: TaskRunner, claim: Claim) -> None:
    try:
        parts.run(claim)
    except SystemExit:
        return


def test_a_cancelled_job_is_given_back_and_settled(bench: Bench):
    job = bench.submit()
    claim = bench.claim()
    bench.ledger.replace(job, advance(job, Cancel(), datetime.now(UTC)))
    bench.ledger.abort_job(job.id)

    bench.parts.run(claim)
    bench.parts.run(bench.claim(CONTROL))

    assert hot(bench, job).state is State.CANCELLED
    assert bench.encoder.ran == 0
    assert not is_open(bench, job)


def test_a_cancel_that_got_no_further_than_the_state_still_ends_the_job(bench: Bench):
    job = bench.submit()
    bench.ledger.replace(job, advance(job, Cancel(), datetime.now(UTC)))

    bench.parts.run(bench.claim())
    bench.parts.run(bench.claim(CONTROL))

    assert hot(bench, job).state is State.CANCELLED
    assert bench.nothing_ready()


def test_an_end_read_from_a_ledger_that_was_lost_is_not_written(bench: Bench):
    job = bench.submit()
    claim = bench.claim()
    end = bench.ledger.complete(claim, lease_s=30, outcome=b"")
    assert end is not None
    bench.ledger.outcomes = lambda _job_id: {}
    bench.ledger.requeue(end)

    bench.parts.run(end)

    assert object_keys.job("acme", job.id) not in bench.store.objects
    assert is_open(bench, job)


def test_a_running_job_that_is_cancelled_stops_without_its_result(bench: Bench):
    job = bench.submit()
    claim = bench.claim()
    bench.encoder.free.clear()
    # The pass that runs is not interrupted: a second job's windows wait behind it.
    blocker = bench.batcher.submit([[1]], WorkContext(priority=Priority.FAST))
    running = threading.Thread(target=bench.parts.run, args=(claim,))
    running.start()
    wait_until(lambda: hot(bench, job).state is State.RUNNING)
    bench.ledger.replace(hot(bench, job), advance(hot(bench, job), Cancel(), datetime.now(UTC)))
    bench.ledger.abort_job(job.id)
    running.join(60)
    bench.encoder.free.set()
    blocker.result(60)

    assert not running.is_alive()
    bench.parts.run(bench.claim(CONTROL))
    assert hot(bench, job).state is State.CANCELLED
    assert object_keys.result("acme", job.id) not in bench.store.objects


def test_a_lease_that_was_lost_is_dropped_without_a_word_to_the_ledger(bench: Bench):
    job = bench.submit()
    stale = bench.claim(lease_s=0)
    bench.ledger.let_pass(0.01)
    bench.ledger.reclaim_expired(attempts=5)
    fresh = bench.claim()

    bench.parts.run(stale)
    assert hot(bench, job).state is not State.SUCCEEDED
    bench.parts.run(fresh)

    assert hot(bench, job).state is State.SUCCEEDED
    assert bench.nothing_ready(QUEUE)
    assert bench.nothing_ready(CONTROL)
