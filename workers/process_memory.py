"""Process memory: measures it, returns free memory to the system, and replaces a large worker.

A worker above its limit is replaced, whatever the cause: caches of libraries, heap fragmentation,
or a leak of ours. `workers.main` ends such a worker without losing work.

glibc keeps freed memory for reuse, in several heaps: after 24 concurrent documents of a million
tokens a worker held 560 MB more than before. With two heaps, and free memory returned every few
seconds, it is 30 MB.
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
_ABOVE_S = 3.0  # above the limit for this long after trimming: not a single large request
_SHARE_OF_CONTAINER = 0.8  # the rest is for the sandbox processes
_MIN_ROOM = 1.1  # times the memory of a fresh worker: a lower limit would replace workers for ever
_M_ARENA_MAX = -8  # of malloc.h
_ARENAS = 2
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of version 2, of version 1


def rss_bytes() -> int:
    """Resident memory of this process; 0 if it is not available."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_heaps() -> None:
    """Limit glibc to two heaps instead of eight per core. Call it first."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Return free memory to the system, with glibc only."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def bound_of(setting_bytes: int, *, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The memory limit: the setting, or a share of the container's limit, or 0 (none)."""
    if setting_bytes:
        return setting_bytes
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # the file is missing, or holds "max"
            limit = int((cgroup / name).read_text())
            if limit < physical:
                return int(limit * _SHARE_OF_CONTAINER)
    return 0


@dataclass(kw_only=True)
class MemoryGuard:
    """A thread that calls `on_full` once, in that thread, when the process exceeds its limit.

    Args:
        max_bytes: the limit; 0: none.
        on_full: starts the replacement of the process; it may block.
    """

    max_bytes: int
    on_full: Callable[[], object]
    rss_bytes: Callable[[], int] = rss_bytes
    trim: Callable[[], object] = trim
    clock: Callable[[], float] = time.monotonic
    full: bool = False
    _low_bytes: int = 0  # after the last trim
    _trimmed_at: float = float("-inf")
    _above_since: float | None = None
    _closing: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self.measure_fresh()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def measure_fresh(self) -> None:
        """Measure the memory of the fresh process; raise a limit below it."""
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
        """Whether the thread is alive."""
        return self._thread is None or self._thread.is_alive() or self.full

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()

    def look(self) -> bool:
        """Trim if much memory may be free; returns whether the process exceeds its limit."""
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
