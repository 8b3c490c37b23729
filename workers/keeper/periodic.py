"""Something slow that a loop starts when it is due and never waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.errors import Unavailable
from shared.telemetry import Log

log = Log("chore")


class Chore:
    """One action in a thread of its own, at most once at a time, every `every_s`.

    An outage or a bug ends one run, not the chore: it is tried again after `retry_s`.
    """

    def __init__(
        self, name: str, action: Callable[[], object], *, every_s: float, retry_s: float = 5.0
    ) -> None:
        self._name = name
        self._action = action
        self._every_s = every_s
        self._retry_s = retry_s
        self._due_at = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def hurry(self) -> None:
        """Let it be due now."""
        with self._lock:
            self._due_at = 0.0

    def start_if_due(self) -> None:
        """Start it unless it runs or is not due."""
        with self._lock:
            now = time.monotonic()
            if now < self._due_at or (self._thread is not None and self._thread.is_alive()):
                return
            self._due_at = now + self._every_s
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, *, timeout_s: float) -> None:
        """Wait until it does not run."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._action()
        except Exception as exc:  # noqa: BLE001  what it could not do is done the next time
            if isinstance(exc, Unavailable):
                log.warning("chore.put_off", chore=self._name, reason=exc.detail)
            else:
                log.error("chore.failed", chore=self._name, exc=exc)
            with self._lock:
                self._due_at = min(self._due_at, time.monotonic() + self._retry_s)
