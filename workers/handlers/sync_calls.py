"""Synchronous calls: the claiming thread begins them, and one reply thread answers them.

Another thread begins those with large messages: the choice of models for 1,024 long texts takes
0.3 s or more, in which no other call could be claimed. No thread here waits for a model. The future
of a call ends when its vectors exist, and all answers that are ready travel to Redis in one round
trip. The memory of the calls of a priority is limited by their bytes. Above the limit, accounts
with open calls get no further claims until some of these are answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from shared import service_clock, tracing
from shared.errors import DeadlineExceeded, MessageUndecodable, PigeonholeError, Unavailable
from shared.job_kinds import JOB_KINDS
from shared.messages import Call, Reply, decode, encode, failure_of
from shared.ports import Replies
from shared.telemetry import Log, bound
from shared.types import JobResult, Priority
from workers import metrics
from workers.futures import without_variables
from workers.work_context import WorkContext

log = Log("call")
_KEEP_S = 60.0  # an answer whose caller waits no more
_CRASHED = PigeonholeError("the worker failed on this request")
_MAX_OPEN_BYTES = 64 * 2**20
"""Of the messages of open calls: two of the largest bodies, or documents of ten million tokens."""
_FEW_BYTES = 64 * 2**10


class PendingResult(Protocol):
    """A request that was begun."""

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once, in any thread, when `answer` need not wait."""

    def answer(self) -> JobResult:
        """The result, or a PigeonholeError."""


Begin = Callable[[Any, WorkContext], PendingResult]
"""How a kind of calls is begun, without waiting for a model: as `ClassifyHandler.begin`."""

_Ready = tuple[Call, PendingResult | PigeonholeError, int, float, "tracing.Span | None"]
"""And the bytes of its message, when it began, on the monotonic clock, and its span."""


class SyncCalls:
    """Begins inline calls, by their kinds, and replies. `clock` gives seconds since 1970."""

    def __init__(
        self,
        begin: Mapping[str, Begin],
        replies: Replies,
        *,
        max_open_bytes: int = _MAX_OPEN_BYTES,
        clock: Callable[[], float] = service_clock.now,
        warmup_ms: Callable[[Any, float], int] = lambda *_: 0,
    ) -> None:
        self._warmup_ms = warmup_ms
        self._max_open_bytes = max_open_bytes
        self._begin = begin
        self._replies = replies
        self._clock = clock
        self._ready: SimpleQueue[_Ready | None] = SimpleQueue()
        self._open = 0
        self._open_bytes: dict[Priority, Counter[str]] = {each: Counter() for each in Priority}
        self._open_calls: dict[Priority, Counter[str]] = {each: Counter() for each in Priority}
        self._changed = threading.Condition()
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-calls")
        self._thread = threading.Thread(target=self._reply, name="replies", daemon=True)
        self._thread.start()

    def begin(self, message: bytes) -> None:
        """Start one call; whatever happens to it, its caller is answered."""
        size_bytes = len(message)
        try:
            call = decode(Call, message)
        except MessageUndecodable as exc:
            self._refuse(message, exc)
            return
        with self._changed:
            self._open += 1
            self._open_bytes[call.priority][call.account] += size_bytes
            self._open_calls[call.priority][call.account] += 1
        del message  # its texts and files are in the call now
        if size_bytes > _FEW_BYTES:
            self._large.submit(self._start, call, size_bytes)
        else:
            self._start(call, size_bytes)

    def _start(self, call: Call, size_bytes: int) -> None:
        """Begin a call, in the claiming thread or in that of large ones."""
        left_s, began = call.deadline - self._clock(), time.monotonic()
        span = self._span(call) if tracing.on() else None
        try:
            if left_s <= 0:
                raise DeadlineExceeded("the deadline had passed before a worker was free")
            begin = self._begin.get(call.body.kind)
            if begin is None:
                raise Unavailable(f"this worker runs {call.body.kind!r} as a job only")
            context = WorkContext(
                priority=call.priority,
                deadline=time.monotonic() + left_s,
                account=call.account,
                span=span,
            )
            pending = begin(call.body, context)
        except PigeonholeError as exc:
            without_variables(exc)
            self._ready.put((call, exc, size_bytes, began, span))
        except Exception as exc:  # noqa: BLE001  a bug must answer its caller, not hang it
            log.error("call.crashed", exc=exc, request_id=call.request_id)
            self._ready.put((call, _CRASHED, size_bytes, began, span))
        else:
            pending.when_ready(lambda: self._ready.put((call, pending, size_bytes, began, span)))

    def _span(self, call: Call) -> tracing.Span | None:
        """The span of a call, from here to its answer; the time on its queue was before."""
        attributes: dict[str, str | float] = {"pigeonhole.priority": call.priority.name.lower()}
        if call.sent_at is not None:
            attributes[tracing.QUEUE_WAIT] = max(0.0, self._clock() - call.sent_at)
        name = f"call {call.body.kind}"
        return tracing.begin(name, kind="consumer", parent=call.traceparent, attributes=attributes)

    def healthy(self) -> bool:
        """Whether the reply thread lives."""
        return self._thread.is_alive()

    def wait_for_room(self, *, priority: Priority, timeout_s: float) -> bool:
        """Wait until open calls of the priority and those above take less than their bound."""

        with self._changed:
            return self._changed.wait_for(
                lambda: self._taken(priority).total() < self._max_open_bytes, timeout_s
            )

    def full_accounts(self, priority: Priority) -> set[str]:
        """Accounts of which no more calls may be begun, for the memory that their open ones take.

        Short calls go on: those of an account without large ones take next to nothing.
        """
        with self._changed:
            taken = self._taken(priority)
        if taken.total() < self._max_open_bytes:
            return set()
        return {account for account, size in taken.items() if size > _FEW_BYTES}

    def accounts_with(self, calls: int, priority: Priority) -> set[str]:
        """Accounts that have so many open calls of the priority."""
        with self._changed:
            return {a for a, count in self._open_calls[priority].items() if count >= calls}

    def _taken(self, priority: Priority) -> Counter[str]:
        """Bytes of the open calls of each account, of the priority and those above."""
        counts = (count for of, count in self._open_bytes.items() if of <= priority)
        return sum(counts, Counter[str]())

    def settle(self, *, timeout_s: float) -> bool:
        """Wait until every call that was begun is answered; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, timeout_s)

    def close(self, *, timeout_s: float) -> None:
        """Answer what was begun, within the time, and end the thread."""
        self.settle(timeout_s=timeout_s)
        self._ready.put(None)
        self._thread.join(timeout_s)
        self._large.shutdown(wait=False, cancel_futures=True)

    def _reply(self) -> None:
        while self._reply_to_some():
            pass

    def _reply_to_some(self) -> bool:
        """Wait for calls that are ready and answer them; False once closed.

        Nothing of a call stays with the thread while it waits for the next one.
        """
        first = self._ready.get()
        if first is None:
            return False
        batch = [first]
        ended = False
        with suppress(Empty):
            while not ended:
                more = self._ready.get_nowait()
                if more is None:
                    ended = True
                else:
                    batch.append(more)
        answers = [
            (call.reply_to, encode(self._answer(call, work, began, span)))
            for call, work, _, began, span in batch
        ]
        try:
            self._replies.send(answers, keep_s=_KEEP_S)
        except Unavailable as exc:
            log.warning("reply.lost", count=len(answers), reason=exc.detail)
        with self._changed:
            self._open -= len(batch)
            for call, _, size_bytes, *_ in batch:
                self._open_bytes[call.priority] -= Counter({call.account: size_bytes})
                self._open_calls[call.priority] -= Counter({call.account: 1})
            self._changed.notify_all()
        return not ended

    def _answer(
        self,
        call: Call,
        work: PendingResult | PigeonholeError,
        began: float,
        span: tracing.Span | None,
    ) -> Reply[JobResult]:
        with bound(request_id=call.request_id):
            try:
                if isinstance(work, PigeonholeError):
                    raise work
                result = work.answer()
            except PigeonholeError as exc:
                without_variables(exc)  # it is kept by futures that this frame has
                log.info("call.refused", code=exc.code)
                tracing.end(span, error=exc.code)
                return Reply(failure=failure_of(exc))
            except Exception as exc:  # noqa: BLE001  one bad call must not end the loop for all
                log.error("call.crashed", exc=exc)
                tracing.end(span, error=type(exc).__name__)
                return Reply(failure=failure_of(_CRASHED))
            completed, failed = JOB_KINDS[call.body.kind].counts(call.body, result)
            metrics.call_answered(completed, failed, result.usage)
            log.info("call.done", items=completed + failed, tokens=result.usage.total_tokens)
            tracing.end(span)
            return Reply(result=result, warmup_ms=self._warmup_ms(call.body, began))

    def _refuse(self, message: bytes, error: MessageUndecodable) -> None:
        """Answer a message that is not of a schema we know, if it says at least to whom."""
        log.error("call.undecodable", reason=error.detail, size_bytes=len(message))
        try:
            reply_to = json.loads(message)["reply_to"]
        except (ValueError, KeyError, TypeError):
            return
        try:
            answer = encode(Reply(failure=failure_of(error)))
            self._replies.send([(str(reply_to), answer)], keep_s=_KEEP_S)
        except Unavailable as exc:
            log.warning("reply.lost", count=1, reason=exc.detail)
