"""Memory of this process: how much it is, giving back what is free, and what becomes of too much.

Decides when free memory goes back to the system, and when a worker has grown so large that it is
to be replaced. Why it has grown does not matter: what libraries keep, fragments of the heap, a
fault of ours. How a worker ends without losing work is `workers.main`'s.

glibc keeps what was freed for its next use, in a heap for each few threads: after 24 documents of
a million tokens at once a worker held 560 MB more than before them. With two heaps, and what is
free given back every few seconds, it is 30 MB.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from shared.telemetry import Log

log = Log("memory")
_TICK_S = 1.0
_TRIM_EVERY_S = 10.0
_TRIM_STEP_BYTES = 16 * 2**20
_ABOVE_S = 3.0  # above the bound although free memory was given back: no single large request
_SHARE_OF_CONTAINER = 0.8  # the rest is for the children that read files
_MIN_ROOM = 1.1  # a bound below what a fresh worker takes times this would replace it for ever
_M_ARENA_MAX = -8  # of malloc.h
_ARENAS = 2
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of version 2, of version 1


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_heaps() -> None:
    """Let glibc keep two heaps, not eight for each core; elsewhere nothing. Call it first."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Give free memory back to the system, where glibc can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def bound_of(setting_bytes: int, *, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """What a worker may take: the setting, else a share of the container's limit, else 0 (any)."""
    if setting_bytes:
        return setting_bytes
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            limit = int((cgroup / name).read_text())
            if limit < physical:
                return int(limit * _SHARE_OF_CONTAINER)
    return 0


@dataclass(kw_only=True)
class MemoryGuard:
    """One thread. `on_full` is called once, in that thread, when the process is above its bound.

    Args:
        max_bytes: 0 is no bound.
        on_full: has the process replaced; it may take its time.
    """

    max_bytes: int
    on_full: Callable[[], object]
    rss_bytes: Callable[[], int] = rss_bytes
    trim: Callable[[], object] = trim
    clock: Callable[[], float] = time.monotonic
    full: bool = False
    _low_bytes: int = 0  # after the last time that free memory went back
    _trimmed_at: float = float("-inf")
    _above_since: float | None = None
    _closing: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self.measure_fresh()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def measure_fresh(self) -> None:
        """What the process takes now is what a fresh one takes: a bound below that is raised."""
        fresh_bytes = self.rss_bytes()
        if 0 < self.max_bytes < fresh_bytes * _MIN_ROOM:
            raised_bytes = int(fresh_bytes * _MIN_ROOM)
            log.warning(
                "memory.bound_too_low",
                max_bytes=self.max_bytes,
                fresh_bytes=fresh_bytes,
                used_bytes=raised_bytes,
            )
            self.max_bytes = raised_bytes
        self._low_bytes = fresh_bytes

    def healthy(self) -> bool:
        """Whether the thread lives."""
        return self._thread is None or self._thread.is_alive() or self.full

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()

    def look(self) -> bool:
        """Give back what is free, if there may be much of it; whether the process is full."""
        now_bytes = self.rss_bytes()
        above = 0 < self.max_bytes < now_bytes
        due = self.clock() - self._trimmed_at >= _TRIM_EVERY_S
        if above or (due and now_bytes > self._low_bytes + _TRIM_STEP_BYTES):
            self.trim()
            self._trimmed_at = self.clock()
            now_bytes = self.rss_bytes()
            self._low_bytes = min(self._low_bytes, now_bytes)
        if not 0 < self.max_bytes < now_bytes:
            self._above_since = None
            return False
        if self._above_since is None:
            self._above_since = self.clock()
        return self.clock() - self._above_since >= _ABOVE_S

    def _watch(self) -> None:
        while not self._closing.wait(_TICK_S):
            if self.look():
                self.full = True
                log.warning("memory.full", max_bytes=self.max_bytes, rss_bytes=self.rss_bytes())
                self.on_full()
                return
