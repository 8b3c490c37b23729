"""The Redis client: limits on time and connections, and its errors mapped to `shared.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import BrokerFull, BrokerUnavailable, ConfigurationError

_FULL_RETRY_S = 10


def connect(url: str, *, timeout_s: float, max_connections: int = 64) -> redis.Redis:
    """A client for many threads; no command waits longer than `timeout_s`, twice at most.

    A command on a connection that the server has closed meanwhile is sent once more.
    """
    if not url:
        raise ConfigurationError(
            "PIGEONHOLE_REDIS_URL is empty: set it to the URL of a Redis server"
        )
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
    except ValueError as exc:
        raise ConfigurationError(f"PIGEONHOLE_REDIS_URL is not a valid Redis URL: {exc}") from exc
    return redis.Redis(connection_pool=pool)


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
