"""Observations on the store: the memory of a reader does not grow with its window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.observation import BINS, DayObservations, Observation
from shared.observation_store import ObservationStore
from shared.ports import StoredObject
from tests.classifiers import put_classifier
from tests.fakes import FakeStore

END = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)
DAYS, PROCESSES = 90, 3
ITEM = Observation(labels={"x": 1}, confidence=(0,) * (BINS - 1) + (1,))


def test_a_long_window_is_read_day_by_day(monkeypatch: pytest.MonkeyPatch):
    store = FakeStore()
    record = put_classifier(store, versions=1)
    version, observations = record.weights(record.latest), ObservationStore(store=store)
    hours = DayObservations(hours=dict.fromkeys(range(24), ITEM))
    for ago in range(DAYS + 1):
        for process in range(PROCESSES):
            observations.put(version, END - timedelta(days=ago), f"process-{process}", hours)
    read: list[str] = []
    get = store.get

    def recorded(name: str) -> StoredObject:
        read.append(name)
        return get(name)

    monkeypatch.setattr(store, "get", recorded)

    days = observations.days(version, END - timedelta(days=DAYS), END)

    first, observed = next(days)
    assert (first, observed.items) == ((END - timedelta(days=DAYS)).date(), 12 * PROCESSES)
    assert len(read) <= 32
    rest = list(days)
    assert [each.items for _, each in rest] == [*[24 * PROCESSES] * 89, 13 * PROCESSES]
    assert [day for day, _ in rest] == sorted(day for day, _ in rest)
