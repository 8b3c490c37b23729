"""Runs whose job ends between two attempts: one truth of the run, the alias and the rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared import object_keys
from shared.accounts import AccountStore
from shared.classifier_record import Version
from shared.errors import ObjectMissing, StoreUnavailable
from shared.ids import ClassifierRef
from shared.job_cancellation import cancel_job
from shared.jobs import Job, State
from shared.messages import CONTROL, decode
from shared.retraining import Gate, RetrainRequest, RetrainResult, run_id_of
from shared.retraining_store import RetrainingStore
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook, new_secret
from tests.fakes import FakeDoorbell
from tests.workers.conftest import NOW, QUEUE, Bench
from tests.workers.handlers.retrain.test_run import ME, Nights, rows
from tests.workers.keeper.test_retention import NO_LIMIT
from workers.handlers.retrain import conclude
from workers.handlers.retrain.snapshot import SnapshotStore
from workers.keeper.job_recovery import adopt
from workers.keeper.retention import expire_jobs
from workers.keeper.suspension import cancel_suspended

DEADLINE = NOW + timedelta(days=3650)
LATE = DEADLINE + timedelta(seconds=1)


class Killed(BaseException):
    """A worker that dies."""


@pytest.fixture
def nights(bench: Bench) -> Nights:
    """A second night of rows, after one that was promoted."""
    made = Nights(bench, gate=Gate(minimum_gain=-1.0, maximum_ece=None))
    made.bring("monday", rows(0, 60))
    assert made.run().status == "promoted"
    made.bring("tuesday", rows(60, 60))
    return made


def died(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, *, burnt: bool = False
) -> Job:
    """The job of a run whose only attempt so far came to a place in the code and died there."""
    bench = nights.bench
    request = RetrainRequest(model="tiny", classifier_id=nights.id, deadline=DEADLINE.timestamp())
    job = bench.submit(request)
    claim = bench.claim(QUEUE, lease_s=1)

    def dying(*_: Any, **__: Any) -> None:
        raise Killed if burnt else StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(place, name, dying)
        if burnt:
            with pytest.raises(Killed):
                bench.parts.run(claim)
        else:
            bench.parts.run(claim)
    assert bench.store.list(object_keys.open_marker(job.id))
    return job


def cancelled(bench: Bench, job: Job) -> None:
    now = bench.ledger.record(job.id)
    assert now is not None
    assert cancel_job(bench.ledger, FakeDoorbell(bench.rung.append), now, now=NOW) is not None


def suspended(bench: Bench, job: Job) -> None:
    accounts = AccountStore(store=bench.store, clock=NOW.timestamp)
    accounts.suspend(ME)
    cancel_suspended(
        accounts, bench.ledger, FakeDoorbell(bench.rung.append), now=NOW, key_cache_s=10
    )


def expired(bench: Bench, job: Job) -> None:
    adopt(bench.store, bench.ledger, FakeDoorbell(bench.rung.append), now=LATE)


def forgotten(bench: Bench, job: Job) -> None:
    """No worker has lived for as long as results are kept."""
    expire_jobs(
        bench.store, bench.ledger, before=LATE.timestamp(), now=LATE.timestamp(), limit=NO_LIMIT
    )


def ended(bench: Bench, job: Job) -> Job:
    bench.parts.run(bench.claim(CONTROL))
    return decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)


def challenger(nights: Nights) -> Version:
    return nights.record.find(ClassifierRef(nights.id, 3, None))


ENDS = pytest.mark.parametrize("end", [cancelled, suspended, expired, forgotten])


@ENDS
def test_a_run_whose_alias_has_moved_ends_as_promoted(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, end: Callable[[Bench, Job], None]
):
    webhooks = WebhookStore(store=nights.bench.store)
    webhooks.create(
        Webhook(
            id="wh_1",
            account=ME,
            url="https://hooks.example/night",
            secret=new_secret(),
            created_at=NOW,
            updated_at=NOW,
        )
    )
    job = died(nights, monkeypatch, SnapshotStore, "save")
    assert nights.record.aliases["champion"] == 3

    end(nights.bench, job)

    assert ended(nights.bench, job).state is State.SUCCEEDED
    check_promoted(nights, job)
    (delivery,) = webhooks.deliveries(ME, "wh_1", after="", limit=9)[0]
    assert (delivery.event, delivery.job_id) == ("retraining.promoted", job.id)


def test_a_run_whose_alias_has_moved_and_that_is_given_up_ends_as_promoted(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    bench = nights.bench
    job = died(nights, monkeypatch, SnapshotStore, "save", burnt=True)
    bench.ledger.let_pass(1.2)  # its lease ends
    bench.ledger.reclaim_expired(attempts=1)

    assert ended(bench, job).state is State.SUCCEEDED
    check_promoted(nights, job)


def test_a_run_that_fails_in_an_attempt_after_its_promotion_ends_as_promoted(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    bench = nights.bench
    job = died(nights, monkeypatch, SnapshotStore, "save", burnt=True)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    bench.ledger.let_pass(1.2)
    bench.ledger.reclaim_expired(attempts=9)
    with monkeypatch.context() as patched:
        patched.setattr(RetrainingStore, "begin", broken)
        bench.parts.run(bench.claim())  # its second and last attempt

    end = decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)
    assert (end.state, end.error) == (State.SUCCEEDED, None)
    check_promoted(nights, job)


def check_promoted(nights: Nights, job: Job) -> None:
    run = nights.store.run(ME, nights.id, run_id_of(job.id))
    assert (run.status, run.challenger) == ("promoted", 3)
    data = nights.bench.store.get(object_keys.result(ME, job.id)).data
    assert decode(RetrainResult, data).run == run
    assert challenger(nights).rejected_by is None
    after = nights.run()
    assert (after.status, after.counts.read, after.counts.rejected_before) == ("skipped", 0, 0)


@ENDS
@pytest.mark.parametrize("promote", ["if_better", "ask"])
def test_a_run_whose_snapshot_holds_ends_as_it_was_decided(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, end: Callable[[Bench, Job], None], promote: str
):
    """Its rows are consumed: as those of a rejected night, or of one that waits for a person."""
    gate = Gate(minimum_gain=1.0, maximum_ece=None)
    nights.set(promote=promote, gate=gate if promote == "if_better" else Gate(minimum_gain=-1.0))
    wanted = "rejected" if promote == "if_better" else "waiting"
    job = died(nights, monkeypatch, RetrainingStore, "end_run")
    assert nights.store.state(ME, nights.id).snapshot == run_id_of(job.id)

    end(nights.bench, job)

    assert ended(nights.bench, job).state is State.SUCCEEDED
    assert nights.store.run(ME, nights.id, run_id_of(job.id)).status == wanted
    made = challenger(nights)
    assert made.rejected_by == (run_id_of(job.id) if wanted == "rejected" else None)


@ENDS
def test_a_run_that_has_moved_nothing_ends_as_its_job_and_leaves_its_rows(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, end: Callable[[Bench, Job], None]
):
    job = died(nights, monkeypatch, conclude, "promote")

    end(nights.bench, job)

    stopped = end in {cancelled, suspended}
    assert ended(nights.bench, job).state is (State.CANCELLED if stopped else State.EXPIRED)
    run = nights.store.run(ME, nights.id, run_id_of(job.id))
    assert run.status == ("cancelled" if stopped else "failed")
    assert run.finished_at is not None
    assert stopped or "did not end within" in (run.error or "")
    assert challenger(nights).rejected_by == run.id
    with pytest.raises(ObjectMissing):
        nights.bench.store.get(object_keys.result(ME, job.id))
    after = nights.run()
    assert (after.status, after.counts.read) == ("promoted", 60)


def test_an_attempt_that_goes_on_without_its_lease_moves_nothing_any_more(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    bench, promote = nights.bench, conclude.promote
    job = died(nights, monkeypatch, conclude, "promote", burnt=True)

    def overtaken(*args: Any, **said: Any) -> Any:
        cancelled(bench, job)
        bench.ledger.let_pass(1.2)
        bench.ledger.reclaim_expired(attempts=9)
        assert ended(bench, job).state is State.CANCELLED
        return promote(*args, **said)

    bench.ledger.let_pass(1.2)
    bench.ledger.reclaim_expired(attempts=9)
    bench.leases.close()  # this process is paused: it renews no lease
    monkeypatch.setattr(conclude, "promote", overtaken)
    bench.parts.run(bench.claim(lease_s=1))

    assert nights.record.aliases["champion"] == 2
    assert nights.store.run(ME, nights.id, run_id_of(job.id)).status == "cancelled"
    assert nights.store.state(ME, nights.id).snapshot != run_id_of(job.id)


def test_a_run_of_a_classifier_that_was_deleted_leaves_nothing(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    bench = nights.bench
    job = died(nights, monkeypatch, SnapshotStore, "save")
    prefix = object_keys.classifier_prefix(ME, nights.id)
    for name in list(bench.store.list(prefix)):
        bench.store.delete(name)
    cancelled(bench, job)

    assert ended(bench, job).state is State.CANCELLED
    assert not any(bench.store.list(prefix))


def test_a_run_that_was_cancelled_before_it_began_says_so(nights: Nights):
    job = nights.bench.submit(RetrainRequest(model="tiny", classifier_id=nights.id))
    cancelled(nights.bench, job)

    assert ended(nights.bench, job).state is State.CANCELLED
    run = nights.store.run(ME, nights.id, run_id_of(job.id))
    assert (run.status, run.job_id) == ("cancelled", job.id)


def test_a_run_that_has_ended_without_a_result_gives_its_job_none_after_a_loss_of_redis(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    bench = nights.bench
    job = died(nights, monkeypatch, conclude, "promote")
    cancelled(bench, job)
    with monkeypatch.context() as patched:
        patched.setattr(type(bench.finaliser), "_written", killed)
        with pytest.raises(Killed):
            bench.parts.run(bench.claim(CONTROL))
    bench.ledger.lose_everything()
    adopt(bench.store, bench.ledger, FakeDoorbell(bench.rung.append), now=NOW)

    bench.parts.run(bench.claim())

    end = decode(Job, bench.store.get(object_keys.job(ME, job.id)).data)
    run = nights.store.run(ME, nights.id, run_id_of(job.id))
    assert end.error is not None
    assert (end.state, end.error.detail) == (State.FAILED, "the run was cancelled")
    assert (run.status, nights.record.aliases["champion"]) == ("cancelled", 2)


def killed(*_: Any, **__: Any) -> None:
    raise Killed
