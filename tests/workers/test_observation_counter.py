"""Counting what versions classify: sums by hour, written again and again, and no text."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import numpy as np
import pytest

from shared import object_keys, observation_keys
from shared.classifier_record import Classifier
from shared.observation import Observation, merged
from shared.observation_store import ObservationStore
from shared.ports import StoredObject
from shared.types import ClassifierVersion, ClassifyRequest, Item, Priority
from tests.fakes import FakeStore
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import ME, a_job, creation, hold, record, update
from workers.handlers.classify import ClassifyHandler
from workers.observation_counter import ObservationCounter
from workers.work_context import WorkContext

NOW = datetime(2026, 11, 30, 23, 50, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now.timestamp()


class MeetingStore(FakeStore):
    """Writes observations two at a time only, and counts the reads of classifiers' records."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._two = threading.Barrier(2, timeout=60)

    def get(self, name: str) -> StoredObject:
        self.reads[name] += 1
        return super().get(name)

    def put(self, name: str, data: bytes | BinaryIO, **said: Any) -> str:
        if "/observations/" in name:
            self._two.wait()
        return super().put(name, data, **said)


class Counted:
    """A trained classifier, and a worker that counts what it classifies."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.clock = Clock()
        self.classifier_id = self.train()
        self.counter = self.new_counter()

    def new_counter(self, **said: int) -> ObservationCounter:
        return ObservationCounter(self.bench.store, clock=self.clock, **said)

    def train(self) -> str:
        body = creation(name="colours")
        self.bench.train.train(a_job(), body, hold())
        return body.classifier_id

    @property
    def record(self) -> Classifier:
        return record(self.bench, self.classifier_id)

    @property
    def version(self) -> ClassifierVersion:
        return self.record.weights(self.record.latest)

    def classify(self, *texts: str, version: ClassifierVersion | None = None) -> None:
        bench = self.bench
        handler = ClassifyHandler(
            bench.models, bench.limits, bench.classifiers, bench.viewer, self.counter
        )
        request = ClassifyRequest(
            model="tiny",
            items=tuple(Item(text=text) for text in texts),
            classifier=version or self.version,
        )
        handler.begin(request, WorkContext(priority=Priority.STANDARD)).result(timeout_s=60)

    def seen(self, *, start: datetime = NOW - timedelta(days=7)) -> Observation:
        days = ObservationStore(store=self.bench.store).days(
            self.version, start, self.clock.now + timedelta(hours=1)
        )
        return merged(observed for _, observed in days)

    def stored(self) -> list[str]:
        prefix = f"classifiers/{ME}/{self.classifier_id}/observations/"
        return list(self.bench.store.list(prefix))


@pytest.fixture
def counted(bench: Bench) -> Counted:
    return Counted(bench)


def test_the_sums_of_items_are_written_once_for_all_flushes(counted: Counted):
    counted.classify("a red rose", "a green leaf")
    counted.counter.flush()
    counted.classify("another red rose")
    counted.counter.flush()
    counted.counter.flush()

    found = counted.seen()
    assert found.items == 3
    assert sum(found.labels.values()) == 3
    assert found.squares == pytest.approx(3, abs=1e-5)
    assert len(counted.stored()) == 1
    written = b"".join(counted.bench.store.get(name).data for name in counted.stored())
    assert b"rose" not in written


def test_a_killed_process_loses_only_what_it_has_not_written(counted: Counted):
    counted.classify("a red rose")
    counted.counter.flush()
    counted.classify("a green leaf")
    counted.counter = counted.new_counter()  # of the process that follows it
    counted.classify("a blue sky", "a red car")
    counted.counter.flush()

    assert counted.seen().items == 3
    assert len(counted.stored()) == 2


def test_hours_and_days_are_apart(counted: Counted):
    counted.classify("a red rose")
    counted.clock.now += timedelta(minutes=20)
    counted.classify("a green leaf", "a red car")
    counted.counter.flush()

    days = ObservationStore(store=counted.bench.store).days(
        counted.version, NOW, NOW + timedelta(days=1)
    )
    assert [observed.items for _, observed in days] == [1, 2]
    assert counted.seen(start=NOW + timedelta(minutes=10)).items == 2
    assert len(counted.stored()) == 2


def test_nothing_is_counted_without_observe(counted: Counted):
    version = counted.version.model_copy(update={"observe": False})

    counted.classify("a red rose", version=version)
    counted.counter.flush()

    assert counted.stored() == []


def test_what_cannot_be_written_is_written_the_next_time(counted: Counted):
    counted.classify("a red rose")
    counted.bench.store.away = True
    counted.counter.flush()
    counted.bench.store.away = False
    assert counted.stored() == []

    counted.counter.flush()

    assert counted.seen().items == 1


def test_a_version_that_cannot_be_written_does_not_keep_the_others_from_it(counted: Counted):
    odd = counted.version.model_copy(update={"file": "1-odd"})
    for labels in (["red"], ["red", "green"]):  # a version never changes its labels
        scores = np.ones((1, len(labels)), np.float32)
        counted.counter.add(odd, labels, np.ones((1, 2), np.float32), scores)
        counted.clock.now -= timedelta(hours=1)
    counted.classify("a red rose")

    counted.counter.flush()

    assert counted.seen().items == 1


def test_of_more_versions_than_fit_all_are_counted(counted: Counted):
    counted.counter = counted.new_counter(max_days=1)
    first = counted.version
    counted.bench.train.train(a_job(), update(counted.classifier_id, ("a red car", "red")), hold())
    for version in (first, counted.version, first):
        counted.classify("a red rose", version=version)
        counted.counter.flush()

    found = ObservationStore(store=counted.bench.store).days(first, NOW, NOW + timedelta(hours=1))
    assert sum(observed.items for _, observed in found) == 2
    assert counted.seen().items == 1
    assert len(counted.stored()) == 2  # one of each version, however often they take turns


def test_versions_are_written_at_once_and_their_record_is_read_once():
    with closing(Bench(store=MeetingStore())) as bench:
        counted = Counted(bench)
        first = counted.version
        bench.train.train(a_job(), update(counted.classifier_id, ("a red car", "red")), hold())
        for version in (first, counted.version):
            counted.classify("a red rose", version=version)
        bench.store.reads.clear()

        counted.counter.flush()

        assert len(counted.stored()) == 2
        assert bench.store.reads[object_keys.classifier(ME, counted.classifier_id)] == 1


def test_a_deleted_classifier_leaves_no_sums(counted: Counted):
    counted.classify("a red rose")
    counted.bench.classifiers.records.delete(counted.record)

    counted.counter.flush()

    assert counted.stored() == []


def test_a_version_that_is_dropped_takes_its_sums_and_its_reference_along(counted: Counted):
    counted.classify("a red rose")
    counted.counter.flush()
    first = counted.version
    for number in range(3):  # of which the bench keeps three
        body = update(counted.classifier_id, (f"a red car {number}", "red"))
        counted.bench.train.train(a_job(), body, hold())

    assert counted.stored() == []
    name = observation_keys.reference(ME, counted.classifier_id, first.file)
    assert name not in set(counted.bench.store.list(f"classifiers/{ME}/"))


class TestReference:
    def test_has_the_examples_of_all_calls(self, counted: Counted):
        body = update(counted.classifier_id, ("blue sky", "blue"), ("a blue sea", "blue"))
        counted.bench.train.train(a_job(), body, hold())

        reference = ObservationStore(store=counted.bench.store).reference(counted.version)
        assert reference is not None
        assert reference.trained.items == 5
        assert reference.judged.items == 0
        assert sum(reference.whole.labels.values()) == 5

    def test_is_renamed_with_the_labels(self, counted: Counted):
        store = ObservationStore(store=counted.bench.store)
        before = store.reference(counted.version)
        assert before is not None

        after = before.relabelled({"red": "rot", "green": "rot"})

        assert after.whole.labels == {"rot": 3}
        assert after.whole.items == 3
