"""The fit of an item (out-of-scope detection): the probability that labels or examples describe it.

Decides: the evidence, and how it becomes a probability. Does not decide: which constants belong to
a model (the catalogue), what follows from a low fit (`unknown_below`).

A softmax compares labels with each other, so the best of them has a share of 1 even where none is
near: calibration throws away how near. The fit keeps it. It is a logistic function of few numbers:
of the item, the cosine of what is nearest and that of labels which say nothing; of the label set or
classifier, what tells at which cosine its own items lie. The probability is that of a mixture in
which every second item is described. How the constants are fitted, and how good the fit is on
label sets that they were not fitted on: `ops/bench/fit.py`, tables in docs/explanation/scoring.md.

Where a model has no constants, the evidence is taken in units that do not depend on the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.model_catalogue import ExampleFit, LabelFit
from workers.core.sufficient_statistics import SufficientStatistics
from workers.core.zero_shot import cosines

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# What the label embedding is worth as the centre of a class, in examples, and how far texts follow
# it: as in `gaussian`, whose smallest kappa and guess these are.
LABEL_WORTH, LABEL_STRENGTH = 2.0, 0.2
# Pairs of examples of one label have a cosine of 0.1 to 0.6; the guess where no label has two.
COHESION_GUESS = 0.2
# Without constants of the model: of the log odds of the labels' share against the null labels, and
# of the place between the two cosines that are expected.
SHARE_ODDS = (0.56, -1.46, 1.76)  # times the log odds, times the log of the number of labels, plus
PLACE_ODDS = (1.19, -0.38)  # times the place, plus
MIN_GAP = 0.1  # of the two cosines: classes that overlap leave little to divide by


@dataclass(frozen=True, kw_only=True)
class Described:
    """Labels without examples, and null labels for comparison; measured once.

    `generic` is the mean cosine of labels with null labels: texts lie nearer to labels that are
    more specific. `temperature` is that of the label set, in cosine.
    """

    rows: Floats  # (L, D)
    null: Floats  # (M, D)
    generic: float
    temperature: float

    @classmethod
    def measure(cls, rows: Floats, null: Floats, *, temperature: float) -> Self:
        """Of labels (L, D) and null labels (M, D), unit rows; M is at least 1."""
        generic = float(cosines(rows, null).mean())
        return cls(rows=rows, null=null, generic=generic, temperature=temperature)

    def fit(self, x: Floats, constants: LabelFit | None) -> Floats:
        """The fit of items (N, D), unit rows: (N,), 0 to 1.

        >>> labels = Described.measure(np.eye(3, dtype=np.float32)[:2],
        ...                            np.eye(3, dtype=np.float32)[2:], temperature=0.05)
        >>> near, far = labels.fit(np.eye(3, dtype=np.float32)[[0, 2]], None)
        >>> bool(near > 0.9 and far < 0.1)
        True
        """
        cos, null = cosines(x, self.rows), cosines(x, self.null)  # (N, L), (N, M)
        log_count = float(np.log(len(self.rows)))
        if constants is None:
            t = self.temperature
            share = _log_sum_exp(cos / t) - _log_sum_exp(null / t)  # (N,)
            a, b, c = SHARE_ODDS
            return _sigmoid(a * share + b * log_count + c)
        return _sigmoid(
            constants.nearest * cos.max(axis=1)
            + constants.null * null.mean(axis=1)
            + constants.generic * self.generic
            + constants.log_labels * log_count
            + constants.offset
        )


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """The classes of a classifier, by the sums that it keeps of its examples; measured once.

    `own` is the cosine that a further example of a class can be expected to have with its centre,
    `other` what examples have with the nearest centre of another class, on average.
    """

    centres: Floats  # (L, D), unit rows
    own: float
    other: float

    @classmethod
    def measure(cls, moments: SufficientStatistics, prior: Floats) -> Self:
        """Of the sums of L labels whose embeddings are `prior` (L, D).

        The cosine of a new example with the mean of n others follows from the mean cosine c of
        pairs, which the length of a sum tells: c / sqrt(c + (1 - c) / n).
        """
        counts, sums = moments.counts * moments.unit, moments.sums * moments.unit  # (L,), (L, D)
        rows = sums + LABEL_WORTH * LABEL_STRENGTH * prior
        centres = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        seen = counts > 0
        pairs = counts * (counts - 1.0)
        several = counts >= 1.5  # weights may make two examples worth less than two
        c = COHESION_GUESS
        if several.any():
            together = (sums[several] ** 2).sum() - counts[several].sum()
            c = min(max(float(together / pairs[several].sum()), 0.01), 1.0)
        n = np.maximum(counts[seen], 1.0) if seen.any() else np.ones(1)
        own = float((c / np.sqrt(c + (1.0 - c) / n)).mean())
        other = 0.0
        if seen.any() and len(counts) > 1:
            cos = (sums[seen] / counts[seen, None]) @ centres.T  # (S, L)
            cos[np.arange(len(cos)), np.flatnonzero(seen)] = -1.0
            other = float(cos.max(axis=1) @ counts[seen] / counts[seen].sum())
        return cls(centres=centres.astype(np.float32), own=own, other=other)

    def fit(self, x: Floats, constants: ExampleFit | None) -> Floats:
        """The fit of items (N, D), unit rows: (N,), 0 to 1.

        >>> x = np.eye(3, dtype=np.float32)
        >>> m = SufficientStatistics.empty(2, 3)
        >>> m = m.add(x[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), np.ones(4))
        >>> near, far = Learnt.measure(m, x[:2]).fit(x[[0, 2]], None)
        >>> bool(near > far)
        True
        """
        nearest = cosines(x, self.centres).max(axis=1)  # (N,)
        if constants is None:
            a, b = PLACE_ODDS
            gap = max(self.own - self.other, MIN_GAP)
            return _sigmoid(a * (nearest - self.other) / gap + b)
        return _sigmoid(
            constants.nearest * nearest
            + constants.own * self.own
            + constants.other * self.other
            + constants.log_labels * float(np.log(len(self.centres)))
            + constants.offset
        )


def _log_sum_exp(z: Floats) -> Floats:
    """Over the columns of (N, K): (N,)."""
    top = z.max(axis=1, keepdims=True)
    total: Floats = top[:, 0] + np.log(np.exp(z - top).sum(axis=1))
    return total


def _sigmoid(log_odds: Floats) -> Floats:
    """Probabilities of log odds of any size."""
    found: Floats = (0.5 * (1.0 + np.tanh(0.5 * log_odds))).astype(np.float32)
    return found
