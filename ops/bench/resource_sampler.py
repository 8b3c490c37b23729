"""What the service takes while it works: looked at twice a second, from outside."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_EVERY_S = 0.5
_STOP_LIMIT_S = 30.0

Look = Callable[[], dict[str, float]]
"""Gives numbers by name; always the same names."""


@dataclass(kw_only=True)
class Samples:
    """What was seen of each name, in the order of time."""

    series: dict[str, list[float]] = field(default_factory=dict)

    def peak(self, name: str) -> float:
        """The largest."""
        return max(self.series[name])

    def growth(self, name: str) -> float:
        """From the second quarter of the time to the last one, by their medians."""
        seen = self.series[name]
        quarter = max(1, len(seen) // 4)
        return statistics.median(seen[-quarter:]) - statistics.median(seen[quarter : 2 * quarter])


@contextmanager
def watching(look: Look) -> Iterator[Samples]:
    """Look on while the block runs; once before it, and once at its end.

    Raises:
        Exception: What looking raised, at the end of the block.
    """
    seen, over = Samples(), threading.Event()
    failed: list[BaseException] = []

    def once() -> None:
        for name, value in look().items():
            seen.series.setdefault(name, []).append(value)

    def watch() -> None:
        try:
            while not over.wait(_EVERY_S):
                once()
        except Exception as exc:  # noqa: BLE001  raised again by who started the thread
            failed.append(exc)

    once()
    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(_STOP_LIMIT_S)
    if failed:
        raise failed[0]
    once()
