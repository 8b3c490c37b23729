"""Lines of train requests: learnt in the order of the file, each once, whatever is killed."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest

from shared import ids
from shared.batches import TRAIN
from shared.classifier_record import Classifier
from shared.jobs import Job, State
from shared.messages import CONTROL
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
from tests.workers.handlers.test_batch_dry_run import tried
from tests.workers.handlers.test_batch_retry import cancel, retry
from tests.workers.handlers.test_train import hold


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_LESSONS", 4)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 3)


def line(number: int, **body: Any) -> dict[str, object]:
    pairs = [{"text": f"thing {number}", "label": f"label{number}"}]
    said = {"classifier_id": "colours", "input": pairs, **body}
    return {"custom_id": f"c{number}", "url": TRAIN, "body": said}


PAIRS = [{"text": "a rose", "label": "red"}, {"text": "grass", "label": "green"}]
FIRST = {"custom_id": "c0", "url": TRAIN, "body": {"name": "colours", "input": PAIRS}}


def lessons(bench: Bench, *said: dict[str, object]) -> Job:
    return a_batch(bench, jsonl(*said), rows=None, endpoint=TRAIN)


def colours(bench: Bench) -> Classifier:
    return bench.classifiers.records.own(ME, ids.parse_ref("colours"))


def versions(bench: Bench, job: Job) -> dict[str, int]:
    found = lines(bench, result(bench, job).output_file)
    return {each["custom_id"]: each["response"]["body"]["version"] for each in found}


def test_lines_of_one_classifier_are_learnt_in_the_order_of_the_file(bench: Bench):
    job = lessons(bench, FIRST, *(line(n) for n in range(1, 11)))

    run_all(bench)

    assert ended(bench, job).state is State.SUCCEEDED
    assert versions(bench, job) == {f"c{n}": n + 1 for n in range(11)}
    assert colours(bench).labels == ("red", "green", *(f"label{n}" for n in range(1, 11)))
    body = lines(bench, result(bench, job).output_file)[0]["response"]["body"]
    assert body["labels"] == ["red", "green"]
    assert body["job_id"] == job.id


def test_one_part_is_handed_out_at_a_time(bench: Bench):
    lessons(bench, FIRST, *(line(n) for n in range(1, 11)))
    bench.parts.run(bench.claim(CONTROL))

    bench.claim(QUEUE)

    assert bench.nothing_ready(QUEUE)
    assert bench.nothing_ready(CONTROL)


def test_a_part_killed_in_the_middle_learns_nothing_twice(bench: Bench):
    job = lessons(bench, FIRST, *(line(n) for n in range(1, 8)))
    bench.parts.run(bench.claim(CONTROL))
    running = bench.ledger.record(job.id)
    assert running is not None
    train = bench.part_runner.lessons.train.train

    class Killed(BaseException):
        pass

    def deadly(learner: Job, body: Any, held: Any) -> Any:
        made = train(learner, body, held)
        if learner.id.endswith(".2"):
            raise Killed
        return made

    claim = bench.claim(QUEUE, lease_s=0.01)
    object.__setattr__(bench.train, "train", deadly)
    with pytest.raises(Killed):
        bench.part_runner.run(claim, running, decode_body(bench, job), hold())
    object.__delattr__(bench.train, "train")
    assert colours(bench).latest.number == 3
    threading.Event().wait(0.02)
    bench.ledger.reclaim_expired(attempts=9)
    run_all(bench)

    assert versions(bench, job) == {f"c{n}": n + 1 for n in range(8)}
    assert colours(bench).latest.samples == 2 + 7


def test_a_part_run_twice_at_once_learns_once(bench: Bench):
    job = lessons(bench, FIRST, *(line(n) for n in range(1, 4)))
    bench.parts.run(bench.claim(CONTROL))
    running, body = bench.ledger.record(job.id), decode_body(bench, job)
    assert running is not None
    claim = bench.claim(QUEUE)
    threads = [
        threading.Thread(target=bench.part_runner.run, args=(claim, running, body, hold()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    bench.parts.run(claim)
    run_all(bench)

    assert versions(bench, job) == {f"c{n}": n + 1 for n in range(4)}
    assert colours(bench).latest.samples == 2 + 3


def test_what_a_cancelled_batch_has_learnt_is_not_learnt_again_by_its_retry(bench: Bench):
    """Part 1 learns two of its lines, and is stopped before it could say so."""
    job = lessons(bench, FIRST, *(line(n) for n in range(1, 8)))
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    bench.parts.run(bench.claim(CONTROL))
    running, body = bench.ledger.record(job.id), decode_body(bench, job)
    assert running is not None
    claim, held = bench.claim(QUEUE), hold()
    train = bench.train.train

    def stopped(learner: Job, body: Any, hold: Any) -> Any:
        made = train(learner, body, hold)
        if learner.id.endswith(".5"):
            held.end(abandoned=True)
        return made

    object.__setattr__(bench.train, "train", stopped)
    with pytest.raises(CancelledError):
        bench.part_runner.run(claim, running, body, held)
    object.__delattr__(bench.train, "train")
    cancel(bench, job)
    bench.ledger.requeue(claim)
    run_all(bench)
    assert list(versions(bench, job)) == ["c0", "c1", "c2", "c3"]
    assert colours(bench).latest.number == 6

    again = retry(bench, job)
    run_all(bench)

    assert versions(bench, again) == {f"c{n}": n + 1 for n in range(4, 8)}
    assert colours(bench).latest.samples == 2 + 7


def test_a_new_ledger_goes_on_where_the_old_one_was(bench: Bench):
    job = lessons(bench, FIRST, *(line(n) for n in range(1, 11)))
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    bench.ledger.lose_everything()
    bench.ledger.create_job(job, parts=0)
    run_all(bench)

    assert versions(bench, job) == {f"c{n}": n + 1 for n in range(11)}


def test_lines_that_are_refused_say_why_and_the_others_are_learnt(bench: Bench):
    other = {"custom_id": "c6", "url": "/v1/classify", "body": {}}
    job = lessons(
        bench,
        FIRST,
        line(1, classifier_id="nobody"),
        line(2, input=[]),
        line(3, input=[{"text": "x"}]),
        line(4, num_iters=0),
        {**FIRST, "custom_id": "c5"},  # its name is taken
        other,
        line(7),
        line(8, input=[{"text": "word " * 60, "label": "red"}]),
        line(9, classifier_id="colours@v1"),
    )

    run_all(bench)

    assert versions(bench, job) == {"c0": 1, "c7": 2}
    failed = lines(bench, result(bench, job).error_file)
    statuses = {each["custom_id"]: (each["response"] or {}).get("status_code") for each in failed}
    assert statuses == {
        "c1": 404, "c2": 422, "c3": 422, "c4": 422, "c5": 409, "c6": None, "c8": 400, "c9": 422,
    }  # fmt: skip


def test_no_more_classifiers_are_made_than_an_account_may_have(bench: Bench):
    made = [line(n, classifier_id=None, name=f"n{n}", input=PAIRS) for n in range(7)]
    job = lessons(bench, *made)

    run_all(bench)

    assert len(versions(bench, job)) == 5
    assert result(bench, job).codes == {"authz_resource_limit_exceeded": 2}


def test_a_dry_run_counts_each_example_as_often_as_it_is_learnt(bench: Bench):
    job = lessons(bench, FIRST, *(line(n, num_iters=n) for n in range(1, 6)))

    found = tried(bench, job)

    assert found.exact
    assert found.tokens == ended(bench, job).usage.total_tokens
    assert found.seconds is None
