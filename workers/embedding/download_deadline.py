"""The deadline of the downloads of one call: a download that is late fails its item alone.

A slow host therefore costs its own items only. Content that has arrived is processed in the rest of
the time of the call. The time limit of a single download is in `workers.inputs.media_fetcher`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from shared.errors import FetchInterrupted
from workers.futures import cancel_with, copy, end

_SHARE = 0.8  # of the time of a call; the rest is for judging what came last
_T = TypeVar("_T")


class DownloadDeadline:
    """That of one call. `start` it once all is held, `stop` it when the call has ended."""

    def __init__(self, *, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold nothing yet.

        Args:
            deadline: of the call, on the clock.
            clock: monotonic, in seconds.
        """
        self._wait_s = max(0.0, _SHARE * (deadline - clock()))
        self._lock = threading.Lock()
        self._waiting: dict[Future[Any], list[Future[Any]]] = {}  # and what is under way for it
        self._timer: threading.Timer | None = None

    def hold(self, begin: Callable[[Callable[[], object]], Future[_T]]) -> Future[_T]:
        """The future of what begins here, until the patience ends before its bytes have come.

        Args:
            begin: is given what it calls when they have.

        Raises:
            FetchInterrupted: by the future: they have not come in time.
        """
        told: Future[_T] = Future()
        under_way: list[Future[Any]] = []
        with self._lock:
            self._waiting[told] = under_way
        reading = begin(lambda: self._came(told))
        under_way.append(reading)
        cancel_with(told, under_way)
        reading.add_done_callback(lambda ended: copy(ended, told))
        return told

    def start(self) -> None:
        """Begin to wait for what is held, if it has not all come."""
        if self._waiting:
            self._timer = threading.Timer(self._wait_s, self.end)
            self._timer.name, self._timer.daemon = "patience", True
            self._timer.start()

    def stop(self) -> None:
        """Wait no more: the call has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Let what has not come fail, and take it out of the queues."""
        with self._lock:
            waiting = list(self._waiting.items())
            self._waiting.clear()
        for told, under_way in reversed(waiting):  # the last first: they take no place left free
            reading = list(under_way)  # which is forgotten as soon as it is told
            end(told, error=self._failure())
            for future in reading:
                future.cancel()

    def _came(self, told: Future[Any]) -> None:
        with self._lock:
            self._waiting.pop(told, None)

    def _failure(self) -> FetchInterrupted:
        return FetchInterrupted(
            f"was not read within the {round(self._wait_s, 1):g} s that this call has for "
            "addresses: send fewer of one host, or send 'Prefer: respond-async' and poll the job"
        )
