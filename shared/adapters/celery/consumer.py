"""Celery's consumer with backoff: after an error of the broker it retries with growing pauses.

A Redis that refuses writes, since its disk or memory is full, is a channel error for Celery. By
default it ends the worker; as a recoverable error it is retried at once, five times a second. The
configuration of `celery_broker` names this class by its path, so that only a worker imports it.
"""

from __future__ import annotations

import time

import redis
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from shared.adapters.redis.client import broker_error
from shared.telemetry import Log

log = Log("consumer")
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0  # below the time after which the watchdog calls a worker deaf
_SETTLED_S = 30.0
_SLICE_S = 0.25


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Waits before it connects anew where the broker answered with an error."""

    _pause_s = _FIRST_PAUSE_S
    _last_at = float("-inf")

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        if isinstance(exc, redis.ResponseError):
            now = time.monotonic()
            settled = now - self._last_at > _SETTLED_S
            pause_s = _FIRST_PAUSE_S if settled else min(2 * self._pause_s, _MAX_PAUSE_S)
            self._pause_s, self._last_at = pause_s, now
            log.warning("consumer.waits", reason=broker_error(exc).detail, pause_s=pause_s)
            while time.monotonic() < now + pause_s:
                maybe_shutdown()
                time.sleep(_SLICE_S)
        super().on_connection_error_after_connected(exc)
