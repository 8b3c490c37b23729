"""How fast a planned job is of late, as the ledger on a real server keeps it.

The server's clock cannot be set, so a test lets time pass by making the samples older.
"""

from __future__ import annotations

import time

import pytest
import redis

from shared.adapters.redis.ledger import RedisLedger
from shared.jobs import Job
from shared.messages import CONTROL
from tests.contract.test_ledger import a_job, take, take_one

pytestmark = pytest.mark.integration


@pytest.fixture
def job(redis_client: redis.Redis) -> Job:
    """A job that was planned, of 500 parts."""
    ledger, job = RedisLedger(redis_client), a_job()
    ledger.create_job(job, parts=0)
    plan = take_one(ledger, CONTROL)
    ledger.add_parts(plan, first=0, parts=500, last=True, low=0, cost=10)
    ledger.complete(plan, lease_s=30)
    return job


def work(client: redis.Redis, job: Job, *, parts: int, part_s: float) -> None:
    """Do parts of ten items, each as long as it says; two connections do them in turn."""
    ledgers = [RedisLedger(client), RedisLedger(client)]
    for number in range(parts):
        part = take_one(ledgers[number % 2])
        let_pass(client, job, part_s)
        ledgers[number % 2].complete(part, lease_s=30, completed=9, failed=1)


def let_pass(client: redis.Redis, job: Job, seconds: float) -> None:
    """Make every sample older."""
    name = f"ph3:samples:{job.id}"
    for index, text in enumerate(client.lrange(name, 0, -1)):
        began, ended, items = text.split()
        older = [str(int(at) - int(seconds * 1000)).encode() for at in (began, ended)]
        client.lset(name, index, b" ".join((*older, items)))


def rate(client: redis.Redis, job: Job) -> float | None:
    done = RedisLedger(client).progress(job.id)
    assert done is not None
    return done.rate_per_s


def test_follows_a_speed_that_changes_and_forgets_pauses(redis_client: redis.Redis, job: Job):
    assert rate(redis_client, job) is None

    work(redis_client, job, parts=20, part_s=2.0)
    assert rate(redis_client, job) == pytest.approx(5.0, rel=0.1)
    work(redis_client, job, parts=60, part_s=0.2)
    assert rate(redis_client, job) == pytest.approx(50.0, rel=0.15)
    let_pass(redis_client, job, 3600)
    assert rate(redis_client, job) == 0.0
    work(redis_client, job, parts=12, part_s=1.0)
    assert rate(redis_client, job) == pytest.approx(10.0, rel=0.1)

    done = RedisLedger(redis_client).progress(job.id)
    assert done is not None
    assert (done.completed, done.failed) == (92 * 9, 92)


def test_a_part_that_is_held_for_long_is_slow_work_and_no_pause(
    redis_client: redis.Redis, job: Job
):
    first, second = take(RedisLedger(redis_client), parts=2)
    let_pass(redis_client, job, 200)
    RedisLedger(redis_client).complete(first, lease_s=30, completed=10)
    third = take_one(RedisLedger(redis_client))
    let_pass(redis_client, job, 200)
    take_one(RedisLedger(redis_client))
    for part in (second, third):
        RedisLedger(redis_client).complete(part, lease_s=30, completed=10)

    assert rate(redis_client, job) == pytest.approx(30 / 400, rel=0.1)


def test_is_bounded_and_goes_with_the_job(redis_client: redis.Redis, job: Job):
    work(redis_client, job, parts=150, part_s=1.1)
    kept = redis_client.llen(f"ph3:samples:{job.id}")
    RedisLedger(redis_client).finish_job(job, keep_s=60)

    assert kept == 64
    assert redis_client.exists(f"ph3:samples:{job.id}") == 0
    assert RedisLedger(redis_client).progress(job.id) is None


def test_parts_of_one_second_are_one_sample(redis_client: redis.Redis, job: Job):
    began = time.monotonic()
    work(redis_client, job, parts=100, part_s=0.0)
    seconds = time.monotonic() - began

    assert redis_client.llen(f"ph3:samples:{job.id}") <= 2 + seconds
