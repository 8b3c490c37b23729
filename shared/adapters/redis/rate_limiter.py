"""Rate limits on one Redis server: each method is one Lua script, so one atomic round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, cast

import redis

from shared import ids
from shared.adapters.redis.client import broker_errors
from shared.rate_limits import (
    STEP_S,
    WINDOW_S,
    Exceeded,
    RateDemand,
    RateState,
    Settlement,
)
from shared.tiers import RateClass

_EXCEEDED: tuple[Exceeded | None, ...] = (None, "requests", "tokens", "concurrency")


class RedisRateLimiter:
    """`shared.rate_limits.RateLimiter` on Redis ≥ 7 or Valkey.

    Args:
        client: Connection to the server.
        prefix: Of all keys.
        clock: Seconds since 1970, for tests; None: the server's time, the same for all processes.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        prefix: str = "ph:rates:",
        clock: Callable[[], float] | None = None,
    ) -> None:
        source = resources.files("shared.adapters.redis").joinpath("rate_limits.lua")
        self._client = client
        self._script: Any = client.register_script(source.read_text("utf-8"))
        self._prefix = prefix
        self._clock = clock

    def admit(self, demand: RateDemand, settlements: Sequence[Settlement] = ()) -> RateState:
        concurrent = demand.concurrent_calls is not None
        lease = ids.token() if concurrent else ""
        exceeded, requests, tokens, requests_wait, tokens_wait, reset, step = self._run(
            settlements,
            demand.subject,
            demand.rate_class,
            _limit(demand.rate.requests),
            _limit(demand.rate.tokens),
            _limit(demand.concurrent_calls),
            demand.requests,
            demand.tokens,
            lease,
            max(1, _ms(demand.lease_s)),
            demand.job_id,
        )
        return RateState(
            exceeded=_EXCEEDED[exceeded],
            requests=requests,
            tokens=tokens,
            requests_wait_s=requests_wait / 1000,
            tokens_wait_s=tokens_wait / 1000,
            reset_s=reset / 1000,
            step=step,
            lease="" if exceeded else lease,
        )

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._run(settlements)

    @broker_errors()
    def settle_job(self, job_id: str, tokens: int) -> None:
        counted = cast("bytes | None", self._client.getdel(f"{self._prefix}job:{job_id}"))
        if counted is None:
            return
        subject, rate_class, step, estimate = counted.decode().split(" ")
        correction = Settlement(
            subject=subject,
            rate_class=cast("RateClass", rate_class),
            step=int(step),
            tokens=tokens - int(estimate),
            lease="",
        )
        self.settle([correction])

    def _run(self, settlements: Sequence[Settlement], *admission: Any) -> Any:
        ends = [
            field
            for each in settlements
            for field in (each.subject, each.rate_class, each.step, each.tokens, each.lease)
        ]
        now = "" if self._clock is None else _ms(self._clock())
        steps = round(WINDOW_S / STEP_S)
        with broker_errors():
            return self._script(
                keys=[self._prefix],
                args=[now, _ms(STEP_S), steps, len(settlements), *ends, *admission],
            )


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
