"""Schedules on in-memory ports: each tick is one run, whoever starts it and whatever was lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared import object_keys, retraining_keys
from shared.messages import Submission, decode
from shared.retraining import RetrainingRecord, RetrainingSettings, RetrainRequest, run_id_of
from shared.retraining_store import RetrainingStore
from tests.classifiers import put_classifier
from tests.workers.conftest import Bench
from tests.workers.keeper.schedules import schedules_of

CREATED = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST = datetime(2026, 1, 2, 2, tzinfo=UTC)


class Nightly:
    """A classifier that is retrained at 2 in the morning, and a clock."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.now = CREATED
        self.id = put_classifier(bench.store).id
        self.store = RetrainingStore(store=bench.store)
        self.schedules = [schedules_of(bench, [], clock=self.clock) for _ in range(2)]
        self.set(schedule="0 2 * * *")

    def clock(self) -> float:
        return self.now.timestamp()

    def set(self, **settings: object) -> None:
        record = RetrainingRecord(
            account="acme",
            classifier_id=self.id,
            settings=RetrainingSettings.model_validate(settings),
            created_at=CREATED,
            updated_at=CREATED,
        )
        self.store.reschedule(record, None, after=self.now)

    def fire(self, at: datetime, *, keeper: int = 0) -> int:
        self.now = at
        return self.schedules[keeper].fire_due()

    def jobs(self) -> list[str]:
        prefix = object_keys.OPEN
        return [name.removeprefix(prefix) for name in self.bench.store.list(prefix)]

    def request(self) -> RetrainRequest:
        (job,) = self.jobs()
        body = decode(Submission, self.bench.store.get(object_keys.request("acme", job)).data).body
        assert isinstance(body, RetrainRequest)
        return body

    def end(self) -> None:
        for job in self.jobs():
            self.bench.store.delete(object_keys.open_marker(job))

    def index(self) -> list[str]:
        return list(self.bench.store.list(retraining_keys.TICKS))


@pytest.fixture
def nightly(bench: Bench) -> Nightly:
    return Nightly(bench)


def test_a_tick_is_a_job_when_its_time_has_come(nightly: Nightly):
    assert nightly.fire(FIRST - timedelta(seconds=1)) == 0
    assert nightly.fire(FIRST) == 1

    request = nightly.request()
    assert (request.trigger, request.tick) == ("schedule", FIRST)
    assert request.deadline == FIRST.timestamp() + 3600
    record, _ = nightly.store.load("acme", nightly.id)
    assert record.next_tick == FIRST + timedelta(days=1)
    assert len(nightly.index()) == 1


def test_two_keepers_make_one_run(nightly: Nightly):
    index, record = nightly.index(), nightly.store.load("acme", nightly.id)[0]
    nightly.fire(FIRST)
    nightly.bench.store.put(index[0], b"")  # the other has read both before the first moved on
    nightly.store.store.put(
        retraining_keys.retraining("acme", nightly.id), record.model_dump_json().encode()
    )

    nightly.fire(FIRST, keeper=1)

    assert len(nightly.jobs()) == 1


def test_missed_ticks_are_one_run_the_latest(nightly: Nightly):
    assert nightly.fire(FIRST + timedelta(days=3, hours=5)) == 1

    assert nightly.request().tick == FIRST + timedelta(days=3)


def test_ticks_during_a_run_wait_and_are_one(nightly: Nightly):
    nightly.fire(FIRST)
    for day in (1, 2):
        assert nightly.fire(FIRST + timedelta(days=day)) == 0

    nightly.end()

    assert nightly.fire(FIRST + timedelta(days=2, hours=1)) == 1
    assert nightly.request().tick == FIRST + timedelta(days=2)
    assert nightly.fire(FIRST + timedelta(days=2, hours=2)) == 0


def test_a_run_started_by_hand_makes_the_tick_wait(nightly: Nightly):
    job = "job_0000000000aaaaaaaaaaaaaaaa"
    nightly.store.begin("acme", nightly.id, run_id_of(job))
    nightly.bench.store.put(object_keys.open_marker(job), b"acme")

    assert nightly.fire(FIRST) == 0
    assert len(nightly.index()) == 1


@pytest.mark.parametrize(
    "settings", [{"schedule": "0 2 * * *", "enabled": False}, {"schedule": None}]
)
def test_a_schedule_that_was_switched_off_starts_nothing(
    nightly: Nightly, settings: dict[str, object]
):
    nightly.set(**settings)

    assert nightly.fire(FIRST) == 0
    assert nightly.index() == []


def test_a_changed_schedule_holds_at_once(nightly: Nightly):
    nightly.set(schedule="0 5 * * *")

    assert nightly.fire(FIRST) == 0
    assert nightly.fire(FIRST + timedelta(hours=3)) == 1


def test_a_deleted_classifier_leaves_no_tick(nightly: Nightly):
    records = nightly.schedules[0].records
    records.delete(records.load("acme", nightly.id)[0])

    assert nightly.fire(FIRST) == 0
    assert nightly.index() == []
