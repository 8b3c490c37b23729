"""Leases: renews those of running tasks, and stops a task that lost its lease or its job."""

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
    """The lease of a running task. `abandoned`: the job was cancelled or failed elsewhere."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.abandoned = False
        self._stop: Callable[[], object] = lambda: None
        self._ended = False
        self._lock = threading.Lock()

    def on_end(self, stop: Callable[[], object]) -> None:
        """Set the callback for an early end of the lease; it is called at once if it has ended."""
        with self._lock:
            self._stop = stop
            ended = self._ended
        if ended:
            stop()

    def check(self) -> None:
        """Raise if the lease has ended. Call it before a step that cannot be undone.

        Raises:
            CancelledError: The lease has ended.
        """
        if self._ended:
            raise CancelledError

    def end(self, *, abandoned: bool) -> None:
        """End the lease and call the callback."""
        with self._lock:
            self.abandoned = abandoned
            self._ended = True
            stop = self._stop
        stop()


class Leases:
    """A thread that renews the lease of every running task, several times per lease time."""

    def __init__(self, ledger: Ledger, *, lease_s: float) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._active: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def held(self, claim: Claim) -> Iterator[Lease]:
        """Renew the lease of a claim while the block runs."""
        lease = Lease(claim)
        with self._lock:
            self._active[claim.token] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._active[claim.token]

    def end_all(self) -> None:
        """Stop every running task, so that it is requeued now and not after its lease."""
        with self._lock:
            leases = list(self._active.values())
        for lease in leases:
            lease.end(abandoned=False)

    def healthy(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop renewing."""
        self._closing.set()
        self._thread.join(5)

    def _beat(self) -> None:
        period_s = min(1.0, self._lease_s / 4)
        while not self._closing.wait(period_s):
            with self._lock:
                leases = list(self._active.values())
            for lease in leases:
                try:
                    if not self._ledger.heartbeat(lease.claim, lease_s=self._lease_s):
                        lease.end(abandoned=True)
                except LeaseLost:
                    lease.end(abandoned=False)
                except BrokerUnavailable as exc:
                    log.warning("lease.not_beaten", reason=exc.detail)
                    break
