"""Long texts are tokenised by steps, in turns, and not for callers that have gone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

import pytest

from shared.errors import DeadlineExceeded
from shared.types import Priority
from workers.embedding.long_texts import STEP_CHARS, LongTexts, TokenIds
from workers.work_context import WorkContext

BOUND_S = 60.0


class Words:
    """A tokenizer of words that notes what it was given; may be held before each step."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        self.steps.append(texts[0][:1])
        self.entered.release()
        assert self.gate.acquire(timeout=BOUND_S)
        if self.error is not None:
            raise self.error
        return [[len(word) for word in text.split()] for text in texts]


class Bench:
    def __init__(self) -> None:
        self.words = Words()
        self.now = 0.0
        self.long_texts = LongTexts(self.words, clock=lambda: self.now)

    def hand_over(
        self,
        letter: str,
        steps: int = 1,
        *,
        account: str = "",
        priority: Priority = Priority.STANDARD,
        deadline: float | None = None,
        most: int | None = None,
    ) -> Future[TokenIds]:
        text = (letter * 7 + " ") * (steps * STEP_CHARS // 8)
        context = WorkContext(priority=priority, deadline=deadline, account=account or letter)
        return self.long_texts.token_ids([text], context, most=most)

    def held(self) -> Future[TokenIds]:
        """A step that is under way until the gate is opened."""
        future = self.hand_over("x")
        assert self.words.entered.acquire(timeout=BOUND_S)
        return future

    def order(self, *futures: Future[TokenIds]) -> str:
        self.words.gate.release(10_000)
        for future in futures:
            future.result(BOUND_S)
        return "".join(self.words.steps)


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.words.gate.release(10_000)


def test_the_ids_are_those_of_the_whole_text(bench: Bench):
    bench.words.gate.release(10_000)

    (ids,) = bench.hand_over("a", 5).result(BOUND_S)

    assert [*ids] == [7] * (5 * STEP_CHARS // 8)


def test_a_shorter_text_does_not_wait_for_a_long_one(bench: Bench):
    running = bench.held()
    long = bench.hand_over("a", 20)
    short = bench.hand_over("b")

    order = bench.order(running, long, short)

    assert order.index("b") <= 2


def test_accounts_take_turns_whatever_they_hand_over(bench: Bench):
    running = bench.held()
    many = [bench.hand_over("a", 2, account="acme") for _ in range(10)]
    one = bench.hand_over("b", 5, account="zeta")

    order = bench.order(running, *many, one)

    assert order.rindex("b") <= 1 + 2 * 6


def test_calls_go_before_bulk(bench: Bench):
    running = bench.held()
    bulk = bench.hand_over("a", 10, priority=Priority.BULK)
    call = bench.hand_over("b", 3)

    order = bench.order(running, bulk, call)

    assert order.rindex("b") < order.index("a")


def test_what_is_past_its_deadline_is_not_gone_on_with(bench: Bench):
    running = bench.held()
    late = bench.hand_over("a", 20, deadline=5.0)
    kept = bench.hand_over("b", 2, deadline=50.0)
    bench.now = 10.0

    order = bench.order(running, kept)

    with pytest.raises(DeadlineExceeded):
        late.result(BOUND_S)
    assert "a" not in order


def test_what_was_cancelled_is_not_gone_on_with(bench: Bench):
    running = bench.held()
    cancelled = bench.hand_over("a", 20)
    kept = bench.hand_over("b", 2)
    assert cancelled.cancel()

    order = bench.order(running, kept)

    with pytest.raises(CancelledError):
        cancelled.result(BOUND_S)
    assert "a" not in order
    assert bench.long_texts.accounts(Priority.BULK) == set()


def test_a_text_over_its_bound_ends_early(bench: Bench):
    bench.words.gate.release(10_000)

    (ids,) = bench.hand_over("a", 50, most=STEP_CHARS // 8).result(BOUND_S)

    assert len(ids) > STEP_CHARS // 8
    assert len(bench.words.steps) <= 3


def test_an_error_ends_one_future_and_the_next_text_is_done(bench: Bench):
    running = bench.held()
    bench.words.error = RuntimeError("a tokenizer that fails")
    bench.words.gate.release()
    with pytest.raises(RuntimeError, match="fails"):
        running.result(BOUND_S)

    bench.words.error = None
    bench.words.gate.release(10_000)
    assert bench.hand_over("a", 2).result(BOUND_S)


def test_accounts_are_known_while_their_texts_wait(bench: Bench):
    running = bench.held()
    bulk = bench.hand_over("a", priority=Priority.BULK)
    assert bench.long_texts.accounts(Priority.STANDARD) == {"x"}
    assert bench.long_texts.accounts(Priority.BULK) == {"x", "a"}

    bench.order(running, bulk)

    assert bench.long_texts.accounts(Priority.BULK) == set()
