"""Downloads the images and documents that items refer to by URL: deduplicated and throttled.

The kind decides the accepted media types and the size limit; `workers.outbound_http.client` applies
the SSRF policy. The content is not inspected here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from shared.errors import FetchFailed, Unavailable
from shared.settings import Settings
from workers.outbound_http.client import Fetched, Outbound
from workers.outbound_http.host_executor import KeyedExecutor

Kind = Literal["image", "document"]

_GENERIC = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
}  # the default types of object stores
_DOCUMENTS = _GENERIC | {
    "application/pdf",
    "application/x-pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/zip",
    "text/plain",
    "text/markdown",
}
_KEEP_S = 60.0
_KEEP_FAILURE_S = 10.0  # many items of a part may share a dead URL; a repaired URL works soon
_ENTRY_BYTES = 1024  # bytes of a cache entry besides its content and its URL


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """The limits of one kind."""

    max_bytes: int
    accept: Callable[[str], bool]


def bounds_of(settings: Settings) -> dict[Kind, DownloadLimits]:
    """The limits by kind, from the settings."""
    return {
        "image": DownloadLimits(max_bytes=settings.max_image_bytes, accept=is_image),
        "document": DownloadLimits(max_bytes=settings.max_document_bytes, accept=is_document),
    }


def is_image(media_type: str) -> bool:
    """Whether a media type may be a raster image; the decoder decides by the bytes."""
    raster = media_type.startswith("image/") and media_type != "image/svg+xml"
    return raster or media_type in _GENERIC


def is_document(media_type: str) -> bool:
    """Whether a media type may be a supported document; the reader decides by the bytes."""
    return media_type in _DOCUMENTS


@dataclass(kw_only=True, eq=False)
class _Fetch:
    """One download in flight, and the futures that wait for it."""

    key: tuple[Kind, str]
    started: bool = False
    waiters: list[Future[Fetched]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _CacheEntry:
    """The outcome of a recent download."""

    outcome: Fetched | FetchFailed
    until: float
    size: int


class Fetcher:
    """Downloads in its own threads; `close` ends them.

    Downloads are limited in total and per host; URLs of other hosts overtake those that wait.
    """

    def __init__(
        self,
        outbound: Outbound,
        bounds: dict[Kind, DownloadLimits],
        *,
        timeout_s: float,
        at_once: int = 16,
        per_host: int = 4,
        kept_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an idle fetcher.

        Args:
            outbound: the HTTP client.
            bounds: the limits of each kind.
            timeout_s: seconds for one download, from its start.
            at_once: maximum number of downloads in flight.
            per_host: maximum number of downloads in flight per host.
            kept_bytes: size limit of the cache, which keeps contents for a minute.
            clock: a monotonic clock, in seconds.
        """
        self._outbound = outbound
        self._bounds = bounds
        self._timeout_s = timeout_s
        self._max_cached = kept_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[Kind, str], _Fetch] = {}  # queued or in flight
        self._cache: OrderedDict[tuple[Kind, str], _CacheEntry] = OrderedDict()  # oldest first
        self._cached_bytes = 0
        self._closed = False
        self._executor = KeyedExecutor("fetch", at_once=at_once, per_key=per_host)

    @classmethod
    def of(cls, settings: Settings) -> Fetcher:
        """Create a fetcher from the settings.

        Raises:
            ConfigurationError: A configured network or port is invalid.
        """
        return cls(Outbound.of(settings), bounds_of(settings), timeout_s=settings.fetch_timeout_s)

    def get(self, url: str, kind: Kind) -> Future[Fetched]:
        """A future of the content of a URL; each caller gets its own and may cancel it.

        The error of the future is FetchFailed, or Unavailable if the fetcher is overloaded or
        closed.
        """
        key = (kind, url)
        future: Future[Fetched] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(_stopped())
                return future
            cached = self._cache.get(key)
            if cached is None or cached.until <= self._clock():
                fetch = self._open.get(key)
                if fetch is not None:
                    fetch.waiters.append(future)
                    return future
                fetch = self._open[key] = _Fetch(key=key, waiters=[future])
                self._executor.add(host_of(url), partial(self._run, fetch))
                return future
        _settle([future], cached.outcome)
        return future

    def close(self) -> None:
        """Start no more downloads; those in flight end by their deadline, queued ones fail."""
        with self._lock:
            self._closed = True
            waiting = [fetch for fetch in self._open.values() if not fetch.started]
            for fetch in waiting:
                del self._open[fetch.key]
        self._executor.close()
        for fetch in waiting:
            _settle(fetch.waiters, _stopped())

    def _run(self, fetch: _Fetch) -> None:
        with self._lock:
            if self._closed:
                return
            if all(waiter.cancelled() for waiter in fetch.waiters):
                del self._open[fetch.key]
                return
            fetch.started = True
        kind, url = fetch.key
        bounds = self._bounds[kind]
        outcome: Fetched | Exception
        try:
            outcome = self._outbound.get(
                url,
                deadline_s=self._timeout_s,
                max_bytes=bounds.max_bytes,
                accept=bounds.accept,
            )
        except Exception as exc:  # noqa: BLE001  the futures get it
            outcome = exc
        with self._lock:
            del self._open[fetch.key]
            if isinstance(outcome, (Fetched, FetchFailed)):
                self._store(fetch.key, outcome)
        _settle(fetch.waiters, outcome)

    def _store(self, key: tuple[Kind, str], outcome: Fetched | FetchFailed) -> None:
        """Cache an outcome and evict the oldest. The caller holds the lock."""
        succeeded = isinstance(outcome, Fetched)
        content = outcome.data if isinstance(outcome, Fetched) else b""
        size = _ENTRY_BYTES + sys.getsizeof(key[1]) + len(content)
        self._drop(key)
        now = self._clock()
        until = now + (_KEEP_S if succeeded else _KEEP_FAILURE_S)
        self._cache[key] = _CacheEntry(outcome=outcome, until=until, size=size)
        self._cached_bytes += size
        for each in list(self._cache):
            if self._cached_bytes <= self._max_cached and self._cache[each].until > now:
                break
            self._drop(each)

    def _drop(self, key: tuple[Kind, str]) -> None:
        entry = self._cache.pop(key, None)
        if entry is not None:
            self._cached_bytes -= entry.size


def _settle(waiters: list[Future[Fetched]], outcome: Fetched | Exception) -> None:
    for waiter in waiters:
        if not waiter.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Fetched):
            waiter.set_result(outcome)
        elif isinstance(outcome, FetchFailed):
            waiter.set_exception(
                type(outcome)(outcome.detail)
            )  # each thread raises its own instance
        else:
            waiter.set_exception(outcome)


def host_of(url: str) -> str:
    """The host of a URL, in lower case; empty if it has none.

    >>> host_of("https://Example.org:8443/cat.png"), host_of("")
    ('example.org', '')
    """
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""  # the client will refuse it


def _stopped() -> Unavailable:
    return Unavailable("this worker is stopping; try again")
