"""Plausibility limits of an uploaded classifier file.

Scores may overflow although each number of a file is finite: weights of 3e38 gave null as a score.
This module refuses magnitudes far beyond those of training, and violations of the invariants of
sums over unit vectors: for example, the sum of a label is never longer than its count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.core.learner import Learner

_MAX_WEIGHT = 1e9  # trained weights reach some 1e5
_MAX_LOSS = 2.0**53
_TEMPERATURES = (1e-6, 1e6)  # the models of the catalogue have 0.01 to 0.1
_MAX_NULL_BIAS = 1e6
_AGGRESSIVENESS = (1e-6, 1e6)
_SLACK = 0.01  # tolerance: vectors have length 1 except for rounding
_ROUNDING = 1e-6
_PROBES = 16


def check(learner: Learner) -> None:
    """Refuse a classifier that could not score or continue training.

    Raises:
        ValueError: A number is out of range, or numbers are inconsistent.
    """
    _check_magnitudes(learner)
    _check_moments(learner)
    _check_results(learner)


def _check_magnitudes(learner: Learner) -> None:
    scale, margins = learner.scale, learner.margins
    if type(scale.by_spread) is not bool:
        raise ValueError("scale.by_spread must be true or false")
    _bounded("scale.temperature", scale.temperature, *_TEMPERATURES)
    _bounded("scale.null_bias", scale.null_bias, -_MAX_NULL_BIAS, _MAX_NULL_BIAS)
    _bounded("aggressiveness", margins.aggressiveness, *_AGGRESSIVENESS)
    for name, array in learner.arrays().items():
        if array.dtype == np.float32:
            _bounded(name, array, -_MAX_WEIGHT, _MAX_WEIGHT)
    lengths = np.linalg.norm(learner.prior.astype(np.float64), axis=1)
    _bounded("prior: the length of a row", lengths, 0.0, 1.0 + _SLACK)
    for name in ("clouds", "sources", "blends", "calibration"):
        _bounded(name, learner.arrays()[name], -_SLACK, _MAX_LOSS)  # sums of log losses


def _check_moments(learner: Learner) -> None:
    moments = learner.moments
    _bounded("counts", moments.counts, 0.0, _MAX_LOSS)
    total = float(moments.counts.sum())
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(moments.sums, axis=1)
        too_long = bool((lengths > moments.counts * (1 + _SLACK) + _ROUNDING).any())
    if too_long:
        raise ValueError("a row of 'sums' is longer than the count of its label")
    second = moments.second
    _bounded("second", second, -total * (1 + _SLACK) - _ROUNDING, total * (1 + _SLACK) + _ROUNDING)
    near = _ROUNDING * (1.0 + total)
    if not np.allclose(second, second.T, rtol=0.0, atol=near):
        raise ValueError("'second' is not symmetric")
    if abs(float(np.trace(second)) - total) > _SLACK * total + _ROUNDING:
        raise ValueError("the trace of 'second' is not the sum of 'counts'")
    # Kish's effective number of examples cannot be larger than their number.
    enough = total**2 <= moments.squares * learner.seen * (1 + _SLACK) + _ROUNDING
    if not enough or moments.squares > total**2 * (1 + _SLACK) + _ROUNDING:
        raise ValueError("'squares' does not match 'counts' and 'seen'")
    means = moments.sums / np.maximum(moments.counts, 1e-12)[:, None]
    within = second - moments.sums.T @ means
    within.flat[:: len(within) + 1] += near
    try:
        np.linalg.cholesky(within)
    except np.linalg.LinAlgError:
        raise ValueError("'second' and 'sums' are not moments of any examples") from None


def _check_results(learner: Learner) -> None:
    """Score a few vectors, with the model and with one rebuilt from the statistics."""
    chance = np.random.default_rng(0)
    x = chance.standard_normal((_PROBES, learner.prior.shape[1])).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        again = learner.grow((), learner.prior[:0])
        results = (learner.scores(x), learner.model.scores(x), again.scores(x))
    if not all(np.isfinite(each).all() for each in results):
        raise ValueError("its scores are not finite")


def _bounded(name: str, numbers: float | NDArray[np.generic], low: float, high: float) -> None:
    values = np.asarray(numbers, np.float64)
    if values.size and not (low <= values.min() and values.max() <= high):
        raise ValueError(f"{name} must be {low:g} to {high:g}")
