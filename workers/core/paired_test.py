"""Paired tests: whether a challenger is better than a champion on the same N examples.

Decides: the gain of a metric, its interval and p-value. Does not decide: what follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from workers.core.evaluation import Doubles, Ints

DRAWS = 1000
_VALUES = 4_000_000  # of weights at once: 32 MB

Metric = Callable[[Ints, Ints, Doubles], Doubles]
"""A metric of true labels (N,), predicted labels (N,) and weights (B, N) of the examples: (B,), of
which more is better.
"""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """The gain of the challenger, the interval of the gain and the two-sided p-value.

    `interval` is None where a test has none.
    """

    gain: float
    interval: tuple[float, float] | None
    p_value: float

    def is_better(self, confidence: float) -> bool:
        """Whether the challenger is better, with this confidence."""
        if self.interval is not None:
            return self.interval[0] > 0.0
        return self.gain > 0.0 and self.p_value <= 1.0 - confidence

    def is_worse(self, confidence: float) -> bool:
        """Whether the challenger is worse, with this confidence."""
        if self.interval is not None:
            return self.interval[1] < 0.0
        return self.gain < 0.0 and self.p_value <= 1.0 - confidence


def value(metric: Metric, y: Ints, predicted: Ints) -> float:
    """The metric of all examples, each counted once."""
    return float(metric(y, predicted, np.ones((1, len(y))))[0])


def bootstrap(
    metric: Metric,
    y: Ints,
    champion: Ints,
    challenger: Ints,
    *,
    confidence: float,
    seed: int,
    draws: int = DRAWS,
) -> PairedTest:
    """The paired bootstrap with a percentile interval (Efron 1979; Koehn 2004 for paired systems).

    Args:
        metric: The metric; more is better.
        y: True labels, (N,).
        champion: Predictions of the champion, (N,).
        challenger: Predictions of the challenger, (N,).
        confidence: Of the two-sided interval, 0 to 1.
        seed: Of the draws: the same seed gives the same result.
        draws: Number of draws.

    >>> y = np.zeros(100, np.intp)
    >>> right = lambda y, p, w: w @ (y == p) / w.sum(axis=1)
    >>> better = bootstrap(right, y, np.arange(100) % 2, y, confidence=0.95, seed=1)
    >>> better.gain, better.is_better(0.95), better.is_worse(0.95)
    (0.5, True, False)
    """
    return bootstrap_gain(
        lambda weights: metric(y, challenger, weights) - metric(y, champion, weights),
        len(y),
        confidence=confidence,
        seed=seed,
        draws=draws,
    )


def bootstrap_gain(
    gain: Callable[[Doubles], Doubles], n: int, *, confidence: float, seed: int, draws: int = DRAWS
) -> PairedTest:
    """The paired bootstrap of any gain, (B,) of weights (B, N) of the N examples."""
    gains = np.concatenate(
        [gain(weights) for weights in _resampled(n, draws, np.random.default_rng(seed))]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(gains, [tail, 1.0 - tail])
    return PairedTest(
        gain=float(gain(np.ones((1, n)))[0]),
        interval=(float(low), float(high)),
        p_value=_two_sided(gains),
    )


def mcnemar(y: Ints, champion: Ints, challenger: Ints) -> PairedTest:
    """The exact test of McNemar (1947) on the examples that only one of both predicts correctly.

    Its gain is that of accuracy.

    >>> y = np.zeros(20, np.intp)
    >>> test = mcnemar(y, np.arange(20) % 2, y)
    >>> test.gain, round(test.p_value, 4)
    (0.5, 0.002)
    """
    only_champion = int(((champion == y) & (challenger != y)).sum())
    only_challenger = int(((challenger == y) & (champion != y)).sum())
    n, least = only_champion + only_challenger, min(only_champion, only_challenger)
    tail = sum(math.exp(_log_binomial(n, k) - n * math.log(2.0)) for k in range(least + 1))
    return PairedTest(
        gain=(only_challenger - only_champion) / len(y),
        interval=None,
        p_value=min(1.0, 2.0 * tail),
    )


def _resampled(n: int, draws: int, rng: np.random.Generator) -> Iterator[Doubles]:
    """How often each of N examples is drawn, (B, N), for all draws, some at a time."""
    at_once = max(1, _VALUES // n)
    for first in range(0, draws, at_once):
        count = min(at_once, draws - first)
        drawn = rng.integers(0, n, (count, n)) + np.arange(count)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)


def _two_sided(gains: Doubles) -> float:
    """The p-value of no gain; one draw is added to each side, so that it is never 0."""
    below, above = int((gains <= 0.0).sum()), int((gains >= 0.0).sum())
    return min(1.0, 2.0 * (min(below, above) + 1) / (len(gains) + 1))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
