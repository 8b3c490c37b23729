"""Sufficient statistics of the examples: counts, sums and second moments, never the examples.

Decides: the state that any Gaussian or ridge solution is computed from, and how weights add up.
Does not decide: what is made of it (`gaussian`). Sums do not depend on the order of examples nor
on how they were cut into calls; that is most of why the learner does not either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class SufficientStatistics:
    """Weighted sums over all examples so far; float64, for they are subtracted from each other."""

    counts: Doubles  # (L,) sum of weights
    sums: Doubles  # (L, D) sum of weight * x
    second: Doubles  # (D, D) sum of weight * x x'
    squares: float  # sum of weight ** 2

    @classmethod
    def empty(cls, labels: int, dim: int) -> Self:
        """Of no examples, for L labels of D dimensions."""
        return cls(
            counts=np.zeros(labels),
            sums=np.zeros((labels, dim)),
            second=np.zeros((dim, dim)),
            squares=0.0,
        )

    def grow(self, more: int) -> SufficientStatistics:
        """With `more` labels at the end, each without examples."""
        return SufficientStatistics(
            counts=np.concatenate([self.counts, np.zeros(more)]),
            sums=np.concatenate([self.sums, np.zeros((more, self.sums.shape[1]))]),
            second=self.second,
            squares=self.squares,
        )

    def add(self, x: Floats, y: Ints, weights: Doubles) -> SufficientStatistics:
        """With N more examples: x (N, D), y (N,) indices, weights (N,) above 0.

        >>> m = SufficientStatistics.empty(2, 2)
        >>> m = m.add(np.eye(2, dtype=np.float32), np.array([1, 1]), np.ones(2))
        >>> m.counts.tolist(), m.sums.tolist()
        ([0.0, 2.0], [[0.0, 0.0], [1.0, 1.0]])
        """
        order = np.argsort(y, kind="stable")
        present, first = np.unique(y[order], return_index=True)
        rows = x[order].astype(np.float64) * np.sqrt(weights[order])[:, None]  # (N, D)
        sums = self.sums.copy()
        if len(y):
            sums[present] += np.add.reduceat(rows * np.sqrt(weights[order])[:, None], first)
        return SufficientStatistics(
            counts=self.counts + np.bincount(y, weights, minlength=len(self.counts)),
            sums=sums,
            second=self.second + rows.T @ rows,  # a matrix by itself: half the work
            squares=self.squares + float(weights @ weights),
        )

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Of the examples of both."""
        return SufficientStatistics(
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
            second=self.second + other.second,
            squares=self.squares + other.squares,
        )

    def __sub__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Without examples that were added as `other`.

        A label that has no more examples has sums of exactly 0: nothing but 0 was added to it.

        >>> empty, x = SufficientStatistics.empty(2, 1), np.ones((1, 1), np.float32)
        >>> one, two = (empty.add(x, np.array([k]), np.ones(1)) for k in (0, 1))
        >>> ((one + two) - two).counts.tolist()
        [1.0, 0.0]
        """
        return SufficientStatistics(
            counts=self.counts - other.counts,
            sums=self.sums - other.sums,
            second=self.second - other.second,
            squares=self.squares - other.squares,
        )

    @property
    def unit(self) -> float:
        """What one weight is worth in examples: Kish's effective size over the sum of weights.

        Weights of 10 for all are worth the same as weights of 1 for all; 200 examples of weight
        10 after 200 of weight 1 are worth 240 in all, of which the later ones make 218.

        >>> m = SufficientStatistics.empty(1, 1)
        >>> m.add(np.ones((4, 1), np.float32), np.zeros(4, np.intp), np.full(4, 10.0)).unit
        0.1
        """
        return float(self.counts.sum() / self.squares) if self.squares else 0.0

    @property
    def effective(self) -> float:
        """How many examples of equal weight the sums are worth; 0 when there are none."""
        return float(self.counts.sum()) * self.unit
