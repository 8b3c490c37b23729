"""The limiter on a real server, with a clock that the test owns."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import tiers
from shared.adapters.redis.client import connect
from shared.adapters.redis.rate_limiter import RedisRateLimiter
from shared.errors import BrokerUnavailable
from shared.rate_limits import WINDOW_S, RateDemand, RateState, Settlement
from shared.tiers import Rate, RateClass
from tests.clock import Clock
from tests.servers import HOST, free_port

NOW = 1_800_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def limiter(redis_client: redis.Redis, clock: Clock) -> RedisRateLimiter:
    return RedisRateLimiter(redis_client, clock=clock)


def demand(
    rate: Rate,
    *,
    tokens: int = 0,
    subject: str = "acme",
    rate_class: RateClass = "zero_shot",
    concurrent_calls: int | None = None,
    lease_s: float = 0.0,
    requests: int = 1,
) -> RateDemand:
    return RateDemand(
        subject=subject,
        rate_class=rate_class,
        rate=rate,
        tokens=tokens,
        concurrent_calls=concurrent_calls,
        lease_s=lease_s,
        requests=requests,
    )


def settled(
    state: RateState, *, tokens: int = 0, rate_class: RateClass = "zero_shot"
) -> Settlement:
    return Settlement(
        subject="acme", rate_class=rate_class, step=state.step, tokens=tokens, lease=state.lease
    )


TABLE = [
    ("free", "zero_shot", 200, 500_000),
    ("free", "few_shot", 20, 200_000),
    ("premium", "zero_shot", 1_000, 3_000_000),
    ("premium", "few_shot", 60, 1_000_000),
]
"""The vendor's table: requests and tokens a minute."""


@pytest.mark.parametrize(("tier", "rate_class", "requests", "tokens"), TABLE)
def test_the_vendors_requests_a_minute(
    limiter: RedisRateLimiter,
    clock: Clock,
    tier: str,
    rate_class: RateClass,
    requests: int,
    tokens: int,
) -> None:
    call = demand(tiers.load().find(tier).rate(rate_class), rate_class=rate_class)

    for _ in range(requests):
        assert limiter.admit(call).exceeded is None
    refused = limiter.admit(call)
    assert (refused.exceeded, refused.requests) == ("requests", requests)

    clock.now += refused.requests_wait_s - 0.001
    assert limiter.admit(call).exceeded == "requests"
    clock.now += 0.001
    assert limiter.admit(call).exceeded is None


@pytest.mark.parametrize(("tier", "rate_class", "requests", "tokens"), TABLE)
def test_the_vendors_tokens_a_minute(
    limiter: RedisRateLimiter,
    clock: Clock,
    tier: str,
    rate_class: RateClass,
    requests: int,
    tokens: int,
) -> None:
    rate = tiers.load().find(tier).rate(rate_class)
    tenth = demand(rate, tokens=tokens // 10, rate_class=rate_class)

    for _ in range(10):
        assert limiter.admit(tenth).exceeded is None
        clock.now += 1
    refused = limiter.admit(tenth)
    assert (refused.exceeded, refused.tokens) == ("tokens", tokens)

    clock.now += refused.tokens_wait_s - 0.001
    assert limiter.admit(tenth).exceeded == "tokens"
    clock.now += 0.001
    assert limiter.admit(tenth).exceeded is None


def test_both_waits_are_told_so_that_a_retry_works(limiter: RedisRateLimiter, clock: Clock) -> None:
    rate = Rate(requests=2, tokens=100)
    limiter.admit(demand(rate, tokens=10))
    clock.now += 10
    limiter.admit(demand(rate, tokens=80))

    refused = limiter.admit(demand(rate, tokens=50))

    assert refused.exceeded == "requests"
    assert refused.requests_wait_s < refused.tokens_wait_s
    clock.now += refused.tokens_wait_s
    assert limiter.admit(demand(rate, tokens=50)).exceeded is None


def test_a_steady_client_gets_its_rate_over_ten_minutes(
    limiter: RedisRateLimiter, clock: Clock
) -> None:
    call, admitted = demand(Rate(requests=120)), 0
    while clock.now < NOW + 600:
        admitted += limiter.admit(call).exceeded is None
        clock.now += 0.2

    assert 0.99 * 1200 <= admitted <= 1.01 * 1200


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 45), st.integers(1, 60)), min_size=1, max_size=60))
def test_no_window_ever_holds_more_than_the_limit(
    redis_client: redis.Redis, calls: list[tuple[float, int]]
) -> None:
    redis_client.flushdb()
    clock = Clock(NOW)
    limiter = RedisRateLimiter(redis_client, clock=clock)
    rate = Rate(requests=7, tokens=150)
    admitted: deque[tuple[float, int]] = deque()
    for pause_s, tokens in calls:
        clock.now += pause_s
        at = round(clock.now, 3)  # as exact as the limiter reads it
        while admitted and admitted[0][0] < at - WINDOW_S:
            admitted.popleft()
        state = limiter.admit(demand(rate, tokens=tokens))
        if state.exceeded is None:
            admitted.append((at, tokens))
        else:
            # Nothing is refused that an exact window with one step of slack would admit.
            assert (
                len(admitted) + 1 > 7
                or sum(t for _, t in admitted) + tokens > 150
                or (state.requests_wait_s <= 0.25 and state.tokens_wait_s <= 0.25)
            )
        assert len(admitted) <= 7
        assert sum(t for _, t in admitted) <= 150


def test_two_limiters_agree(redis_client: redis.Redis, redis_url: str) -> None:
    other = connect(redis_url, timeout_s=5)
    limiters = [RedisRateLimiter(redis_client), RedisRateLimiter(other)]
    call = demand(Rate(requests=10))

    states = [limiters[n % 2].admit(call) for n in range(12)]

    assert [state.exceeded for state in states] == [None] * 10 + ["requests"] * 2
    assert [state.requests for state in states] == [*range(1, 11), 10, 10]
    other.close()


def test_two_processes_let_through_the_limit_over_ten_minutes_and_never_more_in_any_minute(
    redis_client: redis.Redis, redis_url: str, clock: Clock
) -> None:
    other = connect(redis_url, timeout_s=5)
    processes = [RedisRateLimiter(each, clock=clock) for each in (redis_client, other)]
    call, admitted = demand(Rate(requests=200)), deque[float]()
    total = turn = 0
    while clock.now < NOW + 600:
        turn += 1
        if processes[turn % 2].admit(call).exceeded is None:
            admitted.append(clock.now)
            total += 1
        while admitted[0] <= clock.now - WINDOW_S:
            admitted.popleft()
        assert len(admitted) <= 200
        clock.now += 0.1 if turn % 3 else 0.07

    assert 0.99 * 2000 <= total <= 1.01 * 2000
    other.close()


def test_the_end_of_a_job_corrects_its_tokens_once(limiter: RedisRateLimiter) -> None:
    rate = Rate(tokens=100)
    job = replace(demand(rate, tokens=60), job_id="job_a")
    limiter.admit(job)
    refused = limiter.admit(replace(job, job_id="job_b"))

    for _ in range(2):
        limiter.settle_job("job_a", 10)
        limiter.settle_job("job_b", 0)  # which was refused

    assert refused.exceeded == "tokens"
    assert limiter.admit(demand(rate, tokens=1)).tokens == 11


def test_a_job_that_is_accepted_again_counts_once(limiter: RedisRateLimiter) -> None:
    job = replace(demand(Rate(requests=2, tokens=100), tokens=60), job_id="job_a")

    states = [limiter.admit(job) for _ in range(3)]

    assert [(each.exceeded, each.requests, each.tokens) for each in states] == [(None, 1, 60)] * 3
    limiter.settle_job("job_a", 10)
    assert limiter.admit(demand(job.rate)).tokens == 10


def test_the_end_of_a_call_corrects_its_tokens(limiter: RedisRateLimiter, clock: Clock) -> None:
    rate = Rate(tokens=100)
    first = limiter.admit(demand(rate, tokens=90))
    clock.now += 5
    limiter.admit(demand(rate, tokens=5))
    assert limiter.admit(demand(rate, tokens=50)).exceeded == "tokens"

    limiter.settle([settled(first, tokens=-60)])

    assert limiter.admit(demand(rate, tokens=50)).tokens == 85
    clock.now = NOW + WINDOW_S + 0.25  # only the first call has left the window
    assert limiter.admit(demand(rate, tokens=1)).tokens == 56


def test_a_correction_of_a_call_that_has_left_the_window_changes_nothing(
    limiter: RedisRateLimiter, clock: Clock
) -> None:
    rate = Rate(tokens=100)
    first = limiter.admit(demand(rate, tokens=90))
    clock.now += 2 * WINDOW_S
    limiter.admit(demand(rate, tokens=5))

    limiter.settle([settled(first, tokens=-60)])

    assert limiter.admit(demand(rate, tokens=1)).tokens == 6


def test_concurrent_calls_are_bounded_and_released(limiter: RedisRateLimiter) -> None:
    call = demand(Rate(), concurrent_calls=2, lease_s=30)
    first, second = limiter.admit(call), limiter.admit(call)
    assert (first.exceeded, second.exceeded) == (None, None)
    assert limiter.admit(call).exceeded == "concurrency"

    assert limiter.admit(call, [settled(first)]).exceeded is None
    assert limiter.admit(call).exceeded == "concurrency"


def test_a_lease_of_a_killed_process_expires(limiter: RedisRateLimiter, clock: Clock) -> None:
    call = demand(Rate(), concurrent_calls=1, lease_s=30)
    limiter.admit(call)

    clock.now += 29.9
    assert limiter.admit(call).exceeded == "concurrency"
    clock.now += 0.2
    assert limiter.admit(call).exceeded is None


def test_a_call_refused_for_its_concurrency_is_not_counted(limiter: RedisRateLimiter) -> None:
    rate = Rate(requests=3, tokens=100)
    call = demand(rate, tokens=10, concurrent_calls=1, lease_s=30)
    limiter.admit(call)
    refused = limiter.admit(call)

    assert (refused.exceeded, refused.requests, refused.tokens) == ("concurrency", 1, 10)


def test_subjects_and_classes_have_windows_of_their_own(limiter: RedisRateLimiter) -> None:
    rate = Rate(requests=1)
    assert limiter.admit(demand(rate)).exceeded is None
    assert limiter.admit(demand(rate)).exceeded == "requests"

    assert limiter.admit(demand(rate, subject="other")).exceeded is None
    assert limiter.admit(demand(rate, rate_class="few_shot")).exceeded is None


def test_a_look_counts_nothing(limiter: RedisRateLimiter) -> None:
    rate = Rate(requests=2, tokens=10)
    limiter.admit(demand(rate, tokens=4))

    for _ in range(3):
        state = limiter.admit(demand(rate, requests=0))
        assert (state.exceeded, state.requests, state.tokens) == (None, 1, 4)


@pytest.mark.parametrize("back_s", [0.5, 30, 3600])
def test_a_clock_that_is_set_back_stops_nothing_for_longer_than_a_window(
    limiter: RedisRateLimiter, clock: Clock, back_s: float
) -> None:
    call = demand(Rate(requests=1))
    limiter.admit(call)
    clock.now -= back_s

    state = limiter.admit(call)

    if state.exceeded is not None:
        assert state.requests_wait_s <= WINDOW_S + back_s + 0.25
        clock.now += state.requests_wait_s
        assert limiter.admit(call).exceeded is None


def test_idle_windows_leave_nothing_behind(
    redis_client: redis.Redis, limiter: RedisRateLimiter
) -> None:
    limiter.admit(demand(Rate(requests=1), concurrent_calls=1, lease_s=50))

    names = list(redis_client.scan_iter("ph:rates:*"))
    assert len(names) == 3
    assert all(0 < redis_client.pttl(name) <= 61_000 for name in names)  # type: ignore[operator]


def test_an_absent_server_is_told_as_such(redis_url: str) -> None:
    absent = connect(f"redis://{HOST}:{free_port()}/0", timeout_s=0.2)

    with pytest.raises(BrokerUnavailable):
        RedisRateLimiter(absent).admit(demand(Rate(requests=1)))
