"""Automatic rollback on in-memory ports: feedback moves the alias back once and tells everyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from shared import retraining_keys
from shared.classifier_record import Classifier
from shared.classifier_store import ClassifierStore
from shared.errors import StoreUnavailable
from shared.feedback_store import FeedbackStore
from shared.promotion import promote
from shared.retraining import (
    AutoRollback,
    FeedbackItem,
    RetrainingRecord,
    RetrainingSettings,
    Run,
    RunMetrics,
    VersionMetrics,
)
from shared.retraining_store import RetrainingStore
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook
from tests.classifiers import put_classifier
from tests.workers.conftest import NOW, Bench
from tests.workers.keeper.schedules import live_checks_of

ON_HOLDOUT = VersionMetrics(macro_f1=0.9, accuracy=0.9, micro_f1=0.9, calibration_error=0.0)


class Promoted:
    """Version 2 of a classifier was promoted over version 1; the drop is 0.05 in 100 items."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.id = put_classifier(bench.store, versions=3).id
        self.retrainings = RetrainingStore(store=bench.store)
        self.records = ClassifierStore(store=bench.store)
        self.feedback = FeedbackStore(store=bench.store)
        self.webhooks = WebhookStore(store=bench.store)
        self.checks = [live_checks_of(bench) for _ in range(2)]
        self.sent = 0
        record = RetrainingRecord(
            account="acme",
            classifier_id=self.id,
            settings=RetrainingSettings(auto_rollback=AutoRollback(drop=0.05, window=100)),
            created_at=NOW,
            updated_at=NOW,
        )
        self.retrainings.reschedule(record, None, after=NOW)
        self.promote("run_1", champion=1, challenger=2)
        self.webhooks.create(
            Webhook(
                id="wh_1",
                account="acme",
                url="https://hooks.example.org/",
                secret="whsec_x",
                created_at=NOW,
                updated_at=NOW,
            )
        )

    def promote(self, run_id: str, *, champion: int, challenger: int) -> None:
        def aliased(record: Classifier) -> Classifier:
            return record.model_copy(update={"aliases": {"champion": champion, **record.aliases}})

        self.records.change("acme", self.id, aliased)
        run = Run(
            id=run_id,
            account="acme",
            classifier_id=self.id,
            job_id=run_id.replace("run", "job"),
            status="promoted",
            started_at=NOW,
            champion=champion,
            challenger=challenger,
            metrics=RunMetrics(champion=ON_HOLDOUT, challenger=ON_HOLDOUT),
        )
        promote(self.records, run, alias="champion", now=NOW)
        self.retrainings.put_run(run)

    def send(self, version: int, *, correct: int = 0, wrong: int = 0) -> None:
        for predicted in ("x",) * correct + ("y",) * wrong:
            self.sent += 1
            item = FeedbackItem(
                id=str(self.sent),
                label="x",
                predicted=predicted,
                version=version,
                created_at=NOW + timedelta(minutes=self.sent),
            )
            self.feedback.put("acme", self.id, item)
        self.feedback.request_check("acme", self.id)

    @property
    def aliases(self) -> dict[str, int]:
        return self.records.load("acme", self.id)[0].aliases

    @property
    def run(self) -> Run:
        return self.retrainings.run("acme", self.id, "run_1")

    def told(self) -> list[str]:
        found, _ = self.webhooks.deliveries("acme", "wh_1", after="", limit=10)
        return [each.event for each in found]


@pytest.fixture
def promoted(bench: Bench) -> Promoted:
    return Promoted(bench)


def test_a_version_that_does_worse_is_moved_back_within_the_window(promoted: Promoted):
    promoted.send(1, correct=95, wrong=5)
    promoted.send(2, correct=20, wrong=10)
    assert promoted.checks[0].run_requested() == 0  # it may still end at 90 of 100
    assert promoted.run.live_check is not None
    assert promoted.run.live_check.outcome == "running"

    promoted.send(2, wrong=1)

    assert promoted.checks[0].run_requested() == 1
    assert promoted.aliases == {"champion": 1, "previous": 2}
    run, state = promoted.run, promoted.retrainings.state("acme", promoted.id)
    assert run.rolled_back_at == NOW
    assert "20 of 31 items" in (run.rollback_reason or "")
    assert state.last_rollback is not None
    assert (state.last_rollback.automatic, state.last_rollback.run) == (True, run.id)
    assert promoted.told() == ["retraining.rolled_back"]
    assert not list(promoted.bench.store.list(retraining_keys.LIVE_CHECKS))
    promoted.send(2, wrong=9)
    assert promoted.checks[0].run_requested() == 0


def test_a_version_that_does_as_well_is_kept_for_good(promoted: Promoted):
    promoted.send(1, correct=90, wrong=10)
    promoted.send(2, correct=86, wrong=14)
    promoted.checks[0].run_requested()
    promoted.send(2, wrong=80)  # drift of later days is not the promotion's

    assert promoted.checks[0].run_requested() == 0
    assert promoted.run.live_check is not None
    assert promoted.run.live_check.outcome == "kept"
    assert promoted.aliases["champion"] == 2


def test_without_feedback_on_the_version_before_its_holdout_is_the_baseline(promoted: Promoted):
    promoted.send(2, wrong=16)

    assert promoted.checks[0].run_requested() == 1
    assert "0.900 on the holdout" in (promoted.run.rollback_reason or "")


def test_the_feedback_on_the_version_before_is_listed_at_the_first_check_only(
    promoted: Promoted, monkeypatch: pytest.MonkeyPatch
):
    store, listed = promoted.bench.store, list[str]()
    names = store.list

    def recorded(prefix: str, **options: str) -> Iterator[str]:
        listed.append(prefix)
        return names(prefix, **options)

    monkeypatch.setattr(store, "list", recorded)
    promoted.send(1, correct=90, wrong=10)
    promoted.checks[0].run_requested()  # without feedback on the new version: there is no check
    for _ in range(3):
        promoted.send(2, correct=1)
        promoted.checks[0].run_requested()

    before = retraining_keys.outcomes_of_version("acme", promoted.id, 1)
    assert listed.count(before) == 1
    assert promoted.run.live_check is not None
    assert (promoted.run.live_check.baseline, promoted.run.live_check.items) == (0.9, 3)


def test_feedback_that_is_replaced_or_deleted_counts_as_it_is_now(promoted: Promoted):
    promoted.send(2, wrong=20)
    for number in range(1, 11):
        corrected = FeedbackItem(
            id=str(number), label="y", predicted="y", version=2, created_at=NOW
        )
        promoted.feedback.put("acme", promoted.id, corrected)
    promoted.feedback.delete("acme", promoted.id, "20")

    found = list(promoted.feedback.outcomes("acme", promoted.id))

    assert (len(found), sum(each.correct for each in found)) == (19, 10)


def test_two_outcomes_of_an_item_count_as_the_newest(promoted: Promoted):
    promoted.send(2, wrong=1)
    (first,) = promoted.feedback.outcomes("acme", promoted.id)
    ms = int((first.at + timedelta(minutes=1)).timestamp() * 1000)
    second = retraining_keys.outcome(
        "acme", promoted.id, version=2, ms=ms, digest=first.digest, correct=True
    )
    promoted.bench.store.put(second, b"")  # as two calls at once may leave it

    (found,) = promoted.feedback.outcomes("acme", promoted.id)

    assert found.correct


def test_a_record_that_cannot_be_decoded_keeps_no_other_classifier_from_its_check(
    promoted: Promoted,
):
    promoted.send(2, wrong=50)
    store, broken = promoted.bench.store, "cls_" + "0" * 26  # listed before
    store.put(retraining_keys.retraining("acme", broken), b"{")
    for _ in range(2):
        promoted.feedback.request_check("acme", broken)

    assert promoted.checks[0].run_requested() == 1
    (left,) = promoted.feedback.check_requests()
    assert left.classifier_id == broken


def test_an_alias_that_was_moved_on_stays(promoted: Promoted):
    put = {"champion": 1}

    promoted.send(2, wrong=50)
    promoted.records.change(
        "acme",
        promoted.id,
        lambda record: record.model_copy(update={"aliases": {**record.aliases, **put}}),
    )

    assert promoted.checks[0].run_requested() == 0
    assert promoted.aliases["champion"] == 1
    assert promoted.told() == []


def test_after_the_rollback_of_a_later_version_a_worse_one_goes_to_its_own_champion(
    promoted: Promoted,
):
    promoted.send(2, correct=10)
    promoted.checks[0].run_requested()
    promoted.promote("run_2", champion=2, challenger=3)
    promoted.send(3, wrong=50)
    assert promoted.checks[0].run_requested() == 1
    assert promoted.aliases == {"champion": 2, "previous": 3}

    promoted.send(2, wrong=50)

    assert promoted.checks[0].run_requested() == 1
    assert promoted.aliases == {"champion": 1, "previous": 2}
    last = promoted.retrainings.state("acme", promoted.id).last_rollback
    assert last is not None
    assert (last.run, last.from_version, last.to_version) == ("run_1", 2, 1)


def test_a_version_whose_champion_was_deleted_stays(promoted: Promoted):
    promoted.records.change(
        "acme",
        promoted.id,
        lambda record: record.model_copy(
            update={"versions": record.versions[1:], "aliases": {"champion": 2, "previous": 3}}
        ),
    )

    promoted.send(2, wrong=50)

    assert promoted.checks[0].run_requested() == 0
    assert promoted.aliases["champion"] == 2
    assert promoted.told() == []


def test_a_keeper_that_is_overtaken_by_another_leaves_the_rollback_in_the_record(
    promoted: Promoted, monkeypatch: pytest.MonkeyPatch
):
    slow, fast = promoted.checks
    outcomes, overtaken = FeedbackStore.outcomes, False

    def overtaking(self: FeedbackStore, *args: Any, **said: Any) -> Any:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            assert fast.run_requested() == 1
        return outcomes(self, *args, **said)

    monkeypatch.setattr(FeedbackStore, "outcomes", overtaking)
    promoted.send(2, wrong=50)

    assert slow.run_requested() == 0

    assert promoted.run.rolled_back_at == NOW
    assert promoted.aliases == {"champion": 1, "previous": 2}
    assert promoted.told() == ["retraining.rolled_back"]


@pytest.mark.parametrize("writes", range(8))
def test_killed_at_any_write_two_keepers_move_it_once_and_tell_once(
    promoted: Promoted, monkeypatch: pytest.MonkeyPatch, writes: int
):
    promoted.send(2, wrong=50)
    store, left = promoted.bench.store, writes
    put = store.put

    def failing(*args: Any, **said: Any) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("away")
        return put(*args, **said)

    with monkeypatch.context() as patched:
        patched.setattr(store, "put", failing)
        with suppress(StoreUnavailable):
            promoted.checks[0].run_requested()

    for keeper in promoted.checks:
        keeper.run_requested()

    assert promoted.aliases == {"champion": 1, "previous": 2}
    assert promoted.told() == ["retraining.rolled_back"]
    assert promoted.run.rolled_back_at is not None
    assert promoted.retrainings.state("acme", promoted.id).last_rollback is not None
