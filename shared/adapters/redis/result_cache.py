"""The result cache on one Redis server: each method is one Lua script, so one atomic round trip.

The scripts lie in `lua/result_cache/`; its `prelude.lua` names the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import redis

from shared.adapters.redis.client import broker_errors, connect
from shared.result_cache import CachedEntry

TIMEOUT_S = 0.1  # of a lookup; a computed answer takes some 10 ms


class RedisResultCache:
    """`shared.result_cache.ResultCache` on Redis ≥ 7 or Valkey."""

    def __init__(self, client: redis.Redis, *, max_bytes: int, prefix: str = "ph3:cache:") -> None:
        self._prefix = prefix
        self._max_bytes = max_bytes
        folder = resources.files("shared.adapters.redis").joinpath("lua", "result_cache")
        prelude = folder.joinpath("prelude.lua").read_text("utf-8")
        get, put = (folder.joinpath(f"{name}.lua").read_text("utf-8") for name in ("get", "put"))
        # redis-py types every answer as bytes or awaitable
        self._get: Any = client.register_script(f"{prelude}\n{get}")
        self._put: Any = client.register_script(f"{prelude}\n{put}")

    @classmethod
    def of(cls, url: str, *, max_bytes: int, max_connections: int) -> RedisResultCache:
        """The cache with connections of its own, which wait for a short time only."""
        client = connect(url, timeout_s=TIMEOUT_S, max_connections=max_connections)
        return cls(client, max_bytes=max_bytes)

    def get(self, account: str, keys: Sequence[bytes]) -> dict[bytes, CachedEntry]:
        if not keys:
            return {}
        with broker_errors():
            found = self._get(keys=[self._prefix], args=[account, *keys])
        return {
            key: CachedEntry(data=entry[2], age_s=entry[0] / 1000, left_s=entry[1] / 1000)
            for key, entry in zip(keys, found, strict=True)
            if entry is not None
        }

    def put(self, account: str, entries: Mapping[bytes, bytes], *, ttl_s: float) -> None:
        if not entries:
            return
        pairs = [part for entry in entries.items() for part in entry]
        with broker_errors():
            self._put(
                keys=[self._prefix], args=[account, round(ttl_s * 1000), self._max_bytes, *pairs]
            )
