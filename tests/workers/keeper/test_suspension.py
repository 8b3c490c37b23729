from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared import object_keys
from shared.accounts import AccountStore
from shared.job_intake import JobIntake
from shared.jobs import Job, State
from shared.types import ClassifyRequest, Item, Question
from tests.fakes import FakeDoorbell, FakeStore
from tests.prefixed_ledger import PrefixedLedger
from workers.keeper.suspension import cancel_suspended

NOW = 1_800_000_000.0


class World:
    """A store with accounts, and jobs in a ledger."""

    def __init__(self) -> None:
        self.store, self.ledger = FakeStore(), PrefixedLedger()
        self.doorbell = FakeDoorbell(lambda queue: None)
        self.accounts = AccountStore(store=self.store, clock=lambda: NOW)

    def submit(self, account: str) -> Job:
        intake = JobIntake(
            store=self.store,
            ledger=self.ledger,
            doorbell=self.doorbell,
            result_retention_s=3600,
            clock=lambda: NOW,
        )
        request = ClassifyRequest(
            model="tiny", items=(Item(text="a"),), questions=(Question(labels=("x", "y")),)
        )
        return intake.accept(
            request, account=account, queue="cpu.standard.tiny", request_id="r", dialect="native"
        )

    def cancel(self, *, after_s: float = 0.0) -> int:
        now = datetime.fromtimestamp(NOW + after_s, UTC)
        return cancel_suspended(self.accounts, self.ledger, self.doorbell, now=now, key_cache_s=10)

    def state(self, job: Job) -> State:
        record = self.ledger.record(job.id)
        assert record is not None
        return record.state


@pytest.fixture
def world() -> World:
    return World()


def test_the_jobs_of_a_suspended_account_are_cancelled_and_no_others(world: World) -> None:
    jobs, other = [world.submit("acme") for _ in range(3)], world.submit("other")
    assert world.cancel() == 0

    world.accounts.suspend("acme")

    assert world.cancel() == 3
    assert {world.state(job) for job in jobs} == {State.CANCELLING}
    assert world.state(other) is State.QUEUED
    assert world.cancel() == 0


def test_jobs_that_were_accepted_shortly_after_are_cancelled_too(world: World) -> None:
    world.accounts.suspend("acme")
    assert world.cancel(after_s=1) == 0

    late = world.submit("acme")  # an API process had cached the account

    assert world.cancel(after_s=9) == 1
    assert world.state(late) is State.CANCELLING


def test_the_entry_goes_once_no_call_is_accepted_and_no_job_is_left(world: World) -> None:
    world.accounts.suspend("acme")
    world.cancel(after_s=5)
    assert world.accounts.suspensions() == ["acme"]

    world.cancel(after_s=21)
    assert world.accounts.suspensions() == []
    assert world.accounts.get("acme").suspended_at is not None


def test_the_entry_stays_while_the_ledger_lacks_a_job(world: World) -> None:
    job = world.submit("acme")
    world.accounts.suspend("acme")
    world.ledger.lose_everything()  # Redis lost everything

    world.cancel(after_s=60)
    assert world.accounts.suspensions() == ["acme"]

    world.ledger.create_job(job, parts=1)
    assert world.cancel(after_s=61) == 1
    assert object_keys.open_marker(job.id) in set(world.store.list(object_keys.OPEN))


def test_an_account_that_was_resumed_is_left_alone(world: World) -> None:
    world.accounts.suspend("acme")
    world.store.put(object_keys.suspension("acme"), b"")
    world.accounts.resume("acme")
    job = world.submit("acme")
    world.store.put(object_keys.suspension("acme"), b"")

    assert world.cancel() == 0
    assert world.state(job) is State.QUEUED
    assert world.accounts.suspensions() == []
