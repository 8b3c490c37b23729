"""Limits of a route: the maximum body size and the thread pool, by method and path.

- Health checks and polling have threads of their own, so that they are answered while every thread
  for calls is busy.
- JSON of hundreds of texts or examples may be as large as `max_body_bytes`. Other JSON bodies have
  a lower limit, since parsing takes up to eleven times the size of a body.
- Files are streamed to a limited number of threads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from api.server.thread_pool import ThreadPool
from api.server.trusted_proxies import without_prefix
from shared.settings import Settings

SMALL_BODY_BYTES = 2**20
BATCH_BODY_BYTES = 4 * 2**20  # labels with descriptions, for up to eight groups
POLLING_THREADS = 16
_MAX_WAITING = 1024  # requests, for a thread of a pool
_STREAMED_ANSWERS = ("/events", "/output", "/content", "/export", "/results")
_LARGE = re.compile(r"/v1/((classify|tag)(/batch)?|train|classifiers/[^/]+/evaluate)")
_UPLOADS = re.compile(
    r"/v1/(files|uploads/[^/]+/parts|classifiers/import)|/batch/[^/]+/[^/]+/input"
)
_FOREVER = 2**63


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a request is taken.

    Attributes:
        pool: Threads that the application runs in.
        max_bytes: Largest body.
        streamed: Whether the application reads the body while it arrives, and bounds it itself.
    """

    pool: ThreadPool
    max_bytes: int
    streamed: bool = False


class Routing:
    """The pools of a process, and who gets which."""

    def __init__(self, settings: Settings) -> None:
        self.calls = ThreadPool(
            "calls", max_threads=settings.api_threads, max_queued_calls=_MAX_WAITING
        )
        self.polling = ThreadPool(
            "polling", max_threads=POLLING_THREADS, max_queued_calls=_MAX_WAITING
        )
        self.liveness = ThreadPool("liveness", max_threads=1, max_queued_calls=_MAX_WAITING)
        self.readiness = ThreadPool("readiness", max_threads=4, max_queued_calls=_MAX_WAITING)
        self.uploads = ThreadPool(
            "uploads", max_threads=settings.upload_threads, max_queued_calls=0
        )
        self._path_prefix = settings.path_prefix
        small = small_body_bytes(settings)
        self._small = Route(pool=self.calls, max_bytes=small)
        self._large = Route(pool=self.calls, max_bytes=settings.max_body_bytes)
        self._batch = Route(pool=self.calls, max_bytes=batch_body_bytes(settings))
        self._polled = Route(pool=self.polling, max_bytes=small)
        self._own = {
            "/health/live": Route(pool=self.liveness, max_bytes=small),
            # These need no key, and they may wait for the parts that they ask in turn.
            "/health/ready": Route(pool=self.readiness, max_bytes=small),
            "/metrics": Route(pool=self.readiness, max_bytes=small),
        }
        self._upload = Route(pool=self.uploads, max_bytes=_FOREVER, streamed=True)

    def route_of(self, method: str, path: str, prefix: str = "") -> Route:
        """How a request is taken; `prefix` is where a proxy says that it publishes the API."""
        path = without_prefix(path, prefix.rstrip("/"), self._path_prefix)
        if method == "POST":
            if _LARGE.fullmatch(path):
                return self._large
            if _UPLOADS.fullmatch(path):
                return self._upload
            return self._batch if path in {"/v1/batches", "/v1/batch"} else self._small
        if method in {"GET", "HEAD"} and not path.endswith(_STREAMED_ANSWERS):
            return self._own.get(path, self._polled)
        return self._small


def small_body_bytes(settings: Settings) -> int:
    """Largest body of a call that needs little."""
    return min(SMALL_BODY_BYTES, settings.max_body_bytes)


def batch_body_bytes(settings: Settings) -> int:
    """Largest body that makes a batch."""
    return min(BATCH_BODY_BYTES, settings.max_body_bytes)
