"""Actions that wait for strangers: a few at a time, of one stranger fewer, each stranger in turn.

Whoever is slow holds up to his share of the threads, and those behind him are passed on the way.
What an action does, and when it is added, is not decided here.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from shared.telemetry import Log

log = Log("turns")

Action = Callable[[], object]


class KeyedExecutor:
    """Runs actions in threads of its own, which end when nothing waits. Any thread may add some.

    The threads do not keep the process alive: an action must be such that it may be cut off.
    """

    def __init__(self, name: str, *, at_once: int, per_key: int) -> None:
        """Run nothing yet.

        Args:
            name: of the threads.
            at_once: most actions under way.
            per_key: most of them with one key.
        """
        self._name = name
        self._at_once = at_once
        self._per_key = per_key
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[Action]] = OrderedDict()  # by key, in turn
        self._running: Counter[str] = Counter()  # by key; none is 0
        self._closed = False

    def add(self, key: str, action: Action) -> None:
        """Run it when it is its key's turn; it says itself how it ended."""
        with self._lock:
            if self._closed:
                return
            self._waiting.setdefault(key, deque()).append(action)
            while self._running.total() < self._at_once and (taken := self._take()):
                threading.Thread(target=self._run, args=taken, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def _take(self) -> tuple[str, Action] | None:
        """The next action whose key has not its share under way; the lock is held."""
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
            except Exception as exc:  # noqa: BLE001  the next one is another's
                log.error("turn.crashed", turns=self._name, exc=exc)
            with self._lock:
                self._running[key] -= 1
                if not self._running[key]:
                    del self._running[key]
                taken = self._take()
            if taken is None:
                return
            key, action = taken
