"""The connection to Redis: bounded in time and number, its errors turned into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import BrokerUnavailable, ConfigurationError


def connect(url: str, *, timeout_s: float, max_connections: int = 64) -> redis.Redis:
    """A client for many threads; no command waits longer than `timeout_s`, twice at most.

    A command on a connection that the server has closed meanwhile is sent once more.
    """
    if not url:
        raise ConfigurationError("PIGEONHOLE_REDIS_URL is empty: name a Redis server")
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
        raise ConfigurationError(f"PIGEONHOLE_REDIS_URL is no Redis address: {exc}") from exc
    return redis.Redis(connection_pool=pool)


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what redis-py raises into `BrokerUnavailable`."""
    try:
        yield
    except redis.RedisError as exc:
        raise BrokerUnavailable(
            f"Redis is away ({type(exc).__name__}); try again shortly", retry_after_s=2
        ) from exc
