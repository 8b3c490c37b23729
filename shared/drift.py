"""Drift: how far the items that a version classifies differ from its reference. Pure.

Each measure has a threshold that holds at any number of items: the usual one, or what chance alone
exceeds once in 10,000 times, whichever is higher. A few items, or a small reference, raise no flag.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.observation import Observation

INDEX_THRESHOLD = 0.2
"""Of a population stability index: the value from which the literature speaks of a change."""
DISTANCE_THRESHOLD = 2.0
"""Of the distance of the mean embedding, in units of its chance spread."""
ENGINE_SPREAD = 0.001
"""Squared distance of mean embeddings that tells nothing: of the same 1,000 texts in int8 and in
bfloat16 it was 0.0006 to 0.0008 on four public sets, so 10,000 items would show it."""
MIN_ITEMS = 50
"""Fewer items, on either side, are never drifted."""
_CHANCE_SIGMA = 3.719  # of the normal distribution: exceeded once in 10,000 times
_PSEUDO_COUNT = 0.5  # in each category, so that one without items has a logarithm


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of drift."""

    value: float
    threshold: float
    enough: bool = True  # items on both sides

    @property
    def drifted(self) -> bool:
        """Whether the value is beyond the threshold."""
        return self.enough and self.value > self.threshold


@dataclass(frozen=True, kw_only=True)
class DriftMeasures:
    """The measures of observed items against a reference.

    Attributes:
        labels: Population stability index (PSI) of the predicted labels.
        confidence: PSI of the scores of the best labels.
        embedding: Distance of the mean embedding in units of its chance spread: 1 is expected.
    """

    labels: Measure
    confidence: Measure
    embedding: Measure

    @property
    def by_name(self) -> dict[str, Measure]:
        """The measures by their names."""
        return {
            "labels": self.labels,
            "confidence": self.confidence,
            "embedding": self.embedding,
        }

    @property
    def drifted(self) -> bool:
        """Whether any measure is beyond its threshold."""
        return any(measure.drifted for measure in self.by_name.values())


def drift(reference: Observation, observed: Observation) -> DriftMeasures | None:
    """The drift of observed items; None if either side has no items."""
    if not reference.items or not observed.items:
        return None
    labels = sorted(reference.labels.keys() | observed.labels.keys())
    return DriftMeasures(
        labels=_index(
            [reference.labels.get(label, 0) for label in labels],
            [observed.labels.get(label, 0) for label in labels],
        ),
        confidence=_index(reference.confidence, observed.confidence),
        embedding=_distance(reference, observed),
    )


def stability_index(expected: Sequence[int], observed: Sequence[int]) -> float:
    """The population stability index of counts by category, (B,) each; 0 is no change.

    >>> stability_index([10, 10], [20, 20])
    0.0
    >>> round(stability_index([900, 100], [700, 300]), 2)
    0.27
    """
    p, q = _shares(expected), _shares(observed)
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def chi_square_quantile(freedom: int, sigma: float) -> float:
    """The value that a chi-square variable exceeds as rarely as a normal one exceeds `sigma`.

    Wilson and Hilferty, 1931, https://doi.org/10.1073/pnas.17.12.684.

    >>> round(chi_square_quantile(10, 1.6449), 1)
    18.3
    """
    spread = 2.0 / (9.0 * freedom)
    return freedom * max(0.0, 1.0 - spread + sigma * math.sqrt(spread)) ** 3


def _index(expected: Sequence[int], observed: Sequence[int]) -> Measure:
    """The index of counts, over the categories that occur.

    Without a change it is distributed as chi-square times (1/n + 1/m): Yurdakul, 2018,
    https://scholarworks.wmich.edu/dissertations/3208.
    """
    kept = [(a, b) for a, b in zip(expected, observed, strict=True) if a or b]
    n, m = sum(a for a, _ in kept), sum(b for _, b in kept)
    if not n or not m:
        return Measure(value=0.0, threshold=INDEX_THRESHOLD, enough=False)
    chance = 0.0
    if len(kept) > 1:
        chance = (1.0 / n + 1.0 / m) * chi_square_quantile(len(kept) - 1, _CHANCE_SIGMA)
    return Measure(
        value=stability_index([a for a, _ in kept], [b for _, b in kept]),
        threshold=max(INDEX_THRESHOLD, chance),
        enough=min(n, m) >= MIN_ITEMS,
    )


def _distance(reference: Observation, observed: Observation) -> Measure:
    """The distance of the means over its root mean square under no change, or another precision."""
    n, m = reference.items, observed.items
    mean, other = _mean(reference), _mean(observed)
    if len(mean) != len(other) or not mean:
        return Measure(value=0.0, threshold=DISTANCE_THRESHOLD, enough=False)
    squared = sum((a - b) ** 2 for a, b in zip(mean, other, strict=True))
    chance = _variance(reference, mean) / n + _variance(observed, other) / m
    value = math.sqrt(squared / max(chance, ENGINE_SPREAD))
    return Measure(value=value, threshold=DISTANCE_THRESHOLD, enough=min(n, m) >= MIN_ITEMS)


def _mean(of: Observation) -> list[float]:
    return [each / of.items for each in of.vector]


def _variance(of: Observation, mean: Iterable[float]) -> float:
    """The sum of the variances of the dimensions."""
    return max(0.0, of.squares / of.items - sum(each * each for each in mean))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + _PSEUDO_COUNT * len(counts)
    return [(each + _PSEUDO_COUNT) / total for each in counts]
