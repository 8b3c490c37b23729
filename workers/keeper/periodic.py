"""Periodic chores: slow actions that a loop starts when they are due and does not wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.errors import Unavailable
from shared.telemetry import Log

log = Log("chore")


class Chore:
    """Runs an action in a thread every `every_s` seconds, at most one run at a time.

    An outage or a bug ends one run, not the chore: the next run starts after `retry_s`.
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
        """Make the chore due now."""
        with self._lock:
            self._due_at = 0.0

    def start_if_due(self) -> None:
        """Start a run if the chore is due and not running."""
        with self._lock:
            now = time.monotonic()
            if now < self._due_at or (self._thread is not None and self._thread.is_alive()):
                return
            self._due_at = now + self._every_s
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, *, timeout_s: float) -> None:
        """Wait until the current run ends, at most `timeout_s`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._action()
        except Exception as exc:  # noqa: BLE001  the next run repeats it
            if isinstance(exc, Unavailable):
                log.warning("chore.put_off", chore=self._name, reason=exc.detail)
            else:
                log.error("chore.failed", chore=self._name, exc=exc)
            with self._lock:
                self._due_at = min(self._due_at, time.monotonic() + self._retry_s)
