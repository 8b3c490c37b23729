"""Answers to waiting callers: one Redis list per call, popped by the caller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis

from shared.adapters.redis.client import broker_errors

_SLICE_S = 1.0  # longest single blocking wait: a frozen server is noticed within the timeout


class RedisReplies:
    """`shared.ports.Replies` on Redis."""

    def __init__(self, client: redis.Redis, *, prefix: str = "ph:reply:") -> None:
        self._client: Any = client  # redis-py types every answer as str or bytes or awaitable
        self._prefix = prefix

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        with broker_errors(), self._client.pipeline(transaction=False) as pipe:
            for reply_to, answer in answers:
                pipe.rpush(self._prefix + reply_to, answer)
                pipe.pexpire(self._prefix + reply_to, round(keep_s * 1000))
            pipe.execute()

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            with broker_errors():
                # Redis reads a timeout of 0 as «for ever».
                slice_s = max(0.001, min(left, _SLICE_S))
                found = self._client.blpop([self._prefix + reply_to], timeout=slice_s)
            if found is not None:
                return bytes(found[1])
        return None
