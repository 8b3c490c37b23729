"""Training, rebuilding and importing on in-memory ports: what is kept, what is refused, once."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import api.services.classifiers
from shared import ids, object_keys
from shared.classifier_record import Classifier
from shared.classifier_requests import ImportRequest, RebuildRequest
from shared.errors import (
    Conflict,
    InvalidRequest,
    LabelLimitExceeded,
    NotFound,
    StoreUnavailable,
    TokenLimitExceeded,
    Unavailable,
)
from shared.jobs import Cancel, Job, Progress, State, advance
from shared.limits import Limits
from shared.messages import Submission, decode
from shared.ports import Claim
from shared.types import Example, ExampleFile, Item, JobKind, NewClassifier, TrainRequest
from tests.workers.conftest import Bench
from workers.classifier_cache import ClassifierCache
from workers.classifier_file import dumps, loads
from workers.handlers.train import TrainHandler
from workers.leases import Lease

ME = "acme"
COLOURS = (("a red rose", "red"), ("green grass", "green"), ("red wine", "red"))


def examples(*pairs: tuple[str, str], **changes: object) -> tuple[Example, ...]:
    return tuple(
        Example(item=Item(text=text), label=label).model_copy(update=changes)
        for text, label in pairs or COLOURS
    )


def a_job(kind: JobKind = JobKind.TRAIN, *, account: str = ME) -> Job:
    now = datetime.now(UTC)
    return Job(
        id=ids.job_id(int(now.timestamp() * 1000), ids.random_bits()),
        account=account,
        kind=kind,
        queue="cpu.train.tiny",
        created_at=now,
        expires_at=now,
        progress=Progress(total=1),
    )


def hold() -> Lease:
    return Lease(Claim(job_id="j", account=ME, task="part:0", attempt=1, token="t"))


def creation(classifier_id: str | None = None, **new: object) -> TrainRequest:
    return TrainRequest(
        model="tiny",
        classifier_id=classifier_id or ids.classifier_id(),
        create=NewClassifier(**new),  # type: ignore[arg-type]
        examples=examples(),
    )


def update(classifier_id: str, *pairs: tuple[str, str], **changes: object) -> TrainRequest:
    return TrainRequest(
        model="tiny", classifier_id=classifier_id, examples=examples(*pairs)
    ).model_copy(update=changes)


@pytest.fixture
def made(bench: Bench) -> str:
    """A classifier's id."""
    body = creation(name="colours")
    bench.train.train(a_job(), body, hold())
    return body.classifier_id


def record(bench: Bench, classifier_id: str) -> Classifier:
    return bench.classifiers.records.load(ME, classifier_id)[0]


def everything(bench: Bench, classifier_id: str) -> dict[str, bytes]:
    prefix = object_keys.classifier_prefix(ME, classifier_id)
    return {n: o.data for n, o in bench.store.objects.items() if n.startswith(prefix)}


def test_another_spelling_of_a_label_adds_to_that_label(bench: Bench, made: str):
    pairs = (("a red car", "red\u00a0"), ("a red sky", "\u200bred"), ("a blue sky", "blue"))
    result = bench.train.train(a_job(), update(made, *pairs), hold())

    assert result.report.labels == ("red", "green", "blue")
    assert result.report.counts == (4, 1, 1)


class TestCreate:
    def test_makes_a_classifier_of_one_version(self, bench: Bench):
        body = creation(name="colours", description="of things", access="public")
        result = bench.train.train(a_job(), body, hold())
        assert (result.version, result.num_samples) == (1, 3)
        assert result.usage.train_tokens == 10 * (3 + 2 + 2)
        assert result.report.labels == ("red", "green")
        assert result.report.counts == (2, 1)
        assert result.report.progressive is not None
        stored = record(bench, body.classifier_id)
        assert (stored.name, stored.description, stored.access) == (
            "colours",
            "of things",
            "public",
        )
        assert stored.labels == ("red", "green")
        assert stored.latest.samples == 3

    def test_remarks_on_what_will_hurt(self, bench: Bench):
        body = creation().model_copy(
            update={"examples": examples(("same", "red"), ("same", "green"), ("other", "green"))}
        )
        kinds = {r.kind for r in bench.train.train(a_job(), body, hold()).report.remarks}
        assert {"conflicting_duplicates", "few_examples"} <= kinds

    def test_run_twice_makes_one_classifier(self, bench: Bench):
        body, job = creation(name="colours"), a_job()
        first = bench.train.train(job, body, hold())
        before = everything(bench, body.classifier_id)
        assert bench.train.train(job, body, hold()) == first
        assert everything(bench, body.classifier_id) == before

    def test_refuses_a_name_that_is_taken(self, bench: Bench, made: str):
        body = creation(name="colours")
        with pytest.raises(Conflict, match="another classifier called 'colours'"):
            bench.train.train(a_job(), body, hold())
        assert everything(bench, body.classifier_id) == {}

    def test_another_account_may_have_the_name(self, bench: Bench, made: str):
        bench.train.train(a_job(account="other"), creation(name="colours"), hold())


class TestUpdate:
    def test_learns_on_top_and_takes_new_labels(self, bench: Bench, made: str):
        result = bench.train.train(a_job(), update(made, ("blue sky", "blue")), hold())
        assert result.version == 2
        assert result.report.labels == ("red", "green", "blue")
        assert result.report.counts == (2, 1, 1)
        stored = record(bench, made)
        assert stored.latest.samples == 4
        assert stored.latest.learnt == ((1, 2),)
        assert [v.number for v in stored.versions] == [1, 2]

    def test_an_example_counts_as_often_as_it_says(self, bench: Bench, made: str):
        body = update(made, num_iters=3)
        body = body.model_copy(
            update={"examples": (*body.examples, *examples(("blue", "red"), num_iters=7))}
        )
        assert bench.train.train(a_job(), body, hold()).usage.train_tokens == 3 * 7 + 7 * 1

    def test_the_same_calls_give_the_same_bits(self):
        files = []
        for _ in range(2):
            bench = Bench()
            body = creation()
            bench.train.train(a_job(), body, hold())
            bench.train.train(a_job(), update(body.classifier_id, ("blue sky", "blue")), hold())
            stored = record(bench, body.classifier_id)
            place = object_keys.weights(ME, body.classifier_id, stored.latest.file)
            files.append(bench.store.get(place).data)
            bench.close()
        assert files[0] == files[1]

    def test_run_twice_learns_once(self, bench: Bench, made: str):
        job, body = a_job(), update(made, ("blue sky", "blue"))
        first = bench.train.train(job, body, hold())
        bench.train.train(a_job(), update(made, ("gold", "gold")), hold())
        before = everything(bench, made)
        assert bench.train.train(job, body, hold()) == first
        assert everything(bench, made) == before

    def test_eight_trainers_lose_nothing(self, bench: Bench, made: str):
        """Two processes of four threads each: half of them share no lock."""
        other = ClassifierCache(bench.store, versions_kept=100)
        trains = [replace(bench.train, classifiers=c) for c in (
            ClassifierCache(bench.store, versions_kept=100), other
        )]  # fmt: skip
        start = threading.Barrier(8)

        def train(number: int) -> int:
            start.wait()
            body = update(made, (f"colour {number}", f"label {number}"))
            return trains[number % 2].train(a_job(), body, hold()).version

        with ThreadPoolExecutor(8) as pool:
            versions = sorted(pool.map(train, range(8)))
        assert versions == list(range(2, 10))
        stored = record(bench, made)
        assert [v.number for v in stored.versions] == list(range(1, 10))
        assert set(stored.labels) == {"red", "green", *(f"label {n}" for n in range(8))}
        assert stored.latest.samples == 3 + 8
        learnt = bench.classifiers.load(stored.weights(stored.latest))
        assert dict(zip(learnt.labels, learnt.counts, strict=True))["label 3"] == 1
        files = {n.rpartition("/")[2].rpartition(".")[0] for n in everything(bench, made)}
        assert files == {"classifier", *stored.files()}, "what lost leaves nothing behind"

    def test_old_versions_go_but_for_those_with_an_alias(self, bench: Bench, made: str):
        bench.classifiers.records.change(
            ME, made, lambda r: r.model_copy(update={"aliases": {"first": 1}})
        )
        for _ in range(5):
            bench.train.train(a_job(), update(made), hold())
        stored = record(bench, made)
        assert [v.number for v in stored.versions] == [1, 4, 5, 6]
        weights = [n for n in everything(bench, made) if n.endswith(".safetensors")]
        assert len(weights) == 4


class TestRefusals:
    def check_unchanged(self, bench: Bench, made: str, body: TrainRequest, error: type) -> None:
        before = everything(bench, made)
        with pytest.raises(error):
            bench.train.train(a_job(), body, hold())
        assert everything(bench, made) == before

    def test_no_such_classifier(self, bench: Bench):
        with pytest.raises(NotFound):
            bench.train.train(a_job(), update(ids.classifier_id()), hold())

    def test_somebody_else_s_classifier(self, bench: Bench, made: str):
        with pytest.raises(NotFound):
            bench.train.train(a_job(account="other"), update(made), hold())

    def test_an_example_too_long(self, bench: Bench, made: str):
        self.check_unchanged(bench, made, update(made, ("red " * 51, "red")), TokenLimitExceeded)

    def test_too_many_labels(self, bench: Bench, made: str):
        bench.train = TrainHandler(
            models=bench.models,
            limits=Limits(max_classifier_labels=3),
            classifiers=bench.classifiers,
            viewer=bench.viewer,
            example_files=bench.example_files,
        )
        body = update(made, ("blue", "blue"), ("gold", "gold"))
        self.check_unchanged(bench, made, body, LabelLimitExceeded)

    def test_another_revision_of_the_model(self, bench: Bench, made: str):
        bench.encoder.revision = "2"
        self.check_unchanged(bench, made, update(made), Conflict)

    def test_a_model_that_is_not_here(self, bench: Bench, made: str):
        self.check_unchanged(bench, made, update(made, model="other"), Unavailable)

    def test_a_job_that_was_cancelled(self, bench: Bench, made: str):
        ended = hold()
        ended.end(abandoned=True)
        before = everything(bench, made)
        with pytest.raises(CancelledError):
            bench.train.train(a_job(), update(made), ended)
        assert everything(bench, made) == before

    def test_the_store_away_then_back(self, bench: Bench, made: str):
        job = a_job()
        bench.store.away = True
        with pytest.raises(StoreUnavailable):
            bench.train.train(job, update(made), hold())
        bench.store.away = False
        assert bench.train.train(job, update(made), hold()).version == 2

    def test_deleted_while_it_learnt(self, bench: Bench, made: str):
        bench.encoder.free.clear()
        failures: list[BaseException] = []

        def train() -> None:
            try:
                bench.train.train(a_job(), update(made), hold())
            except NotFound as exc:
                failures.append(exc)

        thread = threading.Thread(target=train)
        thread.start()
        bench.classifiers.records.delete(record(bench, made))
        bench.encoder.free.set()
        thread.join(10)
        assert len(failures) == 1
        assert everything(bench, made) == {}


def forget_all(bench: Bench, classifier_id: str) -> None:
    """What the front end does when the owner wants no examples kept."""
    front = api.services.classifiers.ClassifierService(
        store=bench.store, max_classifiers=9, versions_kept=9
    )
    front.forget_examples(ME, classifier_id)


class TestKeptExamples:
    @pytest.fixture
    def keeping(self, bench: Bench) -> str:
        body = creation(keep_examples=True)
        bench.train.train(a_job(), body, hold())
        bench.train.train(a_job(), update(body.classifier_id, ("blue sky", "blue")), hold())
        return body.classifier_id

    def rebuild(self, bench: Bench, classifier_id: str) -> object:
        body = RebuildRequest(model="tiny", classifier_id=classifier_id)
        return bench.train.rebuild(a_job(JobKind.REBUILD), body, hold())

    def test_none_are_kept_by_default(self, bench: Bench, made: str):
        assert not any("/examples/" in name for name in everything(bench, made))
        with pytest.raises(Conflict, match="0 of the 3 examples"):
            self.rebuild(bench, made)

    def test_embeds_each_example_once(self, bench: Bench, keeping: str):
        before, samples = bench.encoder.ran, record(bench, keeping).latest.samples
        self.rebuild(bench, keeping)
        assert bench.encoder.ran - before <= samples

    def test_rebuilds_with_a_newer_model(self, bench: Bench, keeping: str):
        bench.encoder.revision = "2"
        result = self.rebuild(bench, keeping)
        assert result.version == 3  # type: ignore[attr-defined]
        assert result.num_samples == 4  # type: ignore[attr-defined]
        stored = record(bench, keeping)
        assert stored.latest.made_by == "rebuild"
        assert stored.latest.learnt == ((1, 2),)
        assert bench.train.train(a_job(), update(keeping), hold()).version == 4
        assert self.rebuild(bench, keeping).num_samples == 7  # type: ignore[attr-defined]

    def test_none_stay_that_are_forgotten_while_they_are_put(
        self, bench: Bench, keeping: str, monkeypatch: pytest.MonkeyPatch
    ):
        put = bench.store.put

        def put_late(name: str, data: bytes, **conditions: Any) -> str:
            if "/examples/" in name:
                forget_all(bench, keeping)
            return put(name, data, **conditions)

        monkeypatch.setattr(bench.store, "put", put_late)
        bench.train.train(a_job(), update(keeping), hold())

        assert not any("/examples/" in name for name in everything(bench, keeping))

    def test_none_stay_of_an_attempt_that_was_killed_before_they_were_forgotten(
        self, bench: Bench, keeping: str
    ):
        job, body = a_job(), update(keeping)
        bench.train.train(job, body, hold())
        left = {n: o for n, o in bench.store.objects.items() if n.endswith("000000003.jsonl")}
        forget_all(bench, keeping)
        bench.store.objects |= left

        assert bench.train.train(job, body, hold()).version == 3

        assert len(left) == 1
        assert not any("/examples/" in name for name in everything(bench, keeping))

    def test_is_refused_when_some_were_forgotten(self, bench: Bench, keeping: str):
        bench.store.delete(object_keys.examples_of(ME, keeping, 1))
        with pytest.raises(Conflict, match="1 of the 4 examples"):
            self.rebuild(bench, keeping)


class TestImport:
    def load(self, bench: Bench, data: bytes, **new: object) -> object:
        job = a_job(JobKind.IMPORT)
        bench.store.put(object_keys.upload(ME, job.id), data)
        body = ImportRequest(
            model="tiny",
            classifier_id=ids.classifier_id(),
            create=NewClassifier(**new),  # type: ignore[arg-type]
            upload=object_keys.upload(ME, job.id),
        )
        return bench.train.load(job, body, hold())

    def exported(self, bench: Bench, made: str) -> bytes:
        stored = record(bench, made)
        return bench.store.get(object_keys.weights(ME, made, stored.latest.file)).data

    def test_gives_the_same_classifier(self, bench: Bench, made: str):
        data = self.exported(bench, made)
        result = self.load(bench, data, name="copy")
        copied = record(bench, result.classifier_id)  # type: ignore[attr-defined]
        assert copied.labels == ("red", "green")
        assert copied.latest.samples == 3
        assert self.exported(bench, copied.id) == data
        update_copy = update(copied.id, ("blue", "blue"))
        assert bench.train.train(a_job(), update_copy, hold()).version == 2

    @pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
    def test_refuses_a_file_that_is_cut(self, bench: Bench, made: str, cut: int):
        with pytest.raises(InvalidRequest, match="file"):
            self.load(bench, self.exported(bench, made)[:cut])

    def test_refuses_other_safetensors(self, bench: Bench):
        import numpy as np
        from safetensors.numpy import save

        with pytest.raises(InvalidRequest, match="not a classifier file"):
            self.load(bench, save({"a": np.zeros(3, np.float32)}))

    def test_refuses_numbers_that_are_not_finite(self, bench: Bench, made: str):
        trained = loads(self.exported(bench, made))
        trained.learner.model.bias[0] = float("nan")
        with pytest.raises(InvalidRequest, match="not finite"):
            self.load(bench, dumps(trained))

    def test_refuses_another_revision(self, bench: Bench, made: str):
        data = self.exported(bench, made)
        bench.encoder.revision = "2"
        with pytest.raises(Conflict, match="revision"):
            self.load(bench, data)

    def test_refuses_another_dimension(self, bench: Bench, made: str):
        data = self.exported(bench, made)
        bench.encoder.dimensions = 32
        with pytest.raises(Conflict, match="64 dimensions"):
            self.load(bench, data)


def test_a_train_job_ends_without_its_examples(bench: Bench):
    body = creation()
    job = bench.submit(body)
    bench.parts.run(bench.claim(job.queue))
    ended = decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)
    assert ended.state is State.SUCCEEDED
    assert ended.usage.train_tokens == 70
    kept = bench.store.get(object_keys.request(ME, job.id)).data
    assert decode(Submission, kept).body.examples == ()  # type: ignore[union-attr]
    assert not any(b"rose" in stored.data for stored in bench.store.objects.values())


def test_a_train_job_that_fails_ends_without_its_examples(bench: Bench):
    job = bench.submit(update(ids.classifier_id(), ("a red rose", "red")))
    bench.parts.run(bench.claim(job.queue))
    ended = decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)
    assert ended.error is not None
    assert ended.error.code == "RESOURCE_NOT_FOUND"
    assert not any(b"rose" in stored.data for stored in bench.store.objects.values())


def test_a_train_that_was_cancelled_too_late_succeeds(bench: Bench):
    """Its version stays, so the job says so."""
    body = creation()
    job = bench.submit(body)
    claim = bench.claim(job.queue)
    complete = bench.ledger.complete

    def cancelled_just_before(*args: object, **more: object) -> object:
        now = bench.ledger.record(job.id)
        assert now is not None
        if now.state is State.RUNNING:
            bench.ledger.replace(now, advance(now, Cancel(), now.created_at))
            bench.ledger.abort_job(job.id)
        return complete(*args, **more)  # type: ignore[arg-type]

    bench.ledger.complete = cancelled_just_before  # type: ignore[method-assign,assignment]
    bench.parts.run(claim)
    ended = decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)
    assert ended.state is State.SUCCEEDED
    assert record(bench, body.classifier_id).latest.number == 1


class TestCandidates:
    def test_learn_on_top_of_the_version_that_is_named(self, bench: Bench, made: str):
        bench.train.train(a_job(), update(made, ("blue sky", "blue")), hold())

        body = update(made, ("blood", "red"), base=1, candidate=True)
        result = bench.train.train(a_job(), body, hold())

        record, _ = bench.classifiers.records.load(ME, made)
        assert (result.version, result.candidate, record.latest.number) == (3, True, 2)
        assert result.report.labels == ("red", "green")
        assert record.versions[2].learnt == ((1, 1), (3, 3))
        assert record.versions[2].samples == len(COLOURS) + 1

    def test_are_made_once(self, bench: Bench, made: str):
        job, body = a_job(), update(made, ("blood", "red"), candidate=True)

        assert bench.train.train(job, body, hold()) == bench.train.train(job, body, hold())


def test_closed_labels_refuse_a_new_label_of_a_file(bench: Bench):
    body = creation(closed_labels=True)
    bench.train.train(a_job(), body, hold())
    bench.store.put("examples", b"text,label\na rose,red\nsky,Red\n")
    more = update(body.classifier_id, examples=(), file=ExampleFile(object="examples"))

    with pytest.raises(InvalidRequest, match=r"file example\[1\]\.label.*did you mean 'red'"):
        bench.train.train(a_job(), more, hold())
