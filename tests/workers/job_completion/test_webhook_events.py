"""The end of a job is told to whom it concerns, once, wherever a process is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared import ids, object_keys
from shared.errors import MessageTooNew, StoreUnavailable
from shared.jobs import Job
from shared.messages import CONTROL, decode, encode
from shared.types import JobKind
from shared.webhook_store import WebhookStore
from shared.webhooks import Delivery, Webhook, new_secret
from tests.fakes import FakeDoorbell, FakeStore
from tests.workers.conftest import NOW, QUEUE, Bench
from tests.workers.keeper.test_retention import NO_LIMIT
from workers.job_completion.webhook_events import announce
from workers.keeper.job_recovery import adopt
from workers.keeper.retention import expire_deliveries, expire_jobs


def put_webhook(store: FakeStore, *, account: str = "acme", **changes: object) -> Webhook:
    webhook = Webhook(
        id=ids.webhook_id(),
        account=account,
        url="https://example.org/hook",
        secret=new_secret(),
        created_at=NOW,
        updated_at=NOW,
    ).model_copy(update=changes)
    WebhookStore(store=store).create(webhook)
    return webhook


def told(store: FakeStore) -> list[Delivery]:
    names = [name for name in store.objects if name.startswith(object_keys.DELIVERIES)]
    return [decode(Delivery, store.objects[name].data) for name in names]


def due(store: FakeStore) -> list[str]:
    return [name for name in store.objects if name.startswith(object_keys.DUE)]


def run(bench: Bench, job: Job) -> None:
    bench.parts.run(bench.claim())
    assert object_keys.open_marker(job.id) not in bench.store.objects


def test_who_wants_to_know_is_told_of_a_job(bench: Bench):
    everything = put_webhook(bench.store)
    wanted = put_webhook(bench.store, events=("job.succeeded",))
    put_webhook(bench.store, events=("job.failed", "batch.completed"))
    put_webhook(bench.store, enabled=False)
    put_webhook(bench.store, account="another")

    job = bench.submit()
    run(bench, job)

    deliveries = told(bench.store)
    assert {each.webhook_id for each in deliveries} == {everything.id, wanted.id}
    assert {(each.event, each.job_id, each.state) for each in deliveries} == {
        ("job.succeeded", job.id, "pending")
    }
    assert len(due(bench.store)) == 2


def test_an_account_without_webhooks_makes_nothing(bench: Bench):
    put_webhook(bench.store, account="another")

    run(bench, bench.submit())

    assert not told(bench.store)
    assert not due(bench.store)


class Died(BaseException):
    """A process was killed."""


class DyingStore(FakeStore):
    """Dies before a write of its choice; every other one it does."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def put(self, name, data, **options):
        self._step()
        return super().put(name, data, **options)

    def delete(self, name):
        self._step()
        super().delete(name)

    def _step(self) -> None:
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise Died
            self.left -= 1


@pytest.fixture
def mortal() -> Iterator[Bench]:
    made = Bench(store=DyingStore())
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("writes", range(9))
def test_a_kill_between_any_two_writes_loses_no_message_and_makes_none_twice(
    mortal: Bench, writes: int
):
    hooks = {put_webhook(mortal.store).id for _ in range(2)}
    job = mortal.submit()
    store = mortal.store
    store.left = writes
    died = False
    try:
        mortal.parts.run(mortal.claim(lease_s=0.01))
    except Died:
        died = True
    store.left = None

    until = time.monotonic() + 20
    while object_keys.open_marker(job.id) in store.objects and time.monotonic() < until:
        mortal.ledger.reclaim_expired(attempts=9)  # leases end, and the keeper looks at markers
        for queue in (QUEUE, CONTROL):
            for claim in mortal.ledger.claim(queue, None, calls=0, parts=1, lease_s=9).claims:
                mortal.parts.run(claim)
        adopt(store, mortal.ledger, FakeDoorbell(lambda _: None), now=NOW)
        time.sleep(0.1)

    assert died is (writes < 8), "result, job.json, charge, two deliveries with their names, marker"
    assert object_keys.open_marker(job.id) not in store.objects
    assert sorted(each.webhook_id for each in told(store)) == sorted(hooks)
    assert len(due(store)) == 2


def test_a_message_that_was_delivered_before_the_kill_is_not_due_again(bench: Bench):
    put_webhook(bench.store)
    job = bench.submit()
    run(bench, job)
    (delivery,) = told(bench.store)
    name = object_keys.delivery("acme", delivery.webhook_id, delivery.id)
    bench.store.put(name, encode(delivery.ended("delivered")))
    bench.store.delete(due(bench.store)[0])

    announce(bench.store, "acme", job.id)

    assert not due(bench.store)
    assert [each.state for each in told(bench.store)] == ["delivered"]


def test_a_batch_is_told_as_one(bench: Bench):
    put_webhook(bench.store)
    job = bench.submit()
    run(bench, job)
    done = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    batch = done.model_copy(update={"id": ids.job_id(10**12, 7), "kind": JobKind.BATCH})
    bench.store.put(object_keys.job("acme", batch.id), encode(batch))

    announce(bench.store, "acme", batch.id)

    assert sorted(each.event for each in told(bench.store)) == ["batch.completed", "job.succeeded"]


def test_a_job_that_was_given_all_its_time_is_told_as_expired(bench: Bench):
    put_webhook(bench.store)
    bench.submit()

    expire_jobs(bench.store, bench.ledger, before=2e9, now=2e9, limit=NO_LIMIT)

    assert [each.event for each in told(bench.store)] == ["job.expired"]


def test_a_job_of_which_nothing_can_be_read_is_told_as_failed(bench: Bench):
    put_webhook(bench.store)
    job_id = ids.job_id(3_600_000, 1)
    bench.store.put(object_keys.open_marker(job_id), b"acme")
    bench.store.put(object_keys.request("acme", job_id), b"garbage")

    adopt(bench.store, bench.ledger, FakeDoorbell(lambda _: None), now=NOW)

    assert [each.event for each in told(bench.store)] == ["job.failed"]


def test_a_webhook_that_cannot_be_read_keeps_no_job_from_ending(bench: Bench):
    hook = put_webhook(bench.store)
    bench.store.put(object_keys.webhook("acme", "wh_broken"), b"garbage")

    run(bench, bench.submit())

    assert [each.webhook_id for each in told(bench.store)] == [hook.id]


def test_a_webhook_of_a_newer_schema_waits_for_a_newer_worker(bench: Bench):
    put_webhook(bench.store, schema_number=99)
    job = bench.submit()
    bench.parts.run(bench.claim())

    assert object_keys.open_marker(job.id) in bench.store.objects
    with pytest.raises(MessageTooNew):
        announce(bench.store, "acme", job.id)


def test_while_the_store_is_away_nothing_is_lost(bench: Bench):
    put_webhook(bench.store)
    job = bench.submit()
    bench.store.away = True
    with pytest.raises(StoreUnavailable):
        announce(bench.store, "acme", job.id)


def test_deliveries_expire_with_the_age_of_jobs(bench: Bench):
    records = WebhookStore(store=bench.store)
    hook = put_webhook(bench.store)
    for hours in (0, 1, 2):
        at = NOW + timedelta(hours=hours)
        records.add(
            Delivery(
                id=ids.delivery_id(int(at.timestamp() * 1000), 1),
                account="acme",
                webhook_id=hook.id,
                event="webhook.test",
                payload="{}",
                created_at=at,
                next_attempt_at=at,
            )
        )

    assert (
        expire_deliveries(
            bench.store, before=(NOW + timedelta(hours=1.5)).timestamp(), limit=NO_LIMIT
        )
        == 2
    )

    assert [each.created_at for each in told(bench.store)] == [NOW + timedelta(hours=2)]
