"""Drift watch: one detection, one run and one event for a drift, however often it is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shared import object_keys, observation_keys, retraining_keys
from shared.classifier_record import Classifier
from shared.messages import encode
from shared.observation import BINS, DayObservations, Observation, Reference, packed
from shared.observation_store import ObservationStore
from shared.retraining import RetrainingRecord, RetrainingSettings
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook, new_secret
from tests.classifiers import put_classifier
from tests.workers.conftest import Bench
from tests.workers.keeper.schedules import schedules_of
from workers.keeper.drift_watch import DriftWatch

NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


def observation(*angle: float) -> Observation:
    return Observation(
        labels={"x": 500, "y": 500},
        confidence=(0,) * (BINS - 1) + (1000,),
        total=packed(1000 * each for each in angle),
        squares=1000.0,
    )


USUAL, OTHER = observation(0.6, 0.0), observation(0.0, 0.6)


class Watched:
    """A classifier that is watched at a time."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.now = NOW
        self.record: Classifier = put_classifier(bench.store, name="spam", versions=1)
        self.version = self.record.weights(self.record.latest)
        self.observations = ObservationStore(store=bench.store)
        self.observations.put_reference(self.version, Reference(trained=USUAL))
        schedules = schedules_of(bench, [], clock=lambda: self.now.timestamp())
        self.watch = DriftWatch(
            store=bench.store, schedules=schedules, clock=lambda: self.now.timestamp()
        )

    def classify(self, counted: Observation) -> None:
        day = DayObservations(hours={self.now.hour: counted})
        self.observations.put(self.version, self.now, "process", day)
        self.observations.mark_in_use(self.version, self.now)

    def retrain(self, **settings: object) -> None:
        record = RetrainingRecord(
            account=self.record.account,
            classifier_id=self.record.id,
            settings=RetrainingSettings(**settings),  # type: ignore[arg-type]
            created_at=NOW,
            updated_at=NOW,
        )
        name = retraining_keys.retraining(self.record.account, self.record.id)
        self.bench.store.put(name, encode(record))

    def subscribe(self) -> None:
        webhook = Webhook(
            id="wh_1",
            account=self.record.account,
            url="https://example.org",
            events=("drift.detected",),
            secret=new_secret(),
            created_at=NOW,
            updated_at=NOW,
        )
        WebhookStore(store=self.bench.store).create(webhook)

    def runs(self) -> list[str]:
        return list(self.bench.store.list("open/"))

    def events(self) -> list[dict[str, object]]:
        webhooks = WebhookStore(store=self.bench.store)
        found, _ = webhooks.deliveries(self.record.account, "wh_1", after="", limit=10)
        return [json.loads(each.payload)["data"] for each in found]


@pytest.fixture
def watched(bench: Bench) -> Watched:
    return Watched(bench)


def test_a_drift_starts_one_run_and_sends_one_event(watched: Watched):
    watched.retrain(on_drift=True)
    watched.subscribe()
    watched.classify(OTHER)

    assert watched.watch.look() == 1
    assert watched.watch.look() == 0

    assert len(watched.runs()) == 1
    (event,) = watched.events()
    assert (event["classifier_id"], event["version"]) == (watched.record.id, 1)
    assert event["measures"]["embedding"]["drifted"] is True  # type: ignore[index]


def test_unchanged_traffic_starts_nothing(watched: Watched):
    watched.retrain(on_drift=True)
    watched.subscribe()
    watched.classify(USUAL)

    assert watched.watch.look() == 0
    assert (watched.runs(), watched.events()) == ([], [])


@pytest.mark.parametrize("settings", [{"on_drift": False}, {"on_drift": True, "enabled": False}])
def test_without_on_drift_nothing_is_started(watched: Watched, settings: dict[str, object]):
    watched.retrain(**settings)
    watched.subscribe()
    watched.classify(OTHER)

    assert watched.watch.look() == 1
    assert watched.runs() == []
    assert len(watched.events()) == 1


def test_the_same_version_is_detected_again_after_a_day(watched: Watched):
    watched.subscribe()
    watched.classify(OTHER)
    assert watched.watch.look() == 1
    watched.now += timedelta(hours=23)
    watched.classify(OTHER)
    assert watched.watch.look() == 0
    watched.now += timedelta(hours=2)
    watched.classify(OTHER)

    assert watched.watch.look() == 1
    assert len(watched.events()) == 2


def test_a_drift_during_a_run_starts_its_run_afterwards(watched: Watched):
    watched.retrain(on_drift=True)
    retrainings = watched.watch.schedules.retrainings
    job_id = "job_" + "0" * 26
    watched.bench.store.put(f"open/{job_id}", b"")
    retrainings.begin(watched.record.account, watched.record.id, job_id.replace("job", "run"))
    watched.classify(OTHER)
    assert watched.watch.look() == 1
    assert len(watched.runs()) == 1
    watched.bench.store.delete(f"open/{job_id}")

    watched.watch.look()
    watched.watch.look()

    assert len(watched.runs()) == 1
    assert watched.runs() != [f"open/{job_id}"]


def test_the_index_forgets_hours_that_are_over(watched: Watched):
    watched.classify(OTHER)
    watched.watch.look()
    watched.now += timedelta(hours=4)
    watched.watch.look()

    assert list(watched.bench.store.list(observation_keys.OBSERVED)) == []


def test_a_record_that_cannot_be_decoded_keeps_no_other_classifier_from_its_check(
    watched: Watched,
):
    watched.subscribe()
    watched.classify(OTHER)
    bench, broken = watched.bench, "cls_" + "0" * 26  # listed before
    bench.store.put(object_keys.classifier(watched.record.account, broken), b"{")
    bench.store.put(observation_keys.in_use(watched.record.account, broken, watched.now), b"")

    assert watched.watch.look() == 1
    watched.now += timedelta(hours=4)
    watched.watch.look()
    assert list(bench.store.list(observation_keys.OBSERVED)) == []


def test_the_webhooks_of_an_account_are_read_once_a_look(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    store, listed = watched.bench.store, list[str]()
    names = store.list

    def recorded(prefix: str, **options: str) -> Iterator[str]:
        listed.append(prefix)
        return names(prefix, **options)

    monkeypatch.setattr(store, "list", recorded)
    other = put_classifier(store, name="ham", versions=1)
    watched.observations.mark_in_use(watched.version, watched.now)
    watched.observations.mark_in_use(other.weights(other.latest), watched.now)

    watched.watch.look()

    assert listed.count(object_keys.webhooks_of(watched.record.account)) == 1
