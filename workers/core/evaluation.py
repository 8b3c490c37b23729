"""Evaluation metrics, computed from labels and scores.

Decides: accuracy, F1, confusion, reliability, the thresholds that serve each label best, and which
items are most worth labelling. Does not decide: what is done about it, nor how it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.evaluation_results import ReliabilityBin

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]
Indices = NDArray[np.integer[Any]]

NO_THRESHOLD = 0.5  # of a label that has none to tune
_DECIMALS = 6  # of the figures of records


@dataclass(frozen=True, kw_only=True)
class QualityMetrics:
    """Shares in 0..1. Per label (L,): `precision`, `recall`, `f1`; `support` counts true items.

    `macro_f1` is the mean over labels that occur, as truth or as prediction; `micro_f1` pools all
    decisions, which for one label per item equals `accuracy`.
    """

    accuracy: float
    macro_f1: float
    micro_f1: float
    precision: Doubles
    recall: Doubles
    f1: Doubles
    support: Ints


def quality(confusion: Ints) -> QualityMetrics:
    """All of it from a confusion matrix (L, L).

    >>> q = quality(np.array([[3, 1], [0, 4]]))
    >>> q.accuracy, round(q.macro_f1, 3), q.recall.tolist(), q.support.tolist()
    (0.875, 0.873, [0.75, 1.0], [4, 4])
    """
    hits = np.diag(confusion).astype(np.float64)
    true, found = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = _ratio(2.0 * hits, (true + found).astype(np.float64))
    occurs = (true + found) > 0
    accuracy = float(hits.sum() / max(int(confusion.sum()), 1))
    return QualityMetrics(
        accuracy=accuracy,
        macro_f1=float(f1[occurs].mean()) if occurs.any() else 0.0,
        micro_f1=accuracy,
        precision=_ratio(hits, found.astype(np.float64)),
        recall=_ratio(hits, true.astype(np.float64)),
        f1=f1,
        support=true.astype(np.intp),
    )


def confusion(y: Indices, predicted: Indices, labels: int) -> Ints:
    """Counts (L, L): row is the true label, column the predicted one.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = np.bincount(np.asarray(y) * labels + predicted, minlength=labels * labels)
    return flat.reshape(labels, labels)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Bins of confidence, (B,): upper `edges`, mean `confidence`, `accuracy`, `counts`.

    An empty bin has confidence and accuracy 0.
    """

    edges: Doubles
    confidence: Doubles
    accuracy: Doubles
    counts: Ints

    @property
    def calibration_error(self) -> float:
        """The mean distance of confidence and accuracy, weighted by counts (Guo et al. 2017)."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(gaps @ self.counts / max(int(self.counts.sum()), 1))

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """The bins one by one, as records keep them."""
        return tuple(
            ReliabilityBin(
                upper=round(float(self.edges[b]), _DECIMALS),
                confidence=round(float(self.confidence[b]), _DECIMALS),
                accuracy=round(float(self.accuracy[b]), _DECIMALS),
                count=int(self.counts[b]),
            )
            for b in range(len(self.edges))
        )


def reliability(scores: Floats, y: Indices, *, bins: int = 15) -> Reliability:
    """The reliability diagram of the best label's score; bins as in the calibration error.

    >>> r = reliability(np.array([[0.9, 0.1], [0.7, 0.3]], np.float32), np.array([0, 1]), bins=2)
    >>> r.counts.tolist(), r.confidence.round(2).tolist(), r.accuracy.tolist()
    ([0, 2], [0.0, 0.8], [0.0, 0.5])
    """
    right = scores.argmax(axis=1) == y
    return reliability_of(scores.max(axis=1).astype(np.float64), right, bins=bins)


def reliability_of(confidence: Doubles, right: NDArray[np.bool_], *, bins: int = 15) -> Reliability:
    """The reliability diagram of N predictions, by the score of each and whether it is right."""
    place = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    total = counts.astype(np.float64)
    return Reliability(
        edges=np.arange(1, bins + 1) / bins,
        confidence=_ratio(np.bincount(place, confidence, bins), total),
        accuracy=_ratio(np.bincount(place, right.astype(np.float64), bins), total),
        counts=counts.astype(np.intp),
    )


def tuned_thresholds(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """For each label the threshold with the highest F1 of score >= threshold.

    It lies half-way between the last score that is kept and the next lower one. A label that is
    never true has none to tune and gets 0.5.

    Args:
        scores: (N, L). truth: (N, L), whether a label is true.

    Returns:
        (L,).

    >>> s = np.array([[0.9], [0.6], [0.4], [0.2]], np.float32)
    >>> tuned_thresholds(s, np.array([[True], [False], [True], [False]])).round(2).tolist()
    [0.30000001192092896]
    """
    found = np.full(scores.shape[1], NO_THRESHOLD, np.float32)
    for k in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-scores[:, k], kind="stable")
        s, hits = scores[order, k].astype(np.float64), np.cumsum(truth[order, k])
        f1 = 2.0 * hits / (np.arange(1, len(s) + 1) + hits[-1])
        below = np.append(s[1:], 0.0)
        # Equal scores stay or go together.
        best = int(np.where(below < s, f1, -1.0).argmax())
        found[k] = (s[best] + below[best]) / 2.0
    return found


def margins(scores: Floats) -> Floats:
    """How far the best label is ahead of the second, (N,); its own score where there is one label.

    >>> margins(np.array([[0.5, 0.25, 0.25]], np.float32)).tolist()
    [0.25]
    """
    if scores.shape[1] < 2:
        return scores[:, 0]
    top = np.partition(scores, -2, axis=1)[:, -2:]
    ahead: Floats = top[:, 1] - top[:, 0]
    return ahead


def most_worth_labelling(scores: Floats) -> Ints:
    """Indices of all items, the most uncertain first: smallest margin, ties in the order given.

    Margin sampling (Scheffer, Decomain, Wrobel 2001).

    >>> most_worth_labelling(np.array([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]], np.float32)).tolist()
    [1, 2, 0]
    """
    return np.argsort(margins(scores), kind="stable")


def _ratio(a: NDArray[Any], b: Doubles) -> Doubles:
    ratio: Doubles = np.divide(a, b, out=np.zeros_like(b), where=b > 0)
    return ratio
