"""The microbatcher: runs the windows of concurrent requests through one model, in microbatches.

One thread owns the model, and every future ends: with rows, with the error of its own window, with
DeadlineExceeded or with Unavailable. After a microbatch did not fit into memory, later ones stay
smaller. `workers.microbatching.scheduler` chooses the windows of a microbatch, and
`workers.embedding.texts` makes the windows. The microbatcher does not kill a forward pass that
hangs: it reports how long the pass has run, and the watchdog of the worker ends the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import Any, Protocol, Self

import numpy as np

from shared import tracing
from shared.errors import DeadlineExceeded, Unavailable, WorkFailed
from shared.types import Priority
from workers.futures import without_variables
from workers.microbatching.scheduler import (
    SPECIAL_TOKENS,
    EmbeddingRequest,
    MicrobatchScheduler,
    ScheduledWindow,
)
from workers.models.port import Rows
from workers.work_context import WorkContext

logger = logging.getLogger("pigeonhole.microbatch")


class Encoder(Protocol):
    """One tower of a model: windows to vectors; used by one thread at a time."""

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""

    def encode(self, windows: Sequence[Any], /) -> Rows:
        """(N, D) unit rows, in the order given.

        Raises:
            Unavailable, MemoryError: The windows do not fit into memory, which is free again.
        """


Observe = Callable[[int, int, int, float], None]
"""Called after each forward pass: windows, tokens, padded tokens, seconds."""


class Microbatcher:
    """A thread that owns the model's `encode`; `submit` is thread-safe.

    Construction starts it, `close` stops it; `with` does both.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        budget_tokens: int,
        name: str,
        window_tokens: int | None = None,
        prepare: Callable[[], object] | None = None,
        observe: Observe | None = None,
        on_submit: Callable[[WorkContext], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            encoder: the model, or one tower of it.
            budget_tokens: limit of tokens for one forward pass, padding included.
            name: the name in logs and errors.
            window_tokens: the tokens of every window; None if windows are sequences of ids.
            prepare: is called before each microbatch and may take long, since it does not count as
                a forward pass. If it raises Unavailable, the requests of the microbatch end so.
            observe: a hook that is called after each forward pass.
            on_submit: a hook that is called with the context of each request.
            clock: a monotonic clock, in seconds.
        """
        self._encoder = encoder
        self._name = name
        self._window_tokens = window_tokens
        self._prepare = prepare
        self._observe = observe
        self._on_submit = on_submit
        self._clock = clock
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # windows wait, or closing
        self._room = threading.Condition(lock)  # the backlog shrank, or closing
        self._scheduler = MicrobatchScheduler(budget_tokens)
        self._open: set[EmbeddingRequest] = set()  # every request whose future has not ended
        self._closed = False
        self._pass_began: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"microbatch-{name}", daemon=True)
        self._thread.start()

    def submit(
        self,
        windows: Sequence[Any],
        context: WorkContext,
        *,
        finish: Callable[[Rows], Rows] | None = None,
    ) -> Future[Rows]:
        """Queue windows of content ids, or images; equal windows are deduplicated and run once.

        Args:
            windows: n inputs of the encoder, each no longer than its window.
            context: priority class, account (for fair queueing), deadline and job. Windows that
                are still queued at the deadline end with DeadlineExceeded. The job groups bulk
                requests: see `workers.microbatching.scheduler`.
            finish: maps the (n, D) rows to the result of the future; runs in the microbatcher's
                thread, so it must be quick.

        Returns:
            A future of (n, D) rows in the order given. Cancelling it removes its windows from the
            queue.

        Raises:
            Unavailable: The microbatcher is closed, or its thread has died.
        """
        if self._on_submit is not None:
            self._on_submit(context)
        request = EmbeddingRequest.of(
            windows, context, self._encoder.dimensions, finish, self._window_tokens
        )
        with self._work:
            if self._closed:
                raise Unavailable(f"The model {self._name} is not running.")
            self._open.add(request)
            self._scheduler.add(request)
            self._work.notify()
        if not request.missing:
            self._end(request)
        return request.future

    def waits(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._open)

    def backlog_tokens(self, priority: Priority = Priority.BULK) -> int:
        """Queued tokens of the class and above; the running microbatch is not counted."""
        with self._work:
            return self._scheduler.tokens(priority)

    def wait_for_room(
        self, below_tokens: int, *, timeout_s: float, priority: Priority = Priority.BULK
    ) -> bool:
        """Backpressure: wait until fewer tokens are queued in the class and above.

        Returns:
            False after `timeout_s`.
        """

        def room() -> bool:
            return not self._closed and self._scheduler.tokens(priority) < below_tokens

        with self._room:
            self._room.wait_for(lambda: self._closed or room(), timeout_s)
            return room()

    def full_accounts(self, priority: Priority, *, passes: int) -> set[str]:
        """Accounts with at least `passes` forward passes queued in the class and above."""
        with self._work:
            max_tokens = passes * self._scheduler.budget_tokens
            waiting = self._scheduler.tokens_of(priority)
        return {account for account, tokens in waiting.items() if tokens >= max_tokens}

    def wait_for_pass(self, *, timeout_s: float) -> None:
        """Wait until a forward pass begins, which removes windows from the queue."""
        with self._room:
            self._room.wait(timeout_s)

    @property
    def budget_tokens(self) -> int:
        """Limit of one forward pass, padding included; it shrinks after an out-of-memory error."""
        return self._scheduler.budget_tokens

    def healthy(self) -> bool:
        """False once the thread has died or `close` was called."""
        return self._thread.is_alive() and not self._closed

    def stalled_s(self) -> float:
        """Seconds since the running forward pass began; 0 while none runs."""
        began = self._pass_began
        return 0.0 if began is None else max(0.0, self._clock() - began)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Stop after the running pass; every pending future ends with Unavailable.

        Args:
            timeout_s: seconds to wait for the running pass. Its futures end even if it hangs; its
                thread then runs until the process ends.
        """
        self._stop()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._end_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while self._forward_next():
                pass
        except BaseException:
            logger.critical(
                "The microbatcher of %s crashed; its model stops.", self._name, exc_info=True
            )
        finally:
            self._stop()
            self._end_all()

    def _stop(self) -> None:
        with self._work:
            self._closed = True
            self._work.notify_all()
            self._room.notify_all()

    def _end_all(self) -> None:
        with self._work:
            pending = list(self._open)
            self._scheduler.clear()
        for request in pending:
            self._end(
                request, Unavailable(f"The model {self._name} stopped before it returned a result.")
            )

    def _forward_next(self) -> bool:
        """Wait for work and run a microbatch; False once closed.

        The thread holds no reference to a request while it waits for the next one.
        """
        with self._work:
            self._work.wait_for(lambda: self._closed or self._scheduler.waiting())
            if self._closed:
                return False
            dropped = self._scheduler.drop(self._clock())
            picks = self._scheduler.cut()
            self._room.notify_all()
        for request in dropped:
            self._end(request, DeadlineExceeded("The deadline passed before the model ran."))
        self._forward(picks)
        return True

    def _forward(self, picks: list[ScheduledWindow]) -> None:
        """Run a microbatch. After an error, run its halves, until the bad window is isolated."""
        picks = self._pending(picks)
        if picks and self._prepare is not None:
            try:
                self._prepare()
            except Unavailable as error:
                for pick in picks:
                    again = Unavailable(error.detail, retry_after_s=error.retry_after_s)
                    self._end(pick.request, again)
                return
        stack = [picks]
        while stack:
            batch = self._pending(stack.pop())
            if not batch:
                continue
            try:
                rows = self._encode(batch)
            except Exception as error:  # noqa: BLE001 - a model may raise anything; its requests get it
                if len(batch) == 1:
                    # Frames of the traceback hold the pass; the future may live for long.
                    self._end(batch[0].request, without_variables(error))
                    continue
                if isinstance(error, (Unavailable, MemoryError)):
                    self._shrink(batch)
                else:
                    logger.warning(
                        "A microbatch of %d windows failed on %s (%s); running its halves.",
                        len(batch), self._name, type(error).__name__,
                    )  # fmt: skip
                middle = len(batch) // 2
                stack += [batch[middle:], batch[:middle]]
            else:
                self._deliver(batch, rows)

    def _shrink(self, batch: list[ScheduledWindow]) -> None:
        """Limit later microbatches to half of this one, which ran out of memory."""
        tokens = len(batch) * max(self._sizes(batch))
        with self._work:
            shrunk = self._scheduler.shrink(tokens // 2)
        if shrunk:
            logger.warning(
                "%s had no memory for %d windows of %d tokens together, padding included; "
                "from now on its microbatches have at most %d.",
                self._name, len(batch), tokens, tokens // 2,
            )  # fmt: skip

    def _sizes(self, batch: list[ScheduledWindow]) -> list[int]:
        return [self._window_tokens or len(pick.window) + SPECIAL_TOKENS for pick in batch]

    def _pending(self, picks: list[ScheduledWindow]) -> list[ScheduledWindow]:
        pending: list[ScheduledWindow] = []
        for pick in picks:
            if pick.request.over():
                self._end(pick.request)  # notifies the waiters of a cancelled future
            else:
                pending.append(pick)
        return pending

    def _encode(self, batch: list[ScheduledWindow]) -> Rows:
        served = (pick.request.span for pick in batch)
        self._pass_began = began = self._clock()
        try:
            with tracing.forward_pass(self._name, served, windows=len(batch)):
                rows = self._encoder.encode([pick.window for pick in batch])  # (N, D)
        finally:
            self._pass_began = None
        if rows.shape != (len(batch), self._encoder.dimensions):
            raise WorkFailed(f"The model {self._name} returned vectors of a wrong shape.")
        if not np.isfinite(rows).all():
            raise WorkFailed(f"The model {self._name} returned a vector that is not finite.")
        self._report(batch, self._clock() - began)
        return rows

    def _report(self, batch: list[ScheduledWindow], seconds: float) -> None:
        if self._observe is None:
            return
        sizes = self._sizes(batch)
        try:
            self._observe(len(sizes), sum(sizes), len(sizes) * max(sizes), seconds)
        except Exception:
            logger.exception(
                "Counting a microbatch of %s failed; its vectors are not affected.", self._name
            )

    def _deliver(self, batch: list[ScheduledWindow], rows: Rows) -> None:
        start = 0
        for request, picks in groupby(batch, key=lambda pick: pick.request):
            places = [pick.place for pick in picks]
            request.rows[places] = rows[start : start + len(places)]
            request.missing -= len(places)
            start += len(places)
            if not request.missing:
                self._end(request)

    def _end(self, request: EmbeddingRequest, error: BaseException | None = None) -> None:
        """End the future of a request; only the first call has an effect."""
        with self._work:
            if request not in self._open:
                return
            self._open.remove(request)
            request.ended = True
        if not request.future.set_running_or_notify_cancel():
            return
        if error is None:
            try:
                request.future.set_result(request.result())
                return
            except Exception as failure:  # noqa: BLE001 - the caller's `finish` failed: its future says so
                error = failure
        request.future.set_exception(error)
