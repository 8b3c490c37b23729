"""Sums over items that are classified: what `shared.observation` stores, while it grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.observation import BINS, UNCERTAIN_MARGIN, Observation, packed
from workers.core.evaluation import margins

Floats = NDArray[np.float32]


class ObservationSums:
    """Sums over the items of a version with L labels and D dimensions."""

    def __init__(self, labels: int, dimensions: int) -> None:
        self._labels = np.zeros(labels, np.int64)
        self._confidence = np.zeros(BINS, np.int64)
        self._total = np.zeros(dimensions, np.float64)
        self._squares = 0.0
        self._uncertain = 0

    def add(self, x: Floats, scores: Floats) -> None:
        """Add N items.

        Args:
            x: (N, D) embeddings.
            scores: (N, L) calibrated probabilities.

        >>> sums = ObservationSums(2, 1)
        >>> scores = np.array([[0.95, 0.05], [0.52, 0.48]], np.float32)
        >>> sums.add(np.ones((2, 1), np.float32), scores)
        >>> seen = sums.observation(["a", "b"])
        >>> seen.labels, seen.uncertain, seen.confidence[5], seen.confidence[9], seen.vector
        ({'a': 2}, 1, 1, 1, [2.0])
        """
        if not len(x):
            return
        best = scores.max(axis=1)
        bins = np.clip((best * BINS).astype(np.intp), 0, BINS - 1)
        self._labels += np.bincount(scores.argmax(axis=1), minlength=len(self._labels))
        self._confidence += np.bincount(bins, minlength=BINS)
        self._uncertain += int((margins(scores) < UNCERTAIN_MARGIN).sum())
        self._total += x.sum(axis=0, dtype=np.float64)
        self._squares += float(np.vdot(x, x))

    def observation(self, labels: Sequence[str]) -> Observation:
        """The sums as they are stored; `labels` (L,) are the names."""
        return Observation(
            labels={
                label: count
                for label, count in zip(labels, self._labels.tolist(), strict=True)
                if count
            },
            confidence=tuple(self._confidence.tolist()),
            uncertain=self._uncertain,
            total=packed(self._total.tolist()),
            squares=self._squares,
        )


def observed(labels: Sequence[str], x: Floats, scores: Floats) -> Observation:
    """The sums over N items: `x` (N, D), `scores` (N, L)."""
    sums = ObservationSums(len(labels), x.shape[1])
    sums.add(x, scores)
    return sums.observation(labels)
