"""Keeps the leases of running tasks alive, and stops a task whose lease or job is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from shared.errors import BrokerUnavailable, LeaseLost
from shared.ports import Claim, Ledger
from shared.telemetry import Log

log = Log("leases")


class Lease:
    """A lease while its task runs. `abandoned`: the job was cancelled or has failed elsewhere."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.abandoned = False
        self._stop: Callable[[], object] = lambda: None
        self._ended = False
        self._lock = threading.Lock()

    def on_end(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the lease ends early; at once if it already has."""
        with self._lock:
            self._stop = stop
            ended = self._ended
        if ended:
            stop()

    def check(self) -> None:
        """Stop here if the lease has ended: what comes next cannot be taken back.

        Raises:
            CancelledError: It has.
        """
        if self._ended:
            raise CancelledError

    def end(self, *, abandoned: bool) -> None:
        """The lease is gone."""
        with self._lock:
            self.abandoned = abandoned
            self._ended = True
            stop = self._stop
        stop()


class Leases:
    """One thread that beats for every held claim, several times within a lease."""

    def __init__(self, ledger: Ledger, *, lease_s: float) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._holds: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def held(self, claim: Claim) -> Iterator[Lease]:
        """Keep the claim's lease while the block runs."""
        hold = Lease(claim)
        with self._lock:
            self._holds[claim.token] = hold
        try:
            yield hold
        finally:
            with self._lock:
                del self._holds[claim.token]

    def end_all(self) -> None:
        """Stop every running task, so that it is given back now and not after its lease."""
        with self._lock:
            holds = list(self._holds.values())
        for hold in holds:
            hold.end(abandoned=False)

    def healthy(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop beating."""
        self._closing.set()
        self._thread.join(5)

    def _beat(self) -> None:
        period_s = min(1.0, self._lease_s / 4)
        while not self._closing.wait(period_s):
            with self._lock:
                holds = list(self._holds.values())
            for hold in holds:
                try:
                    if not self._ledger.heartbeat(hold.claim, lease_s=self._lease_s):
                        hold.end(abandoned=True)
                except LeaseLost:
                    hold.end(abandoned=False)
                except BrokerUnavailable as exc:
                    log.warning("lease.not_beaten", reason=exc.detail)
                    break
