"""The watchdog: ends the process when it cannot work any more, and reports that it is alive.

Threads cannot be killed. After a hung forward pass, a dead thread, or a loss of the broker after
which no doorbells arrive, the process exits: its leases expire and the supervisor restarts it. The
watchdog also sends the worker's report to the ledger.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.errors import BrokerUnavailable
from shared.ports import Ledger
from shared.telemetry import Log

log = Log("watchdog")
_TICK_S = 1.0
_LOAD_LIMIT_S = 900.0
"""Of loading an idle model again: 10 GB from a network volume of 20 MB/s take 500 s."""
_STILL_S = 30.0  # a tick waits for Redis, at most some seconds
_REPORT_TTL_S = 8.0
_REPLACE_S = 60.0  # for the start of the replacement: 5 to 20 s on an idle machine
_DEAF_S = 12.0  # work waits this long without a doorbell, although they are rung each second
EXIT_UNFIT = 70
EXIT_FULL = 75  # above its memory limit; nothing failed, and a replacement must start


@dataclass(frozen=True, kw_only=True)
class WatchedState:
    """The state that the watchdog checks."""

    healthy: Callable[[], bool]
    stalled_s: Callable[[], float]
    loading_s: Callable[[], float]
    attends: Callable[[str], bool]


@dataclass(kw_only=True)
class Watchdog:
    """The watchdog thread; `exit` ends the process at once."""

    ledger: Ledger
    role: str
    member: str
    report: Callable[[], bytes]
    queues: Sequence[str]
    watched: WatchedState
    forward_pass_limit_s: float
    exit: Callable[[int], object] = os._exit
    _closing: threading.Event = field(default_factory=threading.Event)
    _deaf_since: dict[str, float] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _ticked_at: float = float("-inf")

    def start(self) -> None:
        """Start the thread; the worker counts as alive from now on."""
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether the worker has started and the thread goes round; for the probes of a container.

        A worker that is unfit ends by itself. This tells of one whose watchdog stands still.
        """
        return time.monotonic() - self._ticked_at < _STILL_S

    def close(self, *, replaced: bool = False) -> None:
        """Stop the thread and remove the worker from the list of live workers.

        A worker that is being replaced stays on the list while its replacement starts, so that
        calls wait for it; they would be refused if no worker were alive.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join(5)
        try:
            if replaced:
                self.ledger.report(self.role, self.member, self.report(), ttl_s=_REPLACE_S)
            else:
                self.ledger.report(self.role, self.member, b"", ttl_s=0)
        except BrokerUnavailable as exc:
            log.warning("watchdog.no_goodbye", reason=exc.detail)

    def _watch(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            try:
                reason = self._fault()
            except Exception as exc:  # noqa: BLE001  a worker must not run without a watchdog
                reason = f"the watchdog failed: {type(exc).__name__}"
            if reason is not None:
                log.error("watchdog.leaving", reason=reason)
                self.exit(EXIT_UNFIT)
                return
            if self._closing.wait(_TICK_S):
                return

    def _fault(self) -> str | None:
        """The reason to end the process, or None."""
        if not self.watched.healthy():
            return "a thread has died"
        if self.watched.stalled_s() > self.forward_pass_limit_s:
            return f"a forward pass takes longer than {self.forward_pass_limit_s:g} s"
        if self.watched.loading_s() > _LOAD_LIMIT_S:
            return f"loading a model takes longer than {_LOAD_LIMIT_S:g} s"
        try:
            self.ledger.report(self.role, self.member, self.report(), ttl_s=_REPORT_TTL_S)
            return self._deaf()
        except BrokerUnavailable as exc:
            self._deaf_since.clear()
            log.warning("watchdog.no_broker", reason=exc.detail)
            return None

    def _deaf(self) -> str | None:
        now = time.monotonic()
        for queue in self.queues:
            if self.watched.attends(queue) or not self.ledger.waiting(queue):
                self._deaf_since.pop(queue, None)
            elif now - self._deaf_since.setdefault(queue, now) > _DEAF_S:
                return f"work has waited {_DEAF_S:g} s in {queue} without a doorbell"
        return None
