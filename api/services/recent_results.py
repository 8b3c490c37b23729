"""The result cache in the memory of an API process: entries that it has read or written lately.

A hit without Redis takes half the time. An entry stays for at most `KEPT_S`, and no longer than it
lives in Redis, so the keys and the lifetimes are those of `shared.classify_cache`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.byte_cache import OVERHEAD_BYTES, ByteCache
from shared.result_cache import CachedEntry, ResultCache

_MAX_BYTES = 16 * 2**20
KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Recent:
    """An entry as it was at a time of the clock."""

    entry: CachedEntry
    at: float

    def entry_at(self, now: float) -> CachedEntry | None:
        """The entry as it is now; None if it must be read again."""
        passed_s = now - self.at
        if passed_s >= min(self.entry.left_s, KEPT_S):
            return None
        age_s, left_s = self.entry.age_s + passed_s, self.entry.left_s - passed_s
        return CachedEntry(data=self.entry.data, age_s=age_s, left_s=left_s)


class RecentResults:
    """`shared.result_cache.ResultCache` in front of another one; safe for any thread.

    Args:
        entries: those of all processes.
        max_bytes: of the entries in memory.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        entries: ResultCache,
        *,
        max_bytes: int = _MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = entries
        self._clock = clock
        self._recent = ByteCache[tuple[str, bytes], _Recent](None, max_bytes=max_bytes)

    def get(self, account: str, keys: Sequence[bytes]) -> dict[bytes, CachedEntry]:
        """The entries of those keys that have one; only those not in memory are looked up."""
        now = self._clock()
        found: dict[bytes, CachedEntry] = {}
        for key in keys:
            recent = self._recent.get((account, key))
            entry = None if recent is None else recent.entry_at(now)
            if entry is not None:
                found[key] = entry
        if missing := [key for key in keys if key not in found]:
            for key, entry in self._entries.get(account, missing).items():
                found[key] = entry
                self._keep(account, key, entry, now)
        return found

    def put(self, account: str, entries: Mapping[bytes, bytes], *, ttl_s: float) -> None:
        """Write or replace entries, here and for all processes."""
        now = self._clock()
        for key, data in entries.items():
            self._keep(account, key, CachedEntry(data=data, age_s=0.0, left_s=ttl_s), now)
        self._entries.put(account, entries, ttl_s=ttl_s)

    def _keep(self, account: str, key: bytes, entry: CachedEntry, now: float) -> None:
        size_bytes = len(entry.data) + OVERHEAD_BYTES
        self._recent.put((account, key), _Recent(entry, now), size_bytes=size_bytes)
