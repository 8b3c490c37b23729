"""`shared.running_usage.RunningUsage` on Redis: a hash for each account, from job to tokens."""

from __future__ import annotations

from typing import cast

import redis

from shared.adapters.redis.client import broker_errors

_KEEP_S = 7 * 86400  # after the last part: longer than any job waits for its next one


class RedisRunningUsage:
    """Counts of open jobs."""

    def __init__(self, client: redis.Redis, *, prefix: str = "ph3:running:") -> None:
        self._client = client
        self._prefix = prefix

    @broker_errors()
    def add(self, account: str, job_id: str, tokens: int) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hincrby(self._prefix + account, job_id, tokens)
            pipeline.expire(self._prefix + account, _KEEP_S)
            pipeline.execute()

    @broker_errors()
    def replace(self, account: str, job_id: str, tokens: int) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(self._prefix + account, job_id, str(tokens))
            pipeline.expire(self._prefix + account, _KEEP_S)
            pipeline.execute()

    @broker_errors()
    def total(self, account: str) -> int:
        counts = cast("list[bytes]", self._client.hvals(self._prefix + account))
        return sum(map(int, counts))

    @broker_errors()
    def forget(self, account: str, job_id: str) -> None:
        self._client.hdel(self._prefix + account, job_id)
