"""Embeds many windows in chunks: windows are cut and queued in the microbatcher some at a time.

Decides how many windows of a request are queued at once. A document of a million tokens, or a
thousand texts of five thousand, then costs 4 bytes per token and one vector per text. With all
windows queued at once these two took 60 and 109 MB more. `workers.embedding.windows` decides how a
text is cut and how vectors are averaged.

Letters: N texts, W windows of a chunk, D dimensions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.futures import cancel_with, end, without_variables
from workers.models.port import Rows

CHUNK_WINDOWS = 512
"""Of one submission: as many passes of a GPU as it needs to have windows of like lengths."""
_AHEAD = 2  # chunks that wait or run, so that the model never waits for the next
WHOLE_WINDOWS = CHUNK_WINDOWS * _AHEAD
"""A request of no more is submitted whole."""


class SubmitToBatcher(Protocol):
    """A batcher's `submit`, its options chosen."""

    def __call__(
        self, windows: Sequence[Any], /, *, finish: Callable[[Rows], Rows] | None = None
    ) -> Future[Rows]:
        """As `MicroBatcher.submit`."""


def means_of_windows(
    submit: SubmitToBatcher,
    texts: Iterator[Sequence[Sequence[int]]],
    counts: Sequence[int],
    dimensions: int,
) -> Future[Rows]:
    """The mean vector of each text's windows, weighted by their lengths: (N, D), unit rows.

    Args:
        submit: takes each chunk.
        texts: the windows of each text, cut when they are asked for.
        counts: how many windows each text has, 1 or more.
        dimensions: D.

    Raises:
        Unavailable: when the model has stopped.
    """
    stream = _Stream(submit, texts, counts, dimensions)
    for _ in range(_AHEAD):
        stream.submit_next()
    return stream.whole


class _Stream:
    """Submits a chunk whenever one has come back. Any thread may end a chunk."""

    def __init__(
        self,
        submit: SubmitToBatcher,
        texts: Iterator[Sequence[Sequence[int]]],
        counts: Sequence[int],
        dimensions: int,
    ) -> None:
        self.whole: Future[Rows] = Future()
        self._submit = submit
        self._windows = ((text, window) for text, cut in enumerate(texts) for window in cut)
        self._chunks = -(-sum(counts) // CHUNK_WINDOWS)
        self._begins = np.cumsum([0, *counts[:-1]])  # (N,), the place of each first window
        self._sums = np.zeros((len(counts), dimensions), np.float32)  # (N, D)
        self._firsts = np.zeros_like(self._sums)  # (N, D), for windows that cancel out
        self._came: dict[int, tuple[npt.NDArray[np.intp], Rows, Rows]] = {}
        self._lock = threading.Lock()
        self._numbers = iter(range(self._chunks))
        self._added = 0  # chunks, in their order
        self._under_way: list[Future[Rows]] = []
        cancel_with(self.whole, self._under_way)

    def submit_next(self) -> None:
        """Submit the next chunk, if there is one."""
        with self._lock:
            number = next(self._numbers, None)
            if number is None or self.whole.done():
                return
            chunk = list(islice(self._windows, CHUNK_WINDOWS))
        texts = np.array([text for text, _ in chunk], np.intp)  # (W,), ascending
        weights = np.array([len(window) or 1 for _, window in chunk], np.float32)  # (W,)
        ended = self._submit([window for _, window in chunk])
        self._under_way.append(ended)
        if self.whole.cancelled():
            ended.cancel()
        ended.add_done_callback(lambda rows: self._end(number, rows, texts, weights))

    def _end(
        self, number: int, ended: Future[Rows], texts: npt.NDArray[np.intp], weights: Rows
    ) -> None:
        with suppress(ValueError):  # the whole has ended and has forgotten it
            self._under_way.remove(ended)
        try:
            if self._add(number, texts, ended.result(), weights):
                end(self.whole, self._means())
            else:
                self.submit_next()
        except BaseException as exc:  # noqa: BLE001  who waits for the whole gets it
            if ended.cancelled():
                self.whole.cancel()
            else:
                end(self.whole, error=without_variables(exc))
            for other in list(self._under_way):
                other.cancel()

    def _add(self, number: int, texts: npt.NDArray[np.intp], rows: Rows, weights: Rows) -> bool:
        """Add what is there up in order, so that sums depend on no race; whether that is all."""
        with self._lock:
            self._came[number] = texts, rows, weights
            while self._added in self._came:
                texts, rows, weights = self._came.pop(self._added)
                starts = np.flatnonzero(np.diff(texts, prepend=-1))  # of each text in the chunk
                here = texts[starts]
                self._sums[here] += np.add.reduceat(rows * weights[:, None], starts, axis=0)
                new = self._begins[here] >= self._added * CHUNK_WINDOWS
                self._firsts[here[new]] = rows[starts[new]]
                self._added += 1
            return self._added == self._chunks

    def _means(self) -> Rows:
        norms = np.linalg.norm(self._sums, axis=1, keepdims=True)  # (N, 1)
        means = np.where(norms > 0, self._sums / np.where(norms > 0, norms, 1), self._firsts)
        return means.astype(np.float32, copy=False)
