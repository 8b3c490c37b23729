"""Train jobs that end between two attempts, after one has made its version: they succeed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared import ids, object_keys
from shared.classifier_requests import ImportRequest, RebuildRequest, RelabelRequest
from shared.errors import StoreUnavailable
from shared.jobs import Cancel, Job, State, advance
from shared.messages import CONTROL, decode
from shared.training_results import TrainResult
from shared.types import ExampleFile, JobRequest, NewClassifier
from tests.workers.conftest import NOW, Bench
from tests.workers.handlers.test_train import COLOURS, ME, a_job, creation, hold, record, update
from workers.classifier_file import dumps
from workers.handlers import example_store, train

Ask = Callable[[Bench, str], JobRequest]


def further(_: Bench, made: str) -> JobRequest:
    return update(made, ("a blue sky", "blue"), num_iters=3)


def further_by_file(bench: Bench, made: str) -> JobRequest:
    bench.store.put("examples", b"text,label\na blue sky,blue\n")
    return update(made, examples=(), file=ExampleFile(object="examples"), num_iters=3)


def rebuild(_: Bench, made: str) -> JobRequest:
    return RebuildRequest(model="tiny", classifier_id=made)


def relabel(_: Bench, made: str) -> JobRequest:
    return RelabelRequest(model="tiny", classifier_id=made, labels={"red": "crimson"})


def load(bench: Bench, made: str) -> JobRequest:
    stored = record(bench, made)
    bench.store.put("weights", dumps(bench.classifiers.load(stored.weights(stored.latest))))
    return ImportRequest(
        model="tiny", classifier_id=ids.classifier_id(), upload="weights", create=NewClassifier()
    )


def ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, body: JobRequest, *, made: bool = True
) -> Job:
    """The job of a request, cancelled after its only attempt has made its version, or before."""
    job = bench.submit(body)

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        if made:
            patched.setattr(train.TrainHandler, "_result", away)
            patched.setattr(example_store, "put", away)
        else:
            patched.setattr(train.TrainHandler, "_made_before", away)
        bench.parts.run(bench.claim())
    now = bench.ledger.record(job.id)
    assert now is not None
    bench.ledger.replace(now, advance(now, Cancel(), NOW))
    bench.ledger.abort_job(job.id)
    bench.parts.run(bench.claim(CONTROL))
    return decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)


@pytest.fixture
def made(bench: Bench) -> str:
    body = creation(keep_examples=True)
    bench.train.train(a_job(), body, hold())
    return body.classifier_id


@pytest.mark.parametrize(
    ("ask", "samples", "kept"),
    [
        (further, 1, len(COLOURS) + 1),
        (further_by_file, 1, len(COLOURS) + 1),
        (rebuild, len(COLOURS), len(COLOURS)),
        (relabel, 0, len(COLOURS)),
        (load, len(COLOURS), 0),
    ],
)
def test_a_version_that_was_made_makes_its_job_succeed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, made: str, ask: Ask, samples: int, kept: int
):
    body: Any = ask(bench, made)

    job = ended(bench, monkeypatch, body)

    assert job.state is State.SUCCEEDED
    result = decode(TrainResult, bench.store.get(object_keys.result(ME, job.id)).data)
    stored = record(bench, body.classifier_id)
    assert result.version == stored.jobs[job.id] == stored.latest.number
    assert (result.num_samples, job.usage.total_tokens) == (samples, 0)
    examples = example_store.get(bench.store, stored)
    assert len(examples) == kept
    if samples == 1:
        assert (examples[-1].label, examples[-1].num_iters) == ("blue", 3)
    if ask is relabel:
        assert {each.label for each in examples} == {"crimson", "green"}


@pytest.mark.parametrize("ask", [further, rebuild, relabel, load])
def test_a_job_that_has_made_no_version_is_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, made: str, ask: Ask
):
    job = ended(bench, monkeypatch, ask(bench, made), made=False)

    assert job.state is State.CANCELLED
    assert record(bench, made).latest.number == 1


def test_a_version_of_a_classifier_that_was_deleted_makes_nothing_succeed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, made: str
):
    result = train.TrainHandler.conclude

    def deleted(*args: Any) -> TrainResult | None:
        for name in list(bench.store.list(object_keys.classifier_prefix(ME, made))):
            bench.store.delete(name)
        return result(*args)

    bench.finaliser.conclude["train"] = deleted.__get__(bench.train)  # type: ignore[index]

    assert ended(bench, monkeypatch, further(bench, made)).state is State.CANCELLED
