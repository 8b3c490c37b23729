"""The consumer: claims and runs the work of a queue after a `drain` doorbell.

At most one thread of the process consumes a queue: it claims work while there is work and capacity,
waits a moment for more, and ends. Work waits in the ledger, not in the process, so that a free
worker can claim it. The consumer claims no more of an account than the next few forward passes hold
(backpressure, `workers.claim_capacity`). While an account is at that limit, the consumer polls for
the work of other accounts every 20 ms and does not count as a consumer of the queue: the work that
it skips is for other workers.

The number of concurrent tasks is limited. Beyond the limit, one more task runs for each account
that has none in this process, so that long tasks of one account never occupy all slots.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import BrokerUnavailable
from shared.ports import Claim, Ledger
from shared.telemetry import Log

log = Log("drain")
_CALLS = 64  # maximum number of calls per claim
_LINGER_S = 1.0  # how long an idle consumer waits for work before it ends
_ROOM_WAIT_S = 0.5
_LOOK_AGAIN_S = 0.02  # polling interval while an account is at its limit


class CapacityPort(Protocol):
    """The interface of `workers.claim_capacity`."""

    def full_accounts(self, queue: str) -> Collection[str]:
        """Accounts at their limit, except for short calls."""

    def closed_accounts(self, queue: str) -> Collection[str]:
        """Accounts at their limit of short calls, too."""

    def wait(self, queue: str, wait_s: float) -> bool:
        """Wait until the process has capacity for the queue; False after `wait_s`."""

    def wait_for_less(self, queue: str, wait_s: float) -> None:
        """Wait until less work of the queue's model waits in the process, at most `wait_s`."""


@dataclass(kw_only=True)
class Consumer:
    """Consumes queues."""

    ledger: Ledger
    worker: str
    begin_call: Callable[[bytes], None]
    run_part: Callable[[Claim], None]
    room: CapacityPort
    stopping: threading.Event
    lease_s: float
    queues: int = 5  # maximum number of concurrent queues
    parts_at_once: int = 4  # per queue; as many more for accounts without a task here
    _attended: dict[str, float] = field(default_factory=dict)  # queue -> time of the last claim
    _slots: dict[str, threading.Semaphore] = field(default_factory=dict)
    _running: dict[str, Counter[str]] = field(default_factory=dict)  # queue -> tasks of accounts
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _no_parts: bool = False
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(
            max_workers=self.queues * self.parts_at_once * 2, thread_name_prefix="part"
        )

    def attend(self, queue: str) -> None:
        """Consume a queue until it is empty; returns at once if another thread consumes it."""
        with self._lock:
            if queue in self._attended:
                return
            self._attended[queue] = time.monotonic()
        try:
            self._claim_all(queue)
        except BrokerUnavailable as exc:
            log.warning("drain.interrupted", queue=queue, reason=exc.detail)
        finally:
            with self._lock:
                del self._attended[queue]

    def attends(self, queue: str) -> bool:
        """Whether a thread of this process consumes the queue."""
        return queue in self._attended

    def finish_parts(self, *, timeout_s: float) -> bool:
        """Claim only calls from now on, and wait for the running parts; False after `timeout_s`."""
        with self._changed:
            self._no_parts = True
            return self._changed.wait_for(lambda: not any(self._running.values()), timeout_s)

    def close(self, *, timeout_s: float) -> bool:
        """Wait for the running tasks; False if some still run after `timeout_s`."""
        ended = threading.Event()

        def wait() -> None:
            self._pool.shutdown(wait=True)
            ended.set()

        threading.Thread(target=wait, name="drain-close", daemon=True).start()
        return ended.wait(timeout_s)

    def _claim_all(self, queue: str) -> None:
        slots = self._slots.setdefault(queue, threading.Semaphore(self.parts_at_once))
        self._running.setdefault(queue, Counter())
        idle = False
        while not self.stopping.is_set():
            if not self.room.wait(queue, _ROOM_WAIT_S):
                continue
            full = self.room.full_accounts(queue)
            free = 0 if self._no_parts else _acquire(slots, self.parts_at_once)
            try:
                claimed = self.ledger.claim(
                    queue,
                    None if full else self.worker,
                    calls=_CALLS,
                    parts=free,
                    lease_s=self.lease_s,
                    leaving=idle,
                    pass_over=self.room.closed_accounts(queue) if full else (),
                    short_only=full,
                )
            except BrokerUnavailable:
                _release(slots, free)
                raise
            _release(slots, free - len(claimed.claims))
            for claim in claimed.claims:
                self._count(queue, claim, 1)
                self._pool.submit(self._run_slot, queue, claim, slots)
            if free == 0 and not self._no_parts:
                self._claim_beyond(queue, full)
            for message in claimed.messages:
                self.begin_call(message)
            if claimed:
                idle = False
            elif full:
                self.room.wait_for_less(queue, _LOOK_AGAIN_S)
            elif idle:
                return
            else:
                idle = not self.ledger.wait_for_work(queue, timeout_s=_LINGER_S)
        self.ledger.claim(
            queue, self.worker, calls=0, parts=0, lease_s=self.lease_s, leaving=True
        )  # so that the next doorbell goes to another worker at once

    def _claim_beyond(self, queue: str, full: Collection[str]) -> None:
        """If all slots are in use, start one more task of an account without one here."""
        with self._changed:
            running = self._running[queue].copy()
        if running.total() >= 2 * self.parts_at_once:
            return
        claimed = self.ledger.claim(
            queue, None, calls=0, parts=1, lease_s=self.lease_s, pass_over={*full, *running}
        )
        for claim in claimed.claims:
            self._count(queue, claim, 1)
            self._pool.submit(self._run_one, queue, claim)

    def _run_one(self, queue: str, claim: Claim) -> None:
        try:
            self.run_part(claim)
        except BrokerUnavailable as exc:
            log.warning("drain.interrupted", queue=queue, reason=exc.detail)
        finally:
            self._count(queue, claim, -1)

    def _count(self, queue: str, claim: Claim, change: int) -> None:
        with self._changed:
            running = self._running[queue]
            running[claim.account] += change
            if not running[claim.account]:
                del running[claim.account]
                self._changed.notify_all()

    def _run_slot(self, queue: str, claim: Claim, slots: threading.Semaphore) -> None:
        """Run tasks one after another until the queue is empty."""
        try:
            claims: tuple[Claim, ...] = (claim,)
            while claims:
                claims = self._run_then_claim(queue, claims[0])
        except BrokerUnavailable as exc:
            log.warning("drain.interrupted", queue=queue, reason=exc.detail)
        finally:
            slots.release()

    def _run_then_claim(self, queue: str, claim: Claim) -> tuple[Claim, ...]:
        """Run a task and claim the next one, which is counted before this one ends."""
        try:
            self.run_part(claim)
            if self.stopping.is_set() or self._no_parts:
                return ()
            claims = self.ledger.claim(queue, None, calls=0, parts=1, lease_s=self.lease_s).claims
            for each in claims:
                self._count(queue, each, 1)
            return claims
        finally:
            self._count(queue, claim, -1)


def _acquire(slots: threading.Semaphore, most: int) -> int:
    """Acquire free slots, up to `most`."""
    count = 0
    while count < most and slots.acquire(blocking=False):
        count += 1
    return count


def _release(slots: threading.Semaphore, count: int) -> None:
    if count > 0:
        slots.release(count)
