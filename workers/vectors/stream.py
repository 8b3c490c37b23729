"""The vector of one very long text, whose windows go to the batcher a few at a time.

Decides how many windows of a text are cut and queued at once, so that a document of a million
tokens costs its ids, 4 bytes each, and a vector for each few windows. All its windows queued at
once took 60 MB, and forward passes of others found them in front. How windows are cut and averaged
is `workers.vectors.embedding`'s.

Letters: C chunks, D dimensions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from workers.futures import cancel_with, end, without_variables
from workers.models.port import Rows

CHUNK_WINDOWS = 64
"""Of one submission. A text of no more windows is submitted whole."""
_AHEAD = 2  # chunks that wait or run, so that the model never waits for the next


class Submit(Protocol):
    """A batcher's `submit`, its options chosen."""

    def __call__(
        self, windows: Sequence[Any], /, *, finish: Callable[[Rows], Rows] | None = None
    ) -> Future[Rows]:
        """As `MicroBatcher.submit`."""


def mean_of_windows(submit: Submit, tokens: Sequence[int], size: int) -> Future[Rows]:
    """The mean of the vectors of a text's windows, weighted by their lengths: (D,), unit length.

    Args:
        submit: takes each chunk.
        tokens: content ids, more than one window of them.
        size: the most ids in one window.

    Raises:
        Unavailable: when the model has stopped.
    """
    stream = _Stream(submit, tokens, size)
    for _ in range(_AHEAD):
        stream.submit_next()
    return stream.whole


class _Stream:
    """Submits a chunk whenever one has come back. Any thread may end a chunk."""

    def __init__(self, submit: Submit, tokens: Sequence[int], size: int) -> None:
        self.whole: Future[Rows] = Future()
        self._submit = submit
        self._tokens = tokens
        self._count = -(-len(tokens) // size)  # of windows
        chunks = -(-self._count // CHUNK_WINDOWS)
        self._sums: list[Rows | None] = [None] * chunks  # (C,) of (D,)
        self._missing = chunks
        self._next = 0
        self._first: Rows | None = None
        self._lock = threading.Lock()
        self._under_way: list[Future[Rows]] = []
        cancel_with(self.whole, self._under_way)

    def submit_next(self) -> None:
        """Submit the next chunk, if there is one."""
        with self._lock:
            number = self._next
            if number == len(self._sums) or self.whole.done():
                return
            self._next += 1
        chunk = self._chunk(number)
        weights = np.array([len(window) for window in chunk], np.float32)  # (windows,)
        ended = self._submit(chunk)
        self._under_way.append(ended)
        if self.whole.cancelled():
            ended.cancel()
        ended.add_done_callback(lambda rows: self._add(number, rows, weights))

    def _chunk(self, number: int) -> list[Sequence[int]]:
        """Some of the windows, all of nearly even length."""
        first = number * CHUNK_WINDOWS
        last = min(first + CHUNK_WINDOWS, self._count)
        cuts = [-(-len(self._tokens) * i // self._count) for i in range(first, last + 1)]
        return [self._tokens[start:stop] for start, stop in pairwise(cuts)]

    def _add(self, number: int, ended: Future[Rows], weights: Rows) -> None:
        with suppress(ValueError):  # the whole has ended and has forgotten it
            self._under_way.remove(ended)
        try:
            rows = ended.result()  # (windows, D)
            last = self._keep(number, rows, weights)
            if last:
                end(self.whole, self._mean())
            else:
                self.submit_next()
        except BaseException as exc:  # noqa: BLE001  who waits for the whole gets it
            if ended.cancelled():
                self.whole.cancel()
            else:
                end(self.whole, error=without_variables(exc))
            for other in list(self._under_way):
                other.cancel()

    def _keep(self, number: int, rows: Rows, weights: Rows) -> bool:
        """Add a chunk up; whether it was the last that was missing."""
        total = weights @ rows  # (D,)
        with self._lock:
            if number == 0:
                self._first = rows[0].copy()
            self._sums[number] = total
            self._missing -= 1
            return not self._missing

    def _mean(self) -> Rows:
        """From the sums in their order, so that it does not depend on which chunk came first."""
        assert self._first is not None
        total = np.sum([each for each in self._sums if each is not None], axis=0)
        norm = float(np.linalg.norm(total))
        found: Rows = (total / norm).astype(np.float32) if norm > 0 else self._first
        return found
