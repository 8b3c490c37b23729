"""A cache of small records of the object store, which outlives a short outage of the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.errors import Unavailable

_R = TypeVar("_R")

_STALE_S = 600.0  # how long a record is used while the store is unavailable
_MAX_RECORDS = 10_000


class RecordCache(Generic[_R]):
    """Records by name, read again after `keep_s`. Reads that find nothing are cached, too.

    Args:
        read: Reads a record; None if there is none.
        keep_s: How long a record is used. A change takes effect within this time.
        clock: Seconds since 1970.
    """

    def __init__(
        self, read: Callable[[str], _R | None], *, keep_s: float, clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[str, tuple[_R | None, float]] = {}

    def get(self, name: str) -> _R | None:
        """The record.

        Raises:
            Unavailable: The store is unavailable, and no record is cached.
        """
        known = self._records.get(name)
        age = self._clock() - known[1] if known else float("inf")
        if known and 0 <= age <= self._keep_s:  # below 0: the clock was set back
            return known[0]
        try:
            record = self._read(name)
        except Unavailable:
            if known and known[0] is not None and age <= _STALE_S:
                return known[0]
            raise
        with self._lock:
            if len(self._records) >= _MAX_RECORDS:
                # Guessed names must neither fill the memory nor evict records that exist.
                self._records = {n: r for n, r in self._records.items() if r[0] is not None}
                if len(self._records) >= _MAX_RECORDS:
                    self._records.clear()
            self._records[name] = (record, self._clock())
        return record
