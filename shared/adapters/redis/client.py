"""The Redis client: limits on time and connections, and its errors mapped to `shared.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from shared.adapters.redis.address import VARIABLE, RedisAddress
from shared.errors import BrokerFull, BrokerUnavailable, ConfigurationError

_FULL_RETRY_S = 10


def connect(url: str, *, timeout_s: float, max_connections: int = 64) -> redis.Redis:
    """A client for many threads; no command waits longer than `timeout_s`, twice at most.

    A command on a connection that the server has closed meanwhile is sent once more, with
    Sentinels to the primary that they name then.

    Raises:
        ConfigurationError: The URL is empty, or of another form than `RedisAddress` explains.
    """
    address = RedisAddress.of(url)
    options: dict[str, Any] = {
        "max_connections": max_connections,
        "timeout": timeout_s,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    if address.primary:
        return redis.Redis(connection_pool=_primary_pool(address, options, timeout_s=timeout_s))
    try:
        pool = redis.BlockingConnectionPool.from_url(url, **options)
    except ValueError as exc:
        raise ConfigurationError(f"{VARIABLE} is not a valid Redis URL: {exc}") from exc
    return redis.Redis(connection_pool=pool)


def _primary_pool(
    address: RedisAddress, options: dict[str, Any], *, timeout_s: float
) -> redis.BlockingConnectionPool:
    """Connections to the primary; each asks the Sentinels for it when it connects."""
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=address.sentinel_connection(timeout_s=timeout_s / len(address.hosts)),
    )
    plain = address.ssl is None
    return redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        connection_class=SentinelManagedConnection if plain else SentinelManagedSSLConnection,
        connection_pool=_Primary(sentinel, address.primary),
        **options,
        **address.connection,
    )


class _Primary:
    """What a connection of redis-py asks of its pool. redis-py's own pool with Sentinels has no
    bound that callers wait for.
    """

    is_master = True  # a server that has become a replica is left
    check_connection = False

    def __init__(self, sentinel: Sentinel, name: str) -> None:
        self._sentinel = sentinel
        self.service_name = name

    def get_master_address(self) -> tuple[str, int]:
        """Where the primary is now."""
        found: tuple[str, int] = self._sentinel.discover_master(  # type: ignore[no-untyped-call]
            self.service_name
        )
        return found


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what redis-py raises into `BrokerUnavailable`."""
    try:
        yield
    except redis.RedisError as exc:
        raise broker_error(exc) from exc


def broker_error(error: Exception) -> BrokerUnavailable:
    """What an error of redis-py, or of Celery on it, means: Redis is away, or takes no writes."""
    cause = error.__cause__ if isinstance(error.__cause__, redis.RedisError) else error
    full = None
    if isinstance(cause, redis.OutOfMemoryError):
        full = "its memory is full (maxmemory)"
    elif isinstance(cause, redis.ResponseError) and str(cause).startswith("MISCONF"):
        full = "its disk is full or broken (MISCONF)"
    if full is None:
        kind = type(cause).__name__
        return BrokerUnavailable(
            f"Redis is unavailable ({kind}); try again shortly", retry_after_s=2
        )
    return BrokerFull(
        f"Redis rejects writes: {full}; accepted jobs wait until the operator frees space",
        retry_after_s=_FULL_RETRY_S,
    )
