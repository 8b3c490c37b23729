"""The batcher and its plan: a partition within the budget, fair order, and futures that all end."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DeadlineExceeded, Unavailable, WorkFailed
from shared.types import Priority
from workers.microbatching.microbatcher import Microbatcher
from workers.microbatching.scheduler import (
    AGEING_BATCHES,
    SMALL_DIVISOR,
    SPECIAL_TOKENS,
    EmbeddingRequest,
    MicrobatchScheduler,
    ScheduledWindow,
    _rounded,
)
from workers.models.port import Rows
from workers.work_context import WorkContext

BOUND_S = 60.0
POISON = 666
NOT_FINITE = 667


class FakeEncoder:
    """Rows that tell their window; fails on POISON; may be held before each pass."""

    name = "fake"
    revision = "1"
    dimensions = 4
    window = 64

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0) if held else None
        self.raises: type[BaseException] = RuntimeError

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        self.batches.append([tuple(window) for window in windows])
        self.entered.release()
        if self.gate is not None:
            assert self.gate.acquire(timeout=BOUND_S)
        if any(POISON in window for window in windows):
            raise self.raises("a poisonous window")
        return np.stack([row_of(window) for window in windows])

    def close(self) -> None:
        pass


def row_of(window: Sequence[int]) -> Rows:
    row = np.array([1.0, len(window), sum(window) % 97, max(window, default=0) % 89], np.float32)
    if NOT_FINITE in window:
        row[0] = np.nan
    return row / np.float32(np.linalg.norm(row))


@pytest.fixture
def started() -> Iterator[Callable[..., Microbatcher]]:
    batchers: list[tuple[Microbatcher, FakeEncoder]] = []

    def start(encoder: FakeEncoder, *, budget_tokens: int = 64, **more: object) -> Microbatcher:
        batcher = Microbatcher(encoder, budget_tokens=budget_tokens, name="fake", **more)
        batchers.append((batcher, encoder))
        return batcher

    yield start
    for batcher, encoder in batchers:
        if encoder.gate is not None:
            encoder.gate.release(10_000)
        batcher.close(timeout_s=BOUND_S)


def submit(
    batcher: Microbatcher,
    windows: Sequence[Sequence[int]],
    priority: Priority = Priority.STANDARD,
    deadline: float | None = None,
) -> Future[Rows]:
    return batcher.submit(windows, WorkContext(priority=priority, deadline=deadline))


def held_with_one_running(
    started: Callable[..., Microbatcher], **more: object
) -> tuple[Microbatcher, FakeEncoder, Future[Rows]]:
    """A batcher whose thread sits in a forward pass until the gate is released."""
    encoder = FakeEncoder(held=True)
    batcher = started(encoder, **more)
    running = submit(batcher, [[9]])
    assert encoder.entered.acquire(timeout=BOUND_S)
    return batcher, encoder, running


def request(
    lengths: Sequence[int],
    priority: Priority = Priority.STANDARD,
    start: int = 0,
    job: str = "",
    account: str = "",
) -> EmbeddingRequest:
    # Each window is different, or equal ones would merge.
    windows = [[start + i] + [0] * (length - 1) for i, length in enumerate(lengths)]
    context = WorkContext(priority=priority, account=account, job=job)
    return EmbeddingRequest.of(windows, context, 4)


def padded(picks: Sequence[ScheduledWindow]) -> int:
    return len(picks) * max(len(pick.window) + SPECIAL_TOKENS for pick in picks)


lengths = st.lists(st.integers(1, 60), max_size=30)
window = st.lists(st.integers(0, 30), max_size=20)


# The plan


@given(
    st.lists(
        st.tuples(lengths, st.sampled_from(Priority), st.sampled_from(["", "a", "b"])), max_size=8
    ),
    st.integers(1, 300),
)
def test_the_batches_are_a_partition_within_the_budget(
    asked: list[tuple[list[int], Priority, str]], budget: int
) -> None:
    plan = MicrobatchScheduler(budget)
    requests = [request(lengths, priority, job=job) for lengths, priority, job in asked]
    for one in requests:
        plan.add(one)

    batches = []
    while plan.waiting():
        batches.append(plan.cut())

    ran = [(id(pick.request), pick.place) for picks in batches for pick in picks]
    assert sorted(ran) == sorted((id(r), place) for r in requests for place in range(r.missing))
    assert all(len(picks) == 1 or padded(picks) <= budget for picks in batches)
    assert all(len({pick.request.priority for pick in picks}) == 1 for picks in batches)
    assert plan.tokens() == 0
    assert plan.cut() == []


@given(st.lists(lengths.filter(bool), min_size=1, max_size=8), st.integers(8, 300))
def test_of_one_account_the_smaller_request_leads_and_of_equals_the_older(
    asked: list[list[int]], budget: int
) -> None:
    plan = MicrobatchScheduler(budget)
    requests = [request(lengths) for lengths in asked]
    for one in requests:
        plan.add(one)
    in_turn = sorted(requests, key=lambda r: _rounded(sum(r.sizes), budget // SMALL_DIVISOR))

    while plan.waiting():
        first = next(one for one in in_turn if one.sizes)
        longest = first.sizes[-1]
        picks = plan.cut()

        assert picks[0].request is first
        assert longest in [
            len(pick.window) + SPECIAL_TOKENS for pick in picks if pick.request is first
        ]


def test_single_windows_of_different_lengths_share_a_batch() -> None:
    plan = MicrobatchScheduler(1024)
    for length in (5, 6, 8, 7):
        plan.add(request([length]))

    assert len(plan.cut()) == 4


def test_a_long_window_does_not_stretch_a_batch_of_short_ones() -> None:
    plan = MicrobatchScheduler(1024)
    plan.add(request([5] * 10))
    plan.add(request([60]))

    assert len(plan.cut()) == 10


def test_the_oldest_is_not_starved_by_younger_requests_of_its_class() -> None:
    plan = MicrobatchScheduler(64)
    oldest = request([30] * 10)
    plan.add(oldest)

    # Twice as much comes as can run. What comes once 512 tokens, its own 320 rounded up, have run
    # waits behind the oldest: at the latest after 8 batches for what came before, and its own 5.
    for _ in range(8 + 8 + 5):
        plan.add(request([62]))
        plan.add(request([1] * 20))
        plan.cut()

    assert not oldest.sizes


def test_of_bulk_the_smallest_leads_and_now_and_then_the_oldest() -> None:
    plan = MicrobatchScheduler(100)
    large = request([8] * 60, Priority.BULK)
    small = request([8] * 20, Priority.BULK, start=70)
    plan.add(large)
    plan.add(small)

    led = [plan.cut()[0].request for _ in range(4)]

    assert led == [small, small, large, large]
    assert not small.sizes


def test_parts_of_one_job_give_windows_together() -> None:
    plan = MicrobatchScheduler(120)
    parts = [request([8, 18, 28, 38], Priority.BULK, start, "job") for start in (0, 10, 20)]
    for part in parts:
        plan.add(part)
    plan.add(request([38] * 20, Priority.BULK, 30, "larger"))

    cuts = [sorted(len(pick.window) for pick in plan.cut()) for _ in range(2)]

    assert cuts == [[38] * 3, [18] + [28] * 3]


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 60])
def test_bulk_creeps_on_under_constant_load_from_above(length: int) -> None:
    plan = MicrobatchScheduler(64)
    plan.add(request([60] * 2000, Priority.BULK))
    bulk = fast = 0
    for turn in range(2000):
        plan.add(request([length], Priority.FAST, start=turn))
        plan.add(request([length], Priority.STANDARD, start=turn))
        picks = plan.cut()
        cost = padded(picks) + plan.pass_tokens
        if picks[0].request.priority is Priority.BULK:
            bulk += cost
        else:
            fast += cost

    assert 0.5 / AGEING_BATCHES < bulk / (bulk + fast) < 2 / AGEING_BATCHES


def test_a_class_that_runs_dry_starts_again_with_no_credit() -> None:
    plan = MicrobatchScheduler(64)
    bulk = request([60], Priority.BULK)
    plan.add(bulk)
    for _ in range(AGEING_BATCHES - 2):
        plan.add(request([60], Priority.FAST))
        plan.cut()
    bulk.future.cancel()
    assert plan.drop(0.0) == [bulk]
    plan.add(request([60], Priority.FAST))
    plan.cut()
    plan.add(request([60], Priority.BULK))

    for _ in range(AGEING_BATCHES - 2):
        plan.add(request([60], Priority.FAST))
        assert plan.cut()[0].request.priority is Priority.FAST


# The thread


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(window, max_size=12), max_size=8), st.integers(1, 200))
def test_rows_come_back_in_the_order_given(asked: list[list[list[int]]], budget: int) -> None:
    with Microbatcher(FakeEncoder(), budget_tokens=budget, name="fake") as batcher:
        futures = [submit(batcher, windows) for windows in asked]

        for windows, future in zip(asked, futures, strict=True):
            rows = future.result(BOUND_S)
            assert rows.shape == (len(windows), 4)
            for row, one in zip(rows, windows, strict=True):
                np.testing.assert_array_equal(row, row_of(one))
        assert batcher.backlog_tokens() == 0


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from([1, 2, POISON, NOT_FINITE]), max_size=3), max_size=6),
            st.sampled_from(Priority),
            st.sampled_from(["keep", "keep", "cancel", "late"]),
        ),
        max_size=10,
    ),
    st.integers(1, 60),
    st.sampled_from(["close", "wait", "die"]),
)
def test_every_future_ends(
    asked: list[tuple[list[list[int]], Priority, str]], budget: int, end: str
) -> None:
    encoder = FakeEncoder()
    encoder.raises = SystemExit if end == "die" else RuntimeError
    batcher = Microbatcher(encoder, budget_tokens=budget, name="fake")
    futures: list[Future[Rows]] = []
    try:
        for windows, priority, wish in asked:
            try:
                future = submit(batcher, windows, priority, -1.0 if wish == "late" else None)
            except Unavailable:
                assert end == "die"
                continue
            if wish == "cancel":
                future.cancel()
            futures.append(future)
        if end == "close":
            batcher.close(timeout_s=BOUND_S)

        assert not wait(futures, BOUND_S).not_done
    finally:
        batcher.close(timeout_s=BOUND_S)

    if end != "wait":
        return
    for (windows, _, wish), future in zip(asked, futures, strict=True):
        poisoned = any(POISON in one or NOT_FINITE in one for one in windows)
        if future.cancelled():
            assert wish == "cancel"
        elif wish == "late" and windows:
            assert isinstance(future.exception(0), DeadlineExceeded)
        elif poisoned:
            assert isinstance(future.exception(0), RuntimeError | WorkFailed)
        else:
            assert future.result(0).shape == (len(windows), 4)


def test_equal_windows_of_one_submit_run_once(started: Callable[..., Microbatcher]) -> None:
    encoder = FakeEncoder()
    batcher = started(encoder)

    rows = submit(batcher, [[1], [2], [1], [1]]).result(BOUND_S)

    assert sum(len(batch) for batch in encoder.batches) == 2
    np.testing.assert_array_equal(rows, [row_of([n]) for n in (1, 2, 1, 1)])


def test_windows_of_several_requests_share_a_batch(started: Callable[..., Microbatcher]) -> None:
    batcher, encoder, _ = held_with_one_running(started)
    futures = [submit(batcher, [[n]]) for n in range(5)]
    assert encoder.gate is not None
    encoder.gate.release(2)

    assert not wait(futures, BOUND_S).not_done
    assert len(encoder.batches) == 2


def test_fast_waits_for_no_more_than_the_running_batch(
    started: Callable[..., Microbatcher],
) -> None:
    batcher, encoder, _ = held_with_one_running(started, budget_tokens=8)
    bulk = submit(batcher, [[1, n] for n in range(10)], Priority.BULK)
    standard = submit(batcher, [[2, n] for n in range(10)], Priority.STANDARD)
    fast = submit(batcher, [[3, 0]], Priority.FAST)
    assert encoder.gate is not None
    encoder.gate.release(1000)
    assert not wait([bulk, standard, fast], BOUND_S).not_done

    firsts = [batch[0][0] for batch in encoder.batches[1:]]
    assert firsts == [3] + [2] * 5 + [1] * 5


def test_the_good_windows_of_a_bad_batch_get_their_rows(
    started: Callable[..., Microbatcher],
) -> None:
    batcher, encoder, _ = held_with_one_running(started)
    good = [submit(batcher, [[n], [n + 10]]) for n in range(3)]
    bad = submit(batcher, [[4], [POISON], [5]])
    assert encoder.gate is not None
    encoder.gate.release(1000)

    with pytest.raises(RuntimeError, match="poisonous"):
        bad.result(BOUND_S)
    for n, future in enumerate(good):
        np.testing.assert_array_equal(future.result(BOUND_S), [row_of([n]), row_of([n + 10])])
    assert batcher.healthy()


def test_what_is_past_its_deadline_is_dropped_before_it_is_batched(
    started: Callable[..., Microbatcher],
) -> None:
    now = [100.0]
    batcher, encoder, _ = held_with_one_running(started, clock=lambda: now[0])
    late = submit(batcher, [[1]], deadline=101.0)
    in_time = submit(batcher, [[2]], deadline=103.0)
    now[0] = 102.0
    assert encoder.gate is not None
    encoder.gate.release(1000)

    with pytest.raises(DeadlineExceeded):
        late.result(BOUND_S)
    in_time.result(BOUND_S)
    assert (1,) not in {window for batch in encoder.batches for window in batch}


def test_a_cancelled_future_is_skipped(started: Callable[..., Microbatcher]) -> None:
    batcher, encoder, _ = held_with_one_running(started)
    cancelled = submit(batcher, [[1]])
    kept = submit(batcher, [[2]])
    assert cancelled.cancel()
    assert encoder.gate is not None
    encoder.gate.release(1000)

    kept.result(BOUND_S)
    with pytest.raises(CancelledError):
        cancelled.result(BOUND_S)
    assert (1,) not in {window for batch in encoder.batches for window in batch}


def test_close_ends_even_the_futures_of_a_pass_that_hangs(
    started: Callable[..., Microbatcher],
) -> None:
    batcher, _, running = held_with_one_running(started)
    pending = submit(batcher, [[1]])

    batcher.close(timeout_s=0.01)

    for future in (running, pending):
        with pytest.raises(Unavailable):
            future.result(BOUND_S)
    with pytest.raises(Unavailable):
        submit(batcher, [[1]])
    assert not batcher.healthy()


def test_the_death_of_the_thread_ends_everything(started: Callable[..., Microbatcher]) -> None:
    batcher, encoder, running = held_with_one_running(started)
    encoder.raises = SystemExit
    pending = [submit(batcher, [[POISON]]), submit(batcher, [[1]] * 3, Priority.BULK)]
    assert encoder.gate is not None
    encoder.gate.release(1000)

    running.result(BOUND_S)
    for future in pending:
        with pytest.raises(Unavailable):
            future.result(BOUND_S)
    assert not batcher.healthy()
    with pytest.raises(Unavailable):
        submit(batcher, [[1]])


def test_it_tells_how_long_the_running_pass_takes(started: Callable[..., Microbatcher]) -> None:
    now = [50.0]
    batcher, encoder, running = held_with_one_running(started, clock=lambda: now[0])
    now[0] = 57.0
    assert batcher.stalled_s() == 7.0
    assert encoder.gate is not None
    encoder.gate.release()

    running.result(BOUND_S)
    assert batcher.stalled_s() == 0.0
    assert batcher.healthy()


def test_the_backlog_counts_what_waits_and_can_be_waited_for(
    started: Callable[..., Microbatcher],
) -> None:
    batcher, encoder, _ = held_with_one_running(started)
    assert batcher.backlog_tokens() == 0
    submit(batcher, [[1, 2, 3], [1, 2, 3, 4]])
    assert batcher.backlog_tokens() == 7 + 2 * SPECIAL_TOKENS

    assert not batcher.wait_for_room(5, timeout_s=0.01)
    assert encoder.gate is not None
    encoder.gate.release(1000)
    assert batcher.wait_for_room(5, timeout_s=BOUND_S)
    batcher.close(timeout_s=BOUND_S)
    assert not batcher.wait_for_room(5, timeout_s=BOUND_S)


def test_each_pass_is_reported_and_a_bad_report_harms_nothing(
    started: Callable[..., Microbatcher],
) -> None:
    seen: list[tuple[int, int, int]] = []

    def observe(windows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        seen.append((windows, tokens, padded_tokens))
        raise LookupError("no such metric")

    batcher = started(FakeEncoder(), observe=observe)

    submit(batcher, [[1, 2, 3], [1, 2]]).result(BOUND_S)

    assert seen == [(2, 5 + 2 * SPECIAL_TOKENS, 2 * (3 + SPECIAL_TOKENS))]
    assert batcher.healthy()


def test_an_error_while_finishing_reaches_the_caller(started: Callable[..., Microbatcher]) -> None:
    batcher = started(FakeEncoder())

    def finish(rows: Rows) -> Rows:
        raise ZeroDivisionError

    future = batcher.submit([[1]], WorkContext(priority=Priority.FAST), finish=finish)

    with pytest.raises(ZeroDivisionError):
        future.result(BOUND_S)
    assert batcher.healthy()


# Memory


class Cramped(FakeEncoder):
    """Holds only so many padded tokens at once, and sees whether what failed is gone."""

    class Batch:
        pass

    def __init__(self, max_tokens: int, error: type[Exception]) -> None:
        super().__init__()
        self._max_tokens = max_tokens
        self._error = error
        self._last: weakref.ref[Cramped.Batch] | None = None
        self.sizes: list[int] = []
        self.failed = 0

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        assert self._last is None or self._last() is None
        batch = self.Batch()  # lives as long as this frame
        self._last = weakref.ref(batch)
        self.sizes.append(len(windows) * (max(map(len, windows)) + SPECIAL_TOKENS))
        if self.sizes[-1] > self._max_tokens:
            self.failed += 1
            raise self._error("not enough memory")
        return super().encode(windows)


@pytest.mark.parametrize("error", [Unavailable, MemoryError])
def test_batches_stay_within_what_the_memory_held(
    started: Callable[..., Microbatcher], caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    encoder = Cramped(100, error)
    batcher = started(encoder, budget_tokens=640)
    asked = [[n] * 8 for n in range(100)]  # 10 tokens each with their special ones

    for _ in range(3):
        rows = submit(batcher, asked).result(BOUND_S)
        assert np.array_equal(rows, np.stack([row_of(window) for window in asked]))

    assert batcher.budget_tokens == 80
    assert encoder.failed == 7  # the first batch, its halves and their halves
    assert max(encoder.sizes[15:]) <= 80  # after it
    told = [record.getMessage() for record in caplog.records]
    assert [line.rpartition("at most ")[2] for line in told] == ["320.", "160.", "80."]


def test_the_longest_window_is_always_tried_alone(started: Callable[..., Microbatcher]) -> None:
    encoder = Cramped(30, MemoryError)
    batcher = started(encoder, budget_tokens=640)

    few = submit(batcher, [[n] for n in range(60)])
    long = submit(batcher, [[7] * 28])
    too_long = submit(batcher, [[7] * 29])

    assert len(few.result(BOUND_S)) == 60
    assert np.array_equal(long.result(BOUND_S), [row_of([7] * 28)])
    with pytest.raises(MemoryError):
        too_long.result(BOUND_S)
    assert batcher.budget_tokens >= 1


def test_other_errors_leave_the_batches_as_large_as_they_were(
    started: Callable[..., Microbatcher],
) -> None:
    batcher = started(FakeEncoder(), budget_tokens=64)

    with pytest.raises(RuntimeError):
        submit(batcher, [[n, POISON] for n in range(20)]).result(BOUND_S)

    assert batcher.budget_tokens == 64
