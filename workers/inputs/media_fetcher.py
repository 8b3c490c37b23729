"""The images and documents that items name by URL: fetched once, a few at a time.

Kinds decide which media types and how many bytes; what may be connected to is decided by
`workers.outbound_http.client`. What is in the bytes is not looked at here.
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

_UNSAID = {"", "application/octet-stream", "binary/octet-stream"}  # as stores of objects answer
_DOCUMENTS = _UNSAID | {
    "application/pdf",
    "application/x-pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/zip",
    "text/plain",
    "text/markdown",
}
_KEEP_S = 60.0
_KEEP_FAILURE_S = 10.0  # a part full of one dead URL waits for it once; who mends it, not long
_ENTRY_BYTES = 1024  # what an entry of the cache costs beside its content and its URL


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """What is accepted of one kind."""

    max_bytes: int
    accept: Callable[[str], bool]


def bounds_of(settings: Settings) -> dict[Kind, DownloadLimits]:
    """As the operator set them."""
    return {
        "image": DownloadLimits(max_bytes=settings.max_image_bytes, accept=is_image),
        "document": DownloadLimits(max_bytes=settings.max_document_bytes, accept=is_document),
    }


def is_image(media_type: str) -> bool:
    """Whether it may be one made of pixels; the bytes decide."""
    raster = media_type.startswith("image/") and media_type != "image/svg+xml"
    return raster or media_type in _UNSAID


def is_document(media_type: str) -> bool:
    """Whether it may be one that can be read; the bytes decide."""
    return media_type in _DOCUMENTS


@dataclass(kw_only=True, eq=False)
class _Fetch:
    """One URL that is fetched, and all who wait for it."""

    key: tuple[Kind, str]
    begun: bool = False
    waiters: list[Future[Fetched]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What became of a fetch, for whoever asks again soon."""

    outcome: Fetched | FetchFailed
    until: float
    size: int


class Fetcher:
    """Fetches in threads of its own; `close` it to end them.

    No thread is held for a host that has its share under way: others' URLs pass it by.
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
        """Fetch nothing yet.

        Args:
            outbound: the way out.
            bounds: what is accepted of each kind.
            timeout_s: for the whole of one URL, from when it is begun.
            at_once: most URLs under way.
            per_host: most of them of one host.
            kept_bytes: most that is kept for who asks again within a minute.
            clock: seconds that only grow.
        """
        self._outbound = outbound
        self._bounds = bounds
        self._timeout_s = timeout_s
        self._max_kept = kept_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[Kind, str], _Fetch] = {}  # waiting or under way
        self._kept: OrderedDict[tuple[Kind, str], _Kept] = OrderedDict()  # oldest first
        self._kept_bytes = 0
        self._closed = False
        self._turns = KeyedExecutor("fetch", at_once=at_once, per_key=per_host)

    @classmethod
    def of(cls, settings: Settings) -> Fetcher:
        """As the operator set it.

        Raises:
            ConfigurationError: His networks or ports are none.
        """
        return cls(Outbound.of(settings), bounds_of(settings), timeout_s=settings.fetch_timeout_s)

    def get(self, url: str, kind: Kind) -> Future[Fetched]:
        """The content of a URL, soon; the future is the caller's own, and may be cancelled.

        The future's error is FetchFailed, or Unavailable where the fetcher itself is in trouble.
        """
        key = (kind, url)
        future: Future[Fetched] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(_stopped())
                return future
            kept = self._kept.get(key)
            if kept is None or kept.until <= self._clock():
                fetch = self._open.get(key)
                if fetch is not None:
                    fetch.waiters.append(future)
                    return future
                fetch = self._open[key] = _Fetch(key=key, waiters=[future])
                self._turns.add(host_of(url), partial(self._run, fetch))
                return future
        _settle([future], kept.outcome)
        return future

    def close(self) -> None:
        """Begin nothing more; what is under way ends by its deadline, what waits fails."""
        with self._lock:
            self._closed = True
            waiting = [fetch for fetch in self._open.values() if not fetch.begun]
            for fetch in waiting:
                del self._open[fetch.key]
        self._turns.close()
        for fetch in waiting:
            _settle(fetch.waiters, _stopped())

    def _run(self, fetch: _Fetch) -> None:
        with self._lock:
            if self._closed:
                return
            if all(waiter.cancelled() for waiter in fetch.waiters):
                del self._open[fetch.key]
                return
            fetch.begun = True
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
        except Exception as exc:  # noqa: BLE001  whoever waits gets it
            outcome = exc
        with self._lock:
            del self._open[fetch.key]
            if isinstance(outcome, (Fetched, FetchFailed)):
                self._keep(fetch.key, outcome)
        _settle(fetch.waiters, outcome)

    def _keep(self, key: tuple[Kind, str], outcome: Fetched | FetchFailed) -> None:
        """Remember what came, and forget what is oldest; the lock is held."""
        found = isinstance(outcome, Fetched)
        content = outcome.data if isinstance(outcome, Fetched) else b""
        size = _ENTRY_BYTES + sys.getsizeof(key[1]) + len(content)
        self._drop(key)
        now = self._clock()
        until = now + (_KEEP_S if found else _KEEP_FAILURE_S)
        self._kept[key] = _Kept(outcome=outcome, until=until, size=size)
        self._kept_bytes += size
        for each in list(self._kept):
            if self._kept_bytes <= self._max_kept and self._kept[each].until > now:
                break
            self._drop(each)

    def _drop(self, key: tuple[Kind, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept_bytes -= kept.size


def _settle(waiters: list[Future[Fetched]], outcome: Fetched | Exception) -> None:
    for waiter in waiters:
        if not waiter.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Fetched):
            waiter.set_result(outcome)
        elif isinstance(outcome, FetchFailed):
            waiter.set_exception(type(outcome)(outcome.detail))  # each thread raises its own
        else:
            waiter.set_exception(outcome)


def host_of(url: str) -> str:
    """The host that a URL names, in lower case; empty where it names none.

    >>> host_of("https://Example.org:8443/cat.png"), host_of("")
    ('example.org', '')
    """
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""  # it will be refused


def _stopped() -> Unavailable:
    return Unavailable("this worker is stopping; try again")
