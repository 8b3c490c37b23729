"""The ledger on the server that the tests of a process share, under a prefix of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import redis

from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger, Script
from tests.servers import HOST, free_port, shared_redis_url

_DATABASE = 1  # fixtures empty the first one
_TIMEOUT_S = 60.0
_TIME_MS = "time[1] * 1000 + math.floor(time[2] / 1000)"
_prefixes = (f"test{number}:" for number in itertools.count())


class PrefixedLedger(RedisLedger):
    """A ledger of which no other test knows; `away` refuses its connections.

    `clock` gives seconds, and takes the place of the server's own in the scripts.
    """

    def __init__(
        self, *, max_account_parts: int = 64, clock: Callable[[], float] | None = None
    ) -> None:
        self._own = redis.Redis(connection_pool=_server())
        self._clock, self._passed_ms = clock, 0
        super().__init__(self._own, prefix=next(_prefixes), max_account_parts=max_account_parts)
        self._texts = {name: script.script for name, script in self._scripts.items()}

    @property
    def away(self) -> bool:
        """Whether the server refuses connections."""
        return self._own.connection_pool is _nobody()

    @away.setter
    def away(self, away: bool) -> None:
        self._own.connection_pool = _nobody() if away else _server()

    def lose_everything(self) -> None:
        """Be as on a server that came back empty."""
        self._prefix = next(_prefixes)

    def let_pass(self, seconds: float) -> None:
        """Move the time of the server on, in the scripts and for the keys that expire."""
        ms = round(seconds * 1000)
        self._passed_ms += ms
        self._take_time(f"{_TIME_MS} + {self._passed_ms}")
        for key in self._own.scan_iter(f"{self._prefix}*", count=1000):
            if (left_ms := self._own.pttl(key)) > 0:
                self._own.pexpire(key, left_ms - ms)  # which deletes it where nothing is left

    def _take_time(self, ms: str) -> None:
        for name, text in self._texts.items():
            assert _TIME_MS in text
            self._scripts[name] = self._own.register_script(text.replace(_TIME_MS, ms))

    def _run(self, script: Script, *args: object) -> Any:
        if self._clock is not None:
            self._take_time(str(round(self._clock() * 1000)))
        return super()._run(script, *args)


@cache
def _server() -> redis.ConnectionPool:
    url = shared_redis_url().removesuffix("/0")
    return connect(f"{url}/{_DATABASE}", timeout_s=_TIMEOUT_S).connection_pool


@cache
def _nobody() -> redis.ConnectionPool:
    return connect(f"redis://{HOST}:{free_port()}/0", timeout_s=_TIMEOUT_S).connection_pool
