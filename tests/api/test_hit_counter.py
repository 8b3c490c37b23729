from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from api.services import hit_counter
from api.services.hit_counter import HitCount, HitCounter, used
from shared import object_keys
from shared.ports import StoredObject
from tests.clock import Clock
from tests.fakes import FakeStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def store_with(*classifiers: str) -> FakeStore:
    """A store on which account acme has these classifiers."""
    store = FakeStore()
    for classifier_id in classifiers:
        store.put(object_keys.classifier("acme", classifier_id), b"{}")
    return store


def test_calls_are_added_up():
    store, clock = store_with("x", "y"), Clock(NOW.timestamp())
    uses = HitCounter(store, clock=clock)

    uses.count("acme", "x")
    uses.flush()
    clock.now += 60
    uses.count("acme", "x")
    uses.count("acme", "x")
    uses.count("acme", "y")
    uses.flush()
    uses.flush()

    assert used(store, "acme", "x") == HitCount(number=3, at=datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    assert used(store, "acme", "y").number == 1


def test_what_was_never_asked_was_used_never():
    assert used(FakeStore(), "acme", "x") == HitCount(number=0, at=None)


def test_two_processes_lose_no_call():
    class Racing(FakeStore):
        def get(self, name: str) -> StoredObject:
            found = super().get(name)
            if name == object_keys.used("acme", "x") and other.number:
                other.number -= 1
                HitCounter.flush(other.uses)
            return found

    class Other:
        number = 3

    other, store = Other(), Racing()
    store.put(object_keys.classifier("acme", "x"), b"{}")
    other.uses = HitCounter(store)
    uses = HitCounter(store)
    uses.count("acme", "x")
    uses.flush()

    for _ in range(3):
        uses.count("acme", "x")
        other.uses.count("acme", "x")
    uses.flush()

    assert used(store, "acme", "x").number == 7


def test_what_cannot_be_added_waits_for_the_store():
    store = store_with("x", "y")
    uses = HitCounter(store)
    uses.count("acme", "x")
    uses.count("acme", "y")
    store.away = True

    uses.flush()
    uses.count("acme", "x")
    store.away = False
    uses.flush()

    assert used(store, "acme", "x").number == 2
    assert used(store, "acme", "y").number == 1


def test_what_was_deleted_is_not_made_again():
    store = store_with("x")
    uses = HitCounter(store)
    uses.count("acme", "x")
    store.delete(object_keys.classifier("acme", "x"))

    uses.flush()

    assert not store.objects


def test_an_object_that_cannot_be_read_harms_no_other():
    store = store_with("x", "y")
    store.put(object_keys.used("acme", "y"), b"?")
    uses = HitCounter(store)
    uses.count("acme", "x")
    uses.count("acme", "y")

    uses.flush()

    assert used(store, "acme", "x").number == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hit_counter, "_MAX_CLASSIFIERS", 2)
    store = store_with("x", "y", "z")
    uses = HitCounter(store)
    for classifier_id in "xyzx":
        uses.count("acme", classifier_id)

    uses.flush()

    assert [used(store, "acme", each).number for each in "xyz"] == [2, 1, 0]


def test_the_thread_carries_over_by_itself():
    added = threading.Event()

    class Telling(FakeStore):
        def put(self, name: str, *args: object, **kwargs: object) -> str:
            etag = super().put(name, *args, **kwargs)
            if name == object_keys.used("acme", "x"):
                added.set()
            return etag

    store = Telling()
    store.put(object_keys.classifier("acme", "x"), b"{}")
    uses = HitCounter(store, every_s=0.01)
    uses.start()
    uses.count("acme", "x")

    assert added.wait(60)
    uses.stop()


def test_the_end_of_the_process_carries_over_what_is_left():
    store = store_with("x")
    uses = HitCounter(store, every_s=3600)
    uses.start()
    uses.count("acme", "x")

    uses.stop()

    assert used(store, "acme", "x").number == 1
