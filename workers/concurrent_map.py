"""Calls in several threads, with results in order: for requests that each wait for a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 8
_A = TypeVar("_A")
_B = TypeVar("_B")


def concurrent_map(
    call: Callable[[_A], _B], items: Iterable[_A], *, threads: int = _THREADS
) -> Iterator[_B]:
    """The results of a call with each item, in order.

    `items` is read in the thread of the caller, at most `threads` ahead of the results, so that
    large items are bounded in memory. The first error ends it, once the calls in flight have ended.
    """
    in_flight: deque[Future[_B]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="concurrent") as pool:
        for item in items:
            if len(in_flight) >= threads:
                yield in_flight.popleft().result()
            in_flight.append(pool.submit(call, item))
        while in_flight:
            yield in_flight.popleft().result()
