"""Concurrency limits for outbound requests: in total and per host, with round robin over hosts.

A slow host occupies at most its share of the threads (a bulkhead); actions for other hosts overtake
those that wait for it. Callers decide what an action does and when it is added.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from shared.telemetry import Log

log = Log("host_executor")

Action = Callable[[], object]


class KeyedExecutor:
    """Runs actions in its own threads, which end when no action waits. It is thread-safe.

    The threads are daemons: the end of the process may interrupt an action.
    """

    def __init__(self, name: str, *, at_once: int, per_key: int) -> None:
        """Create an idle executor.

        Args:
            name: the name of its threads.
            at_once: maximum number of actions in flight.
            per_key: maximum number of actions in flight with the same key.
        """
        self._name = name
        self._at_once = at_once
        self._per_key = per_key
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[Action]] = (
            OrderedDict()
        )  # by key, in round-robin order
        self._running: Counter[str] = Counter()  # in flight by key; no zeros
        self._closed = False

    def add(self, key: str, action: Action) -> None:
        """Queue an action. It handles its own errors."""
        with self._lock:
            if self._closed:
                return
            self._waiting.setdefault(key, deque()).append(action)
            while self._running.total() < self._at_once and (item := self._next()):
                threading.Thread(target=self._run, args=item, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Drop the waiting actions and start no more."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def _next(self) -> tuple[str, Action] | None:
        """Remove the next action whose key is below its limit. The caller holds the lock."""
        ready = (key for key in self._waiting if self._running[key] < self._per_key)
        key = next(ready, None)
        if key is None:
            return None
        action = self._waiting[key].popleft()
        if self._waiting[key]:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        self._running[key] += 1
        return key, action

    def _run(self, key: str, action: Action) -> None:
        while True:
            try:
                action()
            except Exception as exc:  # noqa: BLE001  other actions must still run
                log.error("executor.action_failed", executor=self._name, exc=exc)
            with self._lock:
                self._running[key] -= 1
                if not self._running[key]:
                    del self._running[key]
                item = self._next()
            if item is None:
                return
            key, action = item
