"""Fairness of the batches: by the work that was done for an account, whatever its requests are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.types import Priority
from workers.microbatching.scheduler import (
    PASS_COST_DIVISOR,
    SPECIAL_TOKENS,
    EmbeddingRequest,
    MicrobatchScheduler,
    ScheduledWindow,
)
from workers.work_context import WorkContext

BUDGET = 1024
LONG, SHORT = 254, 10  # content tokens of a window: four long ones are a batch


class Load:
    """Makes requests without two equal windows, which would merge."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.plan = MicrobatchScheduler(budget)
        self._windows = 0

    def add(
        self, account: str, lengths: Sequence[int], priority: Priority = Priority.STANDARD
    ) -> EmbeddingRequest:
        windows = []
        for length in lengths:
            self._windows += 1
            windows.append([self._windows] + [0] * (length - 1))
        request = EmbeddingRequest.of(windows, WorkContext(priority=priority, account=account), 4)
        self.plan.add(request)
        return request

    def batches_until(self, request: EmbeddingRequest, *, most: int = 1000) -> int:
        """How many batches run until the last window of the request was in one."""
        for count in range(1, most + 1):
            self.plan.cut()
            if not request.sizes:
                return count
        raise AssertionError(f"not within {most} batches")


def charged(picks: Sequence[ScheduledWindow]) -> Counter[str]:
    """What a batch costs each account: its windows, padded."""
    longest = max(map(size, picks))
    return Counter(
        {a: n * longest for a, n in Counter(pick.request.account for pick in picks).items()}
    )


def size(pick: ScheduledWindow) -> int:
    return len(pick.window) + SPECIAL_TOKENS


@pytest.mark.parametrize("heavy", [1, 2, 30, 200])
@pytest.mark.parametrize("windows", [1, 2, 1000])
def test_a_short_call_is_in_the_next_batch_beside_any_load_of_others(heavy: int, windows: int):
    load = Load()
    for n in range(heavy):
        load.add(f"heavy{n}", [LONG] * windows)
    for _ in range(min(7, heavy * windows // 5)):
        load.plan.cut()

    short = load.add("other", [SHORT])

    assert load.batches_until(short) == 1


def test_short_calls_that_follow_one_another_have_every_second_batch():
    load = Load()
    for n in range(8):
        load.add(f"heavy{n}", [LONG] * 1000)

    waits = []
    for _ in range(50):
        load.plan.cut()  # which runs while the caller reads its answer and calls again
        waits.append(load.batches_until(load.add("other", [SHORT])))

    assert sorted(waits)[int(len(waits) * 0.95)] <= 2


def test_many_requests_of_one_account_take_no_more_than_the_one_of_another():
    load = Load()
    for _ in range(100):
        load.add("many", [LONG] * 8)
    one = load.add("one", [LONG] * 40)

    assert load.batches_until(one) <= 20 + 1


@pytest.mark.parametrize("size", [1, 64])
def test_two_accounts_share_by_tokens_and_not_by_windows(size: int):
    load = Load()
    load.add("long", [LONG] * 500)
    for _ in range(20_000 // size):
        load.add("short", [SHORT] * size)

    costs: Counter[str] = Counter()
    for _ in range(100):
        costs += charged(load.plan.cut())

    assert abs(costs["long"] - costs["short"]) <= BUDGET * 17 / 16


def test_a_short_request_does_not_wait_for_the_long_one_of_its_own_account():
    load = Load()
    load.add("acme", [LONG] * 1000)
    for _ in range(5):
        load.plan.cut()

    assert load.batches_until(load.add("acme", [SHORT])) == 1


def test_a_long_request_is_not_passed_by_for_ever_by_short_ones_of_its_account():
    load = Load()
    long = load.add("acme", [LONG] * 8)  # two batches
    batches = 0
    while long.sizes:
        load.add("acme", [SHORT] * 85)  # a batch each time: as much comes as can run
        load.plan.cut()
        batches += 1

    assert batches <= 2 * 2 + 2


def test_fast_calls_of_one_account_do_not_keep_the_standard_calls_of_another():
    load = Load()
    load.add("hasty", [LONG] * 1000, Priority.FAST)
    load.plan.cut()
    load.plan.cut()

    assert load.batches_until(load.add("other", [SHORT])) <= 2
    long = load.add("other", [LONG] * 40)
    assert load.batches_until(long) <= 21


def test_a_fast_call_goes_before_the_standard_calls_of_all_accounts():
    load = Load()
    for n in range(10):
        load.add(f"heavy{n}", [LONG] * 100)
        load.add(f"light{n}", [SHORT])
    fast = load.add("other", [LONG] * 4, Priority.FAST)

    assert load.batches_until(fast) == 1


def test_bulk_of_two_accounts_takes_turns_too():
    load = Load()
    load.add("large", [LONG] * 1000, Priority.BULK)
    for _ in range(50):
        load.add("many", [LONG] * 4, Priority.BULK)

    costs: Counter[str] = Counter()
    for _ in range(40):
        costs += charged(load.plan.cut())

    assert abs(costs["large"] - costs["many"]) <= BUDGET * 17 / 16


def test_an_account_that_was_away_does_not_get_the_time_that_it_was_away():
    load = Load()
    load.add("steady", [LONG] * 1000)
    for _ in range(50):
        load.plan.cut()
    load.add("late", [LONG] * 1000)

    costs: Counter[str] = Counter()
    for _ in range(20):
        costs += charged(load.plan.cut())

    assert abs(costs["steady"] - costs["late"]) <= BUDGET * 17 / 16


_shape = st.tuples(st.sampled_from("abcd"), st.lists(st.integers(1, 150), min_size=1, max_size=12))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(_shape, min_size=1, max_size=30),
    st.lists(_shape, max_size=60),
    st.integers(16, 1500),
)
def test_no_account_that_waits_is_more_than_a_batch_behind_another(
    first: list[tuple[str, list[int]]], later: list[tuple[str, list[int]]], budget: int
):
    load = Load(budget)
    for account, lengths in first:
        load.add(account, lengths)
    coming = iter(later)
    # The longest window may be a batch alone, and a lift adds some padding to a batch.
    batch = max(budget, 152) * (1 + 1 / PASS_COST_DIVISOR)
    steady = {account for account, _ in first}  # that have waited from the beginning
    costs: Counter[str] = Counter()
    while load.plan.waiting():
        costs += charged(load.plan.cut())
        steady &= {account for account, tokens in load.plan.tokens_of().items() if tokens}
        shares = [costs[account] for account in steady]
        assert not shares or max(shares) - min(shares) <= batch
        if (following := next(coming, None)) is not None:
            load.add(*following)
