"""The ledger's contract, on the Redis ledger and a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import get_args

import pytest
import redis

from shared import ids
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger, Script
from shared.errors import BrokerUnavailable, LeaseLost, TooBusy
from shared.jobs import Cancel, Finalise, Job, Progress, Start, State, Succeed, advance
from shared.messages import CONTROL
from shared.ports import FINALISE, PLAN, Claim, FinishedPart
from shared.types import JobKind, Usage
from tests.prefixed_ledger import PrefixedLedger
from tests.servers import HOST, free_port
from tests.waiting import wait_until

QUEUE = "cpu.standard"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def capped() -> PrefixedLedger:
    """A ledger of two parts at once for each account."""
    return PrefixedLedger(max_account_parts=2)


def a_job(account: str = "acme", queue: str = QUEUE) -> Job:
    return Job(
        id=ids.job_id(int(time.time() * 1000), ids.random_bits()),
        account=account,
        kind=JobKind.CLASSIFY,
        queue=queue,
        created_at=NOW,
        expires_at=NOW + timedelta(days=7),
        progress=Progress(total=1),
    )


def take(
    ledger: PrefixedLedger, queue: str = QUEUE, *, parts: int = 1, lease_s: float = 30
) -> list[Claim]:
    return list(ledger.claim(queue, None, calls=0, parts=parts, lease_s=lease_s).claims)


def take_one(ledger: PrefixedLedger, queue: str = QUEUE, *, lease_s: float = 30) -> Claim:
    (claim,) = take(ledger, queue, lease_s=lease_s)
    return claim


def counts(ledger: PrefixedLedger, job: Job) -> tuple[int, int]:
    """Items that came out and that did not."""
    done = ledger.progress(job.id)
    assert done is not None
    return done.completed, done.failed


def claim_calls(ledger: PrefixedLedger, calls: int) -> list[bytes]:
    return list(ledger.claim(QUEUE, "w", calls=calls, parts=0, lease_s=1).messages)


class TestInlineMessages:
    def test_come_out_in_the_order_they_were_offered(self, ledger: PrefixedLedger):
        for number in range(5):
            ledger.enqueue_call(QUEUE, b"%d" % number, bound=10)

        first = ledger.claim(QUEUE, "w", calls=3, parts=0, lease_s=1).messages
        rest = ledger.claim(QUEUE, "w", calls=3, parts=0, lease_s=1).messages

        assert first == (b"0", b"1", b"2")
        assert rest == (b"3", b"4")

    def test_are_taken_up_to_a_number_of_bytes(self, ledger: PrefixedLedger):
        large = b"x" * (5 * 2**20)
        for _ in range(3):
            ledger.enqueue_call(QUEUE, large, bound=10)

        counts = [len(claim_calls(ledger, 10)) for _ in range(3)]

        assert counts == [1, 1, 1]

    def test_beyond_the_bound_are_refused(self, ledger: PrefixedLedger):
        ledger.enqueue_call(QUEUE, b"1", bound=1)

        with pytest.raises(TooBusy, match="is full: it holds 1 calls"):
            ledger.enqueue_call(QUEUE, b"2", bound=1)

    def test_are_taken_from_the_account_that_had_the_fewest_bytes(self, ledger: PrefixedLedger):
        for number in range(4):
            ledger.enqueue_call(
                QUEUE, b"large %d" % number + b"." * 5000, bound=99, account="large"
            )
        for number in range(8):
            ledger.enqueue_call(
                QUEUE, b"small %d" % number + b"." * 2493, bound=99, account="small"
            )

        taken = [message[:7] for message in claim_calls(ledger, 12)]

        assert taken[:2] in ([b"large 0", b"small 0"], [b"small 0", b"large 0"])
        for end in range(3, 12, 3):
            assert sum(message[:5] == b"large" for message in taken[:end]) <= end // 3 + 1
        assert sorted(taken) == sorted(set(taken))

    def test_of_an_account_that_has_enough_are_passed_over(self, ledger: PrefixedLedger):
        ledger.enqueue_call(QUEUE, b"1", bound=9, account="full")
        ledger.enqueue_call(QUEUE, b"2", bound=9, account="other")

        first = ledger.claim(QUEUE, "w", calls=9, parts=0, lease_s=1, pass_over={"full"})
        then = ledger.claim(QUEUE, "w", calls=9, parts=0, lease_s=1)

        assert first.messages == (b"2",)
        assert then.messages == (b"1",)

    def test_of_an_account_that_has_enough_short_ones_may_be_taken(self, ledger: PrefixedLedger):
        job = a_job(account="full")
        ledger.create_job(job, parts=1)
        for message in (b"." * 5000, b"short", b"short too"):
            ledger.enqueue_call(QUEUE, message, bound=9, account="full")

        taken = ledger.claim(QUEUE, "w", calls=9, parts=9, lease_s=1, short_only={"full"})
        then = ledger.claim(QUEUE, "w", calls=9, parts=9, lease_s=1)

        assert (taken.messages, taken.claims) == ((b"short", b"short too"), ())
        assert (then.messages, len(then.claims)) == ((b"." * 5000,), 1)

    def test_a_short_one_does_not_wait_for_long_ones_of_its_account(self, ledger: PrefixedLedger):
        for number in range(3):
            ledger.enqueue_call(QUEUE, b"long %d" % number + b"." * 20_000, bound=9)
        ledger.enqueue_call(QUEUE, b"short", bound=9)

        assert claim_calls(ledger, 1) == [b"short"]

    def test_a_long_one_does_not_wait_for_ever_for_short_ones(self, ledger: PrefixedLedger):
        ledger.enqueue_call(QUEUE, b"long" + b"." * 20_000, bound=99)
        taken: list[bytes] = []
        while b"long" not in taken:
            for _ in range(2):  # twice as much as is taken
                ledger.enqueue_call(QUEUE, b"shrt" + b"." * 4000, bound=99)
            taken += [message[:4] for message in claim_calls(ledger, 1)]

        assert 4 <= len(taken) <= 12

    def test_large_ones_end_a_claim(self, ledger: PrefixedLedger):
        for _ in range(9):
            ledger.enqueue_call(QUEUE, b"." * 50_000, bound=9)

        assert len(claim_calls(ledger, 9)) == 3

    def test_of_one_account_do_not_take_the_room_of_all(self, ledger: PrefixedLedger):
        for _ in range(4):
            ledger.enqueue_call(QUEUE, b"x", bound=4, account="greedy")
        with pytest.raises(TooBusy):
            ledger.enqueue_call(QUEUE, b"x", bound=4, account="greedy")

        for _ in range(2):
            ledger.enqueue_call(QUEUE, b"x", bound=4, account="other")
        for account in ("other", "greedy"):
            with pytest.raises(TooBusy):
                ledger.enqueue_call(QUEUE, b"x", bound=4, account=account)

    def test_an_account_that_was_away_does_not_get_the_time_that_it_was_away(
        self, ledger: PrefixedLedger
    ):
        for _ in range(20):
            ledger.enqueue_call(QUEUE, b"steady", bound=99, account="steady")
        claim_calls(ledger, 10)
        for _ in range(20):
            ledger.enqueue_call(QUEUE, b"late", bound=99, account="late")

        taken = claim_calls(ledger, 10)

        assert 3 <= taken.count(b"steady") <= 7

    def test_ring_when_nobody_attends_but_not_twice_in_a_row(self, ledger: PrefixedLedger):
        began = time.monotonic()
        rings = [ledger.enqueue_call(QUEUE, b"1", bound=10) for _ in range(3)]
        seconds = time.monotonic() - began

        assert rings[0] is True
        assert sum(rings) <= 1 + seconds / 0.5

    def test_wake_a_lingering_worker_instead_of_ringing(self, ledger: PrefixedLedger):
        ledger.claim(QUEUE, "w", calls=1, parts=0, lease_s=1)

        assert ledger.enqueue_call(QUEUE, b"1", bound=10) is False
        assert ledger.wait_for_work(QUEUE, timeout_s=60) is True

    def test_ring_after_the_last_attendant_has_left(self, ledger: PrefixedLedger):
        ledger.claim(QUEUE, "w", calls=1, parts=0, lease_s=1)
        ledger.claim(QUEUE, "w", calls=1, parts=0, lease_s=1, leaving=True)

        assert ledger.enqueue_call(QUEUE, b"1", bound=10) is True

    def test_ring_for_help_when_the_backlog_outgrows_the_attendants(self, ledger: PrefixedLedger):
        ledger.claim(QUEUE, "w", calls=1, parts=0, lease_s=1)

        rings = [ledger.enqueue_call(QUEUE, b"x", bound=100) for _ in range(40)]

        assert not any(rings[:16])
        assert any(rings)

    def test_lingering_ends_after_its_time(self, ledger: PrefixedLedger):
        assert ledger.wait_for_work(QUEUE, timeout_s=0.05) is False


class TestDurableTasks:
    def test_a_part_is_claimed_once(self, ledger: PrefixedLedger):
        job = a_job()
        assert ledger.create_job(job, parts=1) == QUEUE

        claim = take_one(ledger)

        assert (claim.job_id, claim.account, claim.task) == (job.id, "acme", "part:0")
        assert claim.attempt == 1
        assert take(ledger) == []

    def test_enrolling_twice_does_nothing(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=1)

        assert ledger.create_job(job, parts=1) is None
        assert len(take(ledger, parts=10)) == 1

    def test_accounts_take_turns_however_much_one_has(self, ledger: PrefixedLedger):
        for _ in range(5):
            ledger.create_job(a_job("big"), parts=4)
        ledger.create_job(a_job("small"), parts=2)

        accounts = [claim.account for claim in take(ledger, parts=4)]

        assert sorted(accounts) == ["big", "big", "small", "small"]

    def test_jobs_of_an_account_take_turns(self, ledger: PrefixedLedger):
        first, second = a_job(), a_job()
        ledger.create_job(first, parts=3)
        ledger.create_job(second, parts=3)

        owners = [claim.job_id for claim in take(ledger, parts=4)]

        assert owners.count(first.id) == owners.count(second.id) == 2

    def test_every_part_of_many_jobs_is_claimed_exactly_once_by_racing_workers(
        self, ledger: PrefixedLedger
    ):
        jobs = [a_job(f"account{n % 3}") for n in range(30)]
        for job in jobs:
            ledger.create_job(job, parts=5)

        def work() -> list[tuple[str, str]]:
            mine = []
            while claims := take(ledger, parts=3):
                mine += [(claim.job_id, claim.task) for claim in claims]
            return mine

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(work) for _ in range(8)]
            claimed = [pair for future in futures for pair in future.result()]

        assert len(claimed) == len(set(claimed)) == 150

    def test_the_last_part_elects_its_caller_to_finalise(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=2)
        one, two = take(ledger, parts=2)

        first = ledger.complete(one, lease_s=30, outcome=b"1")
        second = ledger.complete(two, lease_s=30, outcome=b"2")

        assert first is None
        assert second is not None
        assert (second.job_id, second.task) == (job.id, FINALISE)
        assert ledger.outcomes(job.id) == {"part:0": b"1", "part:1": b"2"}

    def test_completing_twice_counts_once(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=2)
        one, _ = take(ledger, parts=2)
        ledger.complete(one, lease_s=30)

        with pytest.raises(LeaseLost):
            ledger.complete(one, lease_s=30)

    def test_a_released_part_is_ready_again_and_may_not_count_as_an_attempt(
        self, ledger: PrefixedLedger
    ):
        ledger.create_job(a_job(), parts=1)

        ledger.requeue(take_one(ledger), burn=False)
        again = take_one(ledger)
        ledger.requeue(again)
        third = take_one(ledger)

        assert (again.attempt, third.attempt) == (1, 2)

    def test_a_delayed_part_comes_back_with_the_reaper_when_it_is_due(self, ledger: PrefixedLedger):
        due, early = a_job(), a_job()
        for job, delay_s in ((due, 0.05), (early, 300)):
            ledger.create_job(job, parts=1)
            ledger.requeue(take_one(ledger), delay_s=delay_s)
        ledger.let_pass(0.1)

        ledger.reclaim_expired(attempts=3)

        assert [(claim.job_id, claim.attempt) for claim in take(ledger, parts=9)] == [(due.id, 2)]


class TestLeases:
    def test_an_expired_lease_goes_back_and_its_holder_has_lost_it(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        dead = take_one(ledger, lease_s=0.05)
        ledger.let_pass(0.1)

        assert ledger.reclaim_expired(attempts=3).expired == 1

        assert take_one(ledger).attempt == 2
        for late in (
            lambda: ledger.heartbeat(dead, lease_s=1),
            lambda: ledger.complete(dead, lease_s=1),
        ):
            with pytest.raises(LeaseLost):
                late()

    def test_a_part_that_comes_back_goes_before_those_that_never_began(
        self, ledger: PrefixedLedger
    ):
        killed, waiting = a_job(), a_job()
        ledger.create_job(killed, parts=1)
        take_one(ledger, lease_s=0.05)
        ledger.create_job(waiting, parts=1)
        ledger.let_pass(0.1)

        ledger.reclaim_expired(attempts=3)

        assert [claim.job_id for claim in take(ledger, parts=2)] == [killed.id, waiting.id]

    def test_a_beaten_lease_is_kept(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        claim = take_one(ledger, lease_s=0.05)
        assert ledger.heartbeat(claim, lease_s=300) is True
        ledger.let_pass(0.1)

        assert ledger.reclaim_expired(attempts=3).expired == 0

    def test_a_part_out_of_attempts_ends_its_job_with_the_reason(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=1)
        for _ in range(2):
            take_one(ledger, lease_s=0)
            ledger.let_pass(0.01)
            ledger.reclaim_expired(attempts=2)

        end = take_one(ledger, CONTROL)

        assert take(ledger) == []
        assert (end.job_id, end.task) == (job.id, FINALISE)
        assert b"2 attempts" in end.failure

    def test_a_finaliser_that_dies_is_followed_by_another(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        elected = ledger.complete(take_one(ledger), lease_s=0, outcome=b"1")
        assert elected is not None
        ledger.let_pass(0.01)

        ledger.reclaim_expired(attempts=3)

        assert take_one(ledger, CONTROL).task == FINALISE

    def test_the_reaper_names_queues_that_nobody_attends(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        ledger.let_pass(0.55)  # the bell of its creation counts as on its way

        assert ledger.reclaim_expired(attempts=3).ring == (QUEUE,)


class TestAbandoning:
    def test_a_queued_job_is_handed_to_its_end_at_once(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=3)

        assert ledger.abort_job(job.id) is True

        assert take(ledger) == []
        assert take_one(ledger, CONTROL).job_id == job.id
        assert take(ledger, CONTROL) == []

    def test_a_running_part_hears_of_it_and_its_release_ends_the_job(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=3)
        running = take_one(ledger)

        assert ledger.abort_job(job.id) is False
        assert ledger.heartbeat(running, lease_s=30) is False
        ledger.requeue(running)

        assert take(ledger) == []
        assert take_one(ledger, CONTROL).task == FINALISE

    def test_a_part_that_completes_after_all_is_elected(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=3)
        running = take_one(ledger)
        ledger.abort_job(job.id)

        elected = ledger.complete(running, lease_s=30)

        assert elected is not None
        assert take(ledger, CONTROL) == []

    def test_a_failure_abandons_the_job_and_is_remembered(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=3)
        one, two = take(ledger, parts=2)

        first = ledger.complete(one, lease_s=30, failure=b"broken")
        second = ledger.complete(two, lease_s=30)

        assert first is None
        assert second is not None
        assert second.failure == b"broken"
        assert take(ledger) == []

    def test_other_jobs_of_the_account_go_on(self, ledger: PrefixedLedger):
        kept, gone = a_job(), a_job()
        ledger.create_job(gone, parts=2)
        ledger.create_job(kept, parts=1)

        ledger.abort_job(gone.id)

        assert [claim.job_id for claim in take(ledger, parts=5)] == [kept.id]


def plan_of(ledger: PrefixedLedger, job: Job) -> Claim:
    """The leased plan of a new job."""
    assert ledger.create_job(job, parts=0) in (CONTROL, None)
    plan = take_one(ledger, CONTROL)
    assert (plan.job_id, plan.task) == (job.id, PLAN)
    return plan


class TestPlanning:
    """Jobs whose parts are made while they run."""

    def test_the_plan_waits_in_control_and_makes_parts(self, ledger: PrefixedLedger):
        job = a_job()
        plan = plan_of(ledger, job)
        assert take(ledger, QUEUE, parts=9) == []
        ledger.add_parts(plan, first=0, parts=3, last=False, low=1, cost=10)
        assert [c.task for c in take(ledger, parts=9)] == ["part:0", "part:1", "part:2"]

    def test_the_plan_comes_back_when_few_parts_are_left(self, ledger: PrefixedLedger):
        plan = plan_of(ledger, a_job())
        ledger.add_parts(plan, first=0, parts=3, last=False, low=1, cost=10)
        assert ledger.complete(plan, lease_s=30) is None
        parts = take(ledger, parts=3)
        assert ledger.complete(parts[0], lease_s=30) is None
        assert take(ledger, CONTROL) == [], "two parts are left"
        ledger.complete(parts[1], lease_s=30)
        again = take_one(ledger, CONTROL)
        assert (again.task, again.attempt) == (PLAN, 1)
        ledger.complete(parts[2], lease_s=30)
        assert take(ledger, CONTROL) == [], "it is being planned already"
        ledger.add_parts(again, first=3, parts=1, last=True, low=1, cost=10)
        assert ledger.complete(again, lease_s=30) is None
        end = ledger.complete(take_one(ledger), lease_s=30)
        assert isinstance(end, Claim)
        assert end.task == FINALISE

    def test_a_plan_that_ends_when_its_parts_already_have_comes_back_at_once(
        self, ledger: PrefixedLedger
    ):
        plan = plan_of(ledger, a_job())
        ledger.add_parts(plan, first=0, parts=1, last=False, low=0, cost=1)
        ledger.complete(take_one(ledger), lease_s=30)
        ledger.complete(plan, lease_s=30)
        assert take_one(ledger, CONTROL).task == PLAN

    def test_the_last_plan_may_be_what_ends_the_job(self, ledger: PrefixedLedger):
        plan = plan_of(ledger, a_job())
        ledger.add_parts(plan, first=0, parts=1, last=True, low=0, cost=1)
        assert ledger.complete(take_one(ledger), lease_s=30) is None, "the plan still runs"
        end = ledger.complete(plan, lease_s=30)
        assert isinstance(end, Claim)
        assert end.task == FINALISE

    def test_a_job_without_parts_ends_with_its_plan(self, ledger: PrefixedLedger):
        plan = plan_of(ledger, a_job())
        ledger.add_parts(plan, first=0, parts=0, last=True, low=0, cost=1)
        assert isinstance(ledger.complete(plan, lease_s=30), Claim)

    def test_planning_again_makes_no_part_twice(self, ledger: PrefixedLedger):
        job = a_job()
        plan = plan_of(ledger, job)
        ledger.add_parts(plan, first=0, parts=2, last=False, low=0, cost=1)
        ledger.add_parts(plan, first=0, parts=3, last=True, low=0, cost=1)
        assert [c.task for c in take(ledger, parts=9)] == ["part:0", "part:1", "part:2"]

    def test_parts_whose_results_are_there_are_not_made(self, ledger: PrefixedLedger):
        job = a_job()
        plan = plan_of(ledger, job)
        finished = {0: FinishedPart(outcome=b"zero", completed=5, failed=1)}
        ledger.add_parts(plan, first=0, parts=2, last=True, low=0, cost=6, finished=finished)
        ledger.add_parts(plan, first=0, parts=2, last=True, low=0, cost=6, finished=finished)
        (part,) = take(ledger, parts=9)
        assert part.task == "part:1"
        assert counts(ledger, job) == (5, 1)
        assert ledger.complete(plan, lease_s=30) is None
        assert isinstance(ledger.complete(part, lease_s=30, outcome=b"one", completed=6), Claim)
        assert ledger.outcomes(job.id) == {"part:0": b"zero", "part:1": b"one"}
        assert counts(ledger, job) == (11, 1)

    def test_a_plan_that_lost_its_lease_makes_nothing(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=0)
        plan = take_one(ledger, CONTROL, lease_s=0.01)
        ledger.let_pass(0.05)
        ledger.reclaim_expired(attempts=5)
        with pytest.raises(LeaseLost):
            ledger.add_parts(plan, first=0, parts=1, last=True, low=0, cost=1)
        again = take_one(ledger, CONTROL)
        assert (again.task, again.attempt) == (PLAN, 2)

    def test_a_plan_that_never_ends_ends_its_job(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=0)
        for _ in range(2):
            take_one(ledger, CONTROL, lease_s=0.01)
            ledger.let_pass(0.05)
            ledger.reclaim_expired(attempts=2)
        end = take_one(ledger, CONTROL)
        assert end.task == FINALISE
        assert end.failure

    def test_its_parts_are_tried_for_ever(self, ledger: PrefixedLedger):
        """They end by giving up rows; the job does not fail of one of them."""
        plan = plan_of(ledger, a_job())
        ledger.add_parts(plan, first=0, parts=1, last=True, low=0, cost=1)
        ledger.complete(plan, lease_s=30)
        for attempt in range(1, 5):
            assert take_one(ledger, lease_s=0.01).attempt == attempt
            ledger.let_pass(0.05)
            ledger.reclaim_expired(attempts=2)

    def test_cancelling_takes_the_plan_away(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=0)
        ledger.abort_job(job.id)
        assert [c.task for c in take(ledger, CONTROL, parts=9)] == [FINALISE]

    def test_cancelling_while_it_plans(self, ledger: PrefixedLedger):
        job = a_job()
        plan = plan_of(ledger, job)
        ledger.add_parts(plan, first=0, parts=2, last=False, low=5, cost=1)
        ledger.abort_job(job.id)
        assert not ledger.heartbeat(plan, lease_s=30)
        ledger.add_parts(plan, first=2, parts=2, last=False, low=5, cost=1)
        assert take(ledger, parts=9) == []
        end = ledger.complete(plan, lease_s=30)
        assert isinstance(end, Claim)
        assert end.task == FINALISE


class TestNotes:
    def test_the_next_attempt_finds_what_this_one_left(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        claim = take_one(ledger, lease_s=0.01)
        assert claim.note == b""
        ledger.save_checkpoint(claim, b"item 3")
        ledger.let_pass(0.05)
        ledger.reclaim_expired(attempts=5)
        again = take_one(ledger)
        assert again.note == b"item 3"
        with pytest.raises(LeaseLost):
            ledger.save_checkpoint(claim, b"too late")


class TestShares:
    """Who is served next, where several accounts have work."""

    def planned(self, ledger: PrefixedLedger, account: str, *, parts: int, cost: int) -> Job:
        job = a_job(account)
        plan = plan_of(ledger, job)
        ledger.add_parts(plan, first=0, parts=parts, last=True, low=0, cost=cost)
        ledger.complete(plan, lease_s=30)
        return job

    def test_accounts_get_as_many_rows_not_as_many_parts(self, ledger: PrefixedLedger):
        self.planned(ledger, "big", parts=20, cost=100)
        self.planned(ledger, "small", parts=20, cost=25)
        taken = [c.account for c in take(ledger, parts=20)]
        assert 3 <= taken.count("big") <= 5

    def test_who_comes_late_is_not_owed_the_time_it_was_away(self, ledger: PrefixedLedger):
        self.planned(ledger, "early", parts=40, cost=10)
        for claim in take(ledger, parts=20):
            ledger.complete(claim, lease_s=30)
        self.planned(ledger, "late", parts=20, cost=10)
        taken = [c.account for c in take(ledger, parts=10)]
        assert 4 <= taken.count("late") <= 6

    def test_who_leaves_and_returns_gains_nothing(self, ledger: PrefixedLedger):
        self.planned(ledger, "steady", parts=40, cost=10)
        served = []
        for _ in range(10):
            self.planned(ledger, "flitting", parts=1, cost=10)
            served += [c.account for c in take(ledger, parts=2)]
        assert served.count("flitting") == 10

    def test_an_account_has_no_more_under_way_than_it_may(self, capped: PrefixedLedger):
        self.planned(capped, "big", parts=9, cost=1)
        self.planned(capped, "small", parts=1, cost=1)
        taken = take(capped, parts=9)
        assert sorted(c.account for c in taken) == ["big", "big", "small"]
        assert take(capped, parts=9) == []
        capped.complete(next(c for c in taken if c.account == "big"), lease_s=30)
        assert [c.account for c in take(capped, parts=9)] == ["big"]

    def test_what_expires_no_longer_counts_as_under_way(self, capped: PrefixedLedger):
        self.planned(capped, "big", parts=9, cost=1)
        assert len(take(capped, parts=9, lease_s=0.01)) == 2
        capped.let_pass(0.05)
        capped.reclaim_expired(attempts=5)
        assert len(take(capped, parts=9)) == 2


class TestRecords:
    def test_are_replaced_only_by_who_saw_the_latest(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=1)
        running = advance(job, Start(), NOW)

        assert ledger.replace(job, running) is True
        assert ledger.replace(job, advance(job, Cancel(), NOW)) is False
        assert ledger.record(job.id) == running

    def test_of_unknown_jobs_are_none(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=1)

        assert ledger.records(["job_unknown", job.id]) == [None, job]

    def test_a_retired_job_leaves_only_its_record_and_wakes_every_waiter(
        self, ledger: PrefixedLedger
    ):
        job = a_job()
        ledger.create_job(job, parts=1)
        ended = advance(
            advance(job, Finalise(), NOW),
            Succeed(progress=Progress(total=1, completed=1), usage=Usage()),
            NOW,
        )

        with ThreadPoolExecutor(3) as pool:
            waits = [pool.submit(ledger.await_terminal, job.id, timeout_s=60) for _ in range(3)]
            threading.Event().wait(0.1)
            ledger.finish_job(ended, keep_s=60)
            assert [wait.result() for wait in waits] == [True] * 3

        record = ledger.record(job.id)
        assert record is not None
        assert record.state is State.SUCCEEDED
        assert take(ledger) == take(ledger, CONTROL) == []

    def test_waiting_for_a_job_that_goes_on_ends_after_its_time(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=1)

        assert ledger.await_terminal(job.id, timeout_s=0.05) is False


class TestMembers:
    def test_are_listed_while_they_report(self, ledger: PrefixedLedger):
        ledger.report("worker", "a", b"{}", ttl_s=300)
        ledger.report("worker", "b", b"{}", ttl_s=0.05)
        ledger.let_pass(0.1)

        assert ledger.reports("worker") == {"a": b"{}"}

    def test_are_told_the_time(self, ledger: PrefixedLedger):
        assert abs(ledger.now() - time.time()) < 60

    def test_can_leave(self, ledger: PrefixedLedger):
        ledger.report("worker", "a", b"{}", ttl_s=300)
        ledger.report("worker", "a", b"", ttl_s=0)

        assert ledger.reports("worker") == {}

    def test_waiting_counts_messages_and_jobs(self, ledger: PrefixedLedger):
        ledger.enqueue_call(QUEUE, b"1", bound=10)
        ledger.create_job(a_job(), parts=5)

        assert ledger.waiting(QUEUE) == 2


def test_a_script_is_named_by_its_file():
    folder = resources.files("shared.adapters.redis").joinpath("lua")
    files = {file.name for file in folder.iterdir() if file.name.endswith(".lua")}

    assert {f"{name}.lua" for name in get_args(Script)} == files - {"prelude.lua"}


def test_nothing_of_retired_jobs_stays_in_memory(redis_client: redis.Redis):
    ledger = RedisLedger(redis_client)
    jobs = [a_job() for _ in range(20)]
    for job in jobs:
        ledger.create_job(job, parts=1)
    for claim in take(ledger, parts=20):
        ledger.complete(claim, lease_s=30, outcome=b"1")
    for job in jobs:
        ledger.finish_job(job, keep_s=0.05)
    ledger.reclaim_expired(attempts=5)

    def left() -> set[bytes]:
        return {key for key in redis_client.scan_iter() if b":ended" not in key}

    wait_until(lambda: not any(b"job" in key for key in left()))
    assert {k.rpartition(b":")[0] for k in left()} <= {
        b"ph3:consumers",
        b"ph3:bell_debounce",
        b"ph3:wake",
    }


def test_the_epoch_changes_when_everything_was_lost(redis_client: redis.Redis):
    ledger = RedisLedger(redis_client)
    assert ledger.epoch("first") == "first"
    assert ledger.epoch("second") == "first"

    redis_client.flushdb()

    assert ledger.epoch("third") == "third"


def test_bells_that_nobody_hears_do_not_pile_up(redis_client: redis.Redis):
    ledger = RedisLedger(redis_client)
    ledger.create_job(a_job(), parts=1)
    for _ in range(8):
        redis_client.lpush(QUEUE, "a bell")  # the broker's list has the queue's own name
    time.sleep(0.55)

    assert ledger.reclaim_expired(attempts=3).ring == ()


def test_work_that_its_attendant_does_not_take_calls_others(redis_client: redis.Redis):
    ledger = RedisLedger(redis_client)
    for _ in range(5):
        ledger.create_job(a_job(), parts=1)
    ledger.claim(QUEUE, "busy", calls=0, parts=1, lease_s=30)

    assert ledger.reclaim_expired(attempts=3).ring == (QUEUE,)


@pytest.fixture
def dead_client() -> Iterator[redis.Redis]:
    client = connect(f"redis://{HOST}:{free_port()}/0", timeout_s=0.5)
    yield client
    client.close()


def test_a_server_that_is_away_is_an_error_of_ours(dead_client: redis.Redis):
    ledger = RedisLedger(dead_client)

    with pytest.raises(BrokerUnavailable):
        ledger.record("job_x")
    with pytest.raises(BrokerUnavailable):
        ledger.enqueue_call(QUEUE, b"1", bound=1)


class TestMoving:
    OTHER = "gpu.standard"

    def test_queues_are_known_while_something_waits(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        ledger.enqueue_call(self.OTHER, b"1", bound=9)
        assert ledger.queues() == (QUEUE, self.OTHER)

        take(ledger)
        ledger.reclaim_expired(attempts=5)

        assert ledger.queues() == (self.OTHER,)

    def test_calls_keep_their_order(self, ledger: PrefixedLedger):
        for number in range(3):
            ledger.enqueue_call(QUEUE, b"%d" % number, bound=9)

        ledger.move_queue(QUEUE, self.OTHER)

        taken = ledger.claim(self.OTHER, "w", calls=9, parts=0, lease_s=1)
        assert taken.messages == (b"0", b"1", b"2")
        assert ledger.waiting(QUEUE) == 0

    def test_calls_of_each_account_take_turns_in_the_other_queue(self, ledger: PrefixedLedger):
        for account in ("acme", "zeta"):
            ledger.enqueue_call(QUEUE, account.encode(), bound=9, account=account)
            ledger.enqueue_call(self.OTHER, account.encode(), bound=9, account=account)

        ledger.move_queue(QUEUE, self.OTHER)

        assert ledger.waiting(self.OTHER) == 4
        taken = ledger.claim(self.OTHER, "w", calls=9, parts=0, lease_s=1).messages
        assert sorted(taken) == [b"acme", b"acme", b"zeta", b"zeta"]
        assert set(taken[:2]) == {b"acme", b"zeta"}
        assert not ledger.claim(QUEUE, "w", calls=9, parts=0, lease_s=1)

    def test_every_part_is_claimed_once_and_only_in_the_other_queue(self, ledger: PrefixedLedger):
        jobs = [a_job(account) for account in ("acme", "zeta", "acme")]
        for job in jobs:
            ledger.create_job(job, parts=3)

        ledger.move_queue(QUEUE, self.OTHER)

        claims = take(ledger, self.OTHER, parts=99)
        assert take(ledger, parts=99) == []
        assert sorted((c.job_id, c.task) for c in claims) == sorted(
            (job.id, f"part:{n}") for job in jobs for n in range(3)
        )

    def test_what_was_leased_comes_back_in_the_other_queue(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=3)
        released, late, lost = (*take(ledger, parts=2, lease_s=30), take_one(ledger, lease_s=0.01))
        ledger.create_job(a_job(), parts=1)  # so that something waits
        ledger.requeue(released)

        ledger.move_queue(QUEUE, self.OTHER)
        ledger.requeue(late, delay_s=0.01)
        ledger.let_pass(0.05)
        ledger.reclaim_expired(attempts=5)

        assert take(ledger, parts=9) == []
        again = {c.task for c in take(ledger, self.OTHER, parts=9) if c.job_id == job.id}
        assert again == {released.task, late.task, lost.task}

    def test_what_an_account_has_under_way_counts_in_the_other_queue(self, capped: PrefixedLedger):
        job = a_job()
        capped.create_job(job, parts=4)
        held = take_one(capped)

        capped.move_queue(QUEUE, self.OTHER)

        assert len(take(capped, self.OTHER, parts=9)) == 1
        capped.complete(held, lease_s=9)
        assert len(take(capped, self.OTHER, parts=9)) == 1
        capped.create_job(a_job(), parts=4)
        assert len(take(capped, parts=9)) == 2  # nothing is under way in the first

    def test_parts_that_are_made_later_are_made_in_the_other_queue(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=0)
        plan = take_one(ledger, CONTROL)
        ledger.add_parts(plan, first=0, parts=1, last=False, low=0, cost=1)

        ledger.move_queue(QUEUE, self.OTHER)
        ledger.add_parts(plan, first=1, parts=1, last=True, low=0, cost=1)
        ledger.complete(plan, lease_s=9)

        assert [c.task for c in take(ledger, self.OTHER, parts=9)] == ["part:0", "part:1"]
        assert take(ledger, parts=9) == []

    def test_a_moved_job_ends(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=2)
        first = take_one(ledger)
        ledger.move_queue(QUEUE, self.OTHER)
        second = take_one(ledger, self.OTHER)

        assert ledger.complete(first, lease_s=9) is None
        last = ledger.complete(second, lease_s=9)

        assert isinstance(last, Claim)
        assert last.task == FINALISE

    def test_an_abandoned_job_leaves_the_other_queue(self, ledger: PrefixedLedger):
        job = a_job()
        ledger.create_job(job, parts=2)
        ledger.move_queue(QUEUE, self.OTHER)

        ledger.abort_job(job.id)

        assert take(ledger, self.OTHER, parts=9) == []
        assert take_one(ledger, CONTROL).task == FINALISE

    def test_it_takes_a_bounded_number_of_jobs(self, ledger: PrefixedLedger):
        for _ in range(5):
            ledger.create_job(a_job(), parts=1)

        ledger.move_queue(QUEUE, self.OTHER, limit=2)

        assert (ledger.waiting(QUEUE), ledger.waiting(self.OTHER)) == (3, 2)

    def test_the_next_reap_rings(self, ledger: PrefixedLedger):
        ledger.create_job(a_job(), parts=1)
        ledger.move_queue(QUEUE, self.OTHER)

        assert self.OTHER in ledger.reclaim_expired(attempts=5).ring
