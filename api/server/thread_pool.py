"""The threads in which the application runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from shared.telemetry import Log

log = Log("threads")


class ThreadPool:
    """Runs functions in at most `max_threads` daemon threads, started when they are needed.

    Args:
        name: Of the threads.
        max_threads: Functions that run at once.
        max_queued_calls: Functions that may wait for a thread.
    """

    def __init__(self, name: str, *, max_threads: int, max_queued_calls: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._max_waiting = max_queued_calls
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._since: deque[float] = deque()  # when each function in the queue began to wait
        self._threads = 0
        self._idle = 0

    def submit(self, function: Callable[[], None], *, bounded: bool = True) -> bool:
        """Run a function as soon as a thread is free.

        Args:
            function: Raises nothing.
            bounded: Whether it is refused where too many wait.

        Returns:
            Whether it will run.
        """
        with self._lock:
            free = self._idle + self._max_threads - self._threads
            if bounded and len(self._since) >= free + self._max_waiting:
                return False
            self._since.append(time.monotonic())
            start = len(self._since) > self._idle and self._threads < self._max_threads
            self._threads += start
            self._queue.put(function)
        if start:
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return True

    @property
    def max_wait_s(self) -> float:
        """How long the function has waited that is next."""
        with self._lock:
            return time.monotonic() - self._since[0] if self._since else 0.0

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            function = self._queue.get()
            with self._lock:
                self._idle -= 1
                self._since.popleft()
            try:
                function()
            except BaseException as exc:  # noqa: BLE001  the thread serves the next
                log.error("threads.failed", exc=exc)
            del function
