"""Tokenises long texts in turns, so that a short text never waits for a long one.

A megabyte of text takes a tokenizer 0.3 s of two cores. One thread tokenises long texts in steps of
65,536 characters, about 20 ms each. After each step it chooses the next text: calls before bulk,
then the account with the fewest characters done (`workers.microbatching.fair_order`), then the
oldest. Never more than one step is under way: all threads of the process share the threads of the
tokenizer, which does steps in the order in which they arrive. Texts whose future was cancelled or
whose deadline has passed are dropped between two steps.

The thread lives while there are texts.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shared.errors import DeadlineExceeded
from shared.types import Priority
from workers.embedding.tokenization import Tokenise, token_ids, token_steps
from workers.futures import done, end, without_variables
from workers.microbatching.fair_order import FairOrder
from workers.work_context import WorkContext

STEP_CHARS = 65_536
_SHORT_CHARS = 8_192  # of all texts of a call, tokenised in 2 ms
TokenIds = list[Sequence[int]]


@dataclass(eq=False, kw_only=True)
class _Work:
    """Texts of one call that are being tokenised."""

    steps: Generator[int, None, TokenIds]
    chars: int  # that are left, about
    context: WorkContext
    number: int  # of its arrival
    future: Future[TokenIds] = field(default_factory=Future)


class LongTexts:
    """Tokenises for any thread.

    Args:
        tokenise: content ids of short texts.
        clock: monotonic, in seconds.
    """

    def __init__(self, tokenise: Tokenise, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokenise = tokenise
        self._clock = clock
        self._lock = threading.Lock()
        self._turns = FairOrder()
        self._numbers = itertools.count()
        self._waiting: list[_Work] = []
        self._running = False

    def token_ids(
        self,
        texts: Sequence[str],
        context: WorkContext,
        *,
        most: int | None = None,
    ) -> Future[TokenIds]:
        """As `workers.embedding.tokenization.token_ids`. Cancelling the future ends the work.

        Raises:
            DeadlineExceeded: by the future: the deadline passed before the last step.
        """
        work = _Work(
            steps=token_steps(self._tokenise, texts, most=most, step_chars=STEP_CHARS),
            chars=sum(map(len, texts)),
            context=context,
            number=next(self._numbers),
        )
        with self._lock:
            self._waiting.append(work)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="long-texts", daemon=True).start()
        return work.future

    def accounts(self, priority: Priority) -> set[str]:
        """Those with texts that wait here, in the class and above it."""
        with self._lock:
            return {w.context.account for w in self._waiting if w.context.priority <= priority}

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._step(work)

    def _next(self) -> _Work | None:
        """The work whose turn it is; None where there is none, and the thread ends."""
        with self._lock:
            self._turns.advance({work.context.account for work in self._waiting})
            self._running = bool(self._waiting)
            return min(self._waiting, key=self._turn, default=None)

    def _turn(self, work: _Work) -> tuple[bool, float, int]:
        of_bulk = work.context.priority is Priority.BULK
        ends = self._turns.place(work.context.account) + min(work.chars, STEP_CHARS)
        return of_bulk, ends, work.number

    def _step(self, work: _Work) -> None:
        """Do some pieces of a text; its future ends outside the lock, for it may set off more."""
        found: TokenIds | None = None
        error: BaseException | None = None
        chars = 0
        try:
            deadline = work.context.deadline
            if deadline is not None and deadline <= self._clock():
                raise DeadlineExceeded("the deadline passed before the texts were tokenised")
            if not work.future.cancelled():
                chars = next(work.steps)
        except StopIteration as stop:
            found, chars = stop.value, min(work.chars, STEP_CHARS)
        except BaseException as exc:  # noqa: BLE001  the waiters for the ids get it
            error = without_variables(exc)
        over = found is not None or error is not None or work.future.cancelled()
        with self._lock:
            self._turns.charge(work.context.account, chars)
            work.chars -= chars
            if over:
                self._waiting.remove(work)
        if error is not None:
            end(work.future, error=error)
        elif over:
            end(work.future, found)


class SharedTokenizer:
    """A model's tokenizer for any thread and for texts of any length.

    Args:
        tokenise: content ids of short texts.
    """

    def __init__(self, tokenise: Tokenise) -> None:
        self._tokenise = tokenise
        self._long_texts = LongTexts(tokenise)

    def tokenised(
        self, texts: Sequence[str], context: WorkContext, *, most: int | None = None
    ) -> Future[TokenIds]:
        """As `tokenise`, at once for short texts; long ones take turns (`LongTexts`)."""
        if sum(map(len, texts)) <= _SHORT_CHARS:
            return done(self.tokenise(texts, most=most))
        return self._long_texts.token_ids(texts, context, most=most)

    def tokenising(self, priority: Priority) -> set[str]:
        """Accounts whose long texts wait to be tokenised, in the class and above it."""
        return self._long_texts.accounts(priority)

    def tokenise(self, texts: Sequence[str], *, most: int | None = None) -> list[Sequence[int]]:
        """Content token ids of each text; do this outside any queue, and only with short ones.

        Nothing is cut off but what lies behind the first text of more than `most` ids, itself
        included: see `workers.embedding.tokenization`.
        """
        return token_ids(self._tokenise, texts, most=most)
