"""The port of the result cache, a contract like those of `shared.ports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class CachedEntry:
    """The bytes of a cached entry, the time since it was written, and until it expires."""

    data: bytes
    age_s: float
    left_s: float


class ResultCache(Protocol):
    """Entries of accounts by key, for a time and up to a number of bytes, which accounts share.

    Any entry may vanish at any time. When the cache is full, those that expire first are dropped,
    of the account that has the most bytes.

    Raises:
        BrokerUnavailable: From every method, if Redis does not respond within a fraction of a
            second: a cache must not cost more time than it saves.
    """

    def get(self, account: str, keys: Sequence[bytes]) -> dict[bytes, CachedEntry]:
        """The entries of those keys that have one."""

    def put(self, account: str, entries: Mapping[bytes, bytes], *, ttl_s: float) -> None:
        """Write or replace entries, which expire after `ttl_s`."""
