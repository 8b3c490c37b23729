"""Claiming: what one `drain` doorbell sets off in this process.

A queue is attended by at most one thread of the process: it claims while there is work and room for
it, lingers a moment for more, and leaves. Work waits in the ledger, not here, so that a free worker
can have it; the claimer takes no more than the next few forward passes can hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from shared.errors import BrokerUnavailable
from shared.ports import Claim, Ledger
from shared.telemetry import Log

log = Log("drain")
_CALLS = 64  # inline messages of one claim
_LINGER_S = 1.0  # how long an idle attendant waits for the next call before it leaves
_ROOM_WAIT_S = 0.5


@dataclass(kw_only=True)
class Drain:
    """Attends queues. `room(queue, s)` waits until the models could do with more of the queue."""

    ledger: Ledger
    worker: str
    begin_call: Callable[[bytes], None]
    run_part: Callable[[Claim], None]
    room: Callable[[str, float], bool]
    stopping: threading.Event
    lease_s: float
    queues: int = 5  # that may be attended at once
    parts_at_once: int = 4  # of each
    _attended: dict[str, float] = field(default_factory=dict)  # queue -> time of the last claim
    _slots: dict[str, threading.Semaphore] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: int = 0  # parts
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _no_parts: bool = False
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(
            max_workers=self.queues * self.parts_at_once, thread_name_prefix="part"
        )

    def attend(self, queue: str) -> None:
        """Claim the queue's work until there is none; returns at once if that is being done."""
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
        """Whether a thread of this process is at the queue."""
        return queue in self._attended

    def finish_parts(self, *, timeout_s: float) -> bool:
        """Claim calls only from now on, and wait for the running parts; False if time is over."""
        with self._changed:
            self._no_parts = True
            return self._changed.wait_for(lambda: not self._running, timeout_s)

    def close(self, *, timeout_s: float) -> bool:
        """Wait for the running tasks; False if some still run when the time is over."""
        ended = threading.Event()

        def wait() -> None:
            self._pool.shutdown(wait=True)
            ended.set()

        threading.Thread(target=wait, name="drain-close", daemon=True).start()
        return ended.wait(timeout_s)

    def _claim_all(self, queue: str) -> None:
        slots = self._slots.setdefault(queue, threading.Semaphore(self.parts_at_once))
        idle = False
        while not self.stopping.is_set():
            if not self.room(queue, _ROOM_WAIT_S):
                continue
            free = 0 if self._no_parts else _acquire(slots, self.parts_at_once)
            try:
                taken = self.ledger.claim(
                    queue, self.worker, calls=_CALLS, parts=free, lease_s=self.lease_s, leaving=idle
                )
            except BrokerUnavailable:
                _release(slots, free)
                raise
            _release(slots, free - len(taken.claims))
            for claim in taken.claims:
                with self._changed:
                    self._running += 1
                self._pool.submit(self._run_slot, queue, claim, slots)
            for message in taken.messages:
                self.begin_call(message)
            if taken:
                idle = False
            elif idle:
                return
            else:
                idle = not self.ledger.linger(queue, timeout_s=_LINGER_S)
        self.ledger.claim(
            queue, self.worker, calls=0, parts=0, lease_s=self.lease_s, leaving=True
        )  # so that the next bell is rung for another worker at once

    def _run_slot(self, queue: str, claim: Claim, slots: threading.Semaphore) -> None:
        """Run one task after another until the queue has none."""
        try:
            claims: tuple[Claim, ...] = (claim,)
            while claims:
                self.run_part(claims[0])
                if self.stopping.is_set() or self._no_parts:
                    break
                claims = self.ledger.claim(
                    queue, None, calls=0, parts=1, lease_s=self.lease_s
                ).claims
        except BrokerUnavailable as exc:
            log.warning("drain.interrupted", queue=queue, reason=exc.detail)
        finally:
            slots.release()
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


def _acquire(slots: threading.Semaphore, most: int) -> int:
    """Take free slots, up to `most`."""
    count = 0
    while count < most and slots.acquire(blocking=False):
        count += 1
    return count


def _release(slots: threading.Semaphore, count: int) -> None:
    if count > 0:
        slots.release(count)
