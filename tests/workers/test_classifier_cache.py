"""What a worker keeps of trained classifiers: read once, bounded, shared by who asks meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import object_keys
from shared.byte_cache import OVERHEAD_BYTES
from shared.errors import NotFound
from shared.ports import StoredObject
from shared.types import ClassifierVersion
from tests.fakes import FakeStore
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import ME, a_job, creation, hold
from workers.classifier_cache import ClassifierCache


class CountingStore(FakeStore):
    """Counts and delays reads of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.free = threading.Event()
        self.free.set()

    def get(self, name: str) -> StoredObject:
        if name.endswith(".safetensors"):
            self.reads += 1
            self.free.wait(60)
        return super().get(name)


@pytest.fixture
def store(bench: Bench) -> CountingStore:
    counting = CountingStore()
    counting.objects = bench.store.objects
    return counting


def a_version(bench: Bench) -> ClassifierVersion:
    body = creation()
    bench.train.train(a_job(), body, hold())
    record, _ = bench.classifiers.records.load(ME, body.classifier_id)
    return record.weights(record.latest)


def test_is_read_once_however_many_ask(bench: Bench, store: CountingStore):
    weights, classifiers = a_version(bench), ClassifierCache(store, versions_kept=3)
    store.free.clear()
    asked = [classifiers.of(weights) for _ in range(20)]
    store.free.set()
    assert len({id(future.result(60)) for future in asked}) == 1
    assert classifiers.of(weights).done()
    assert store.reads == 1


def test_never_reads_in_the_thread_that_asks(bench: Bench, store: CountingStore):
    weights, classifiers = a_version(bench), ClassifierCache(store, versions_kept=3)
    store.free.clear()
    future = classifiers.of(weights)
    assert not future.done()
    store.free.set()
    assert future.result(60).labels == ("red", "green")


def test_keeps_no_more_than_it_may(bench: Bench, store: CountingStore):
    versions = [a_version(bench) for _ in range(4)]
    size = bench.classifiers.of(versions[0]).result(60).size_bytes
    classifiers = ClassifierCache(store, versions_kept=3, cache_bytes=2 * (size + OVERHEAD_BYTES))
    for weights in versions:
        classifiers.of(weights).result(60)
    classifiers.of(versions[3]).result(60)
    assert store.reads == 4
    classifiers.of(versions[0]).result(60)
    assert store.reads == 5


def test_a_read_that_failed_is_tried_again(bench: Bench, store: CountingStore):
    weights, classifiers = a_version(bench), ClassifierCache(store, versions_kept=3)
    name = object_keys.weights(ME, weights.classifier_id, weights.file)
    kept = store.objects.pop(name)
    with pytest.raises(NotFound):
        classifiers.of(weights).result(60)
    store.objects[name] = kept
    assert classifiers.of(weights).result(60).labels == ("red", "green")


def test_many_threads_at_once(bench: Bench, store: CountingStore):
    versions = [a_version(bench) for _ in range(5)]
    size = bench.classifiers.of(versions[0]).result(60).size_bytes
    classifiers = ClassifierCache(store, versions_kept=3, cache_bytes=3 * (size + OVERHEAD_BYTES))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: classifiers.of(versions[i % 5]).result(60), range(200)))
    assert {trained.labels for trained in found} == {("red", "green")}
