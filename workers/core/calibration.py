"""Calibration: whether a confidence of 0.8 is right 8 times in 10, and the fit of the temperature.

Decides: how calibration is measured and fitted. Does not decide: what is scored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = (5**0.5 - 1) / 2


def expected_calibration_error(
    probabilities: NDArray[np.float32], y: NDArray[np.integer[Any]], *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy, over bins of the top label's confidence.

    ECE = sum over bins b of |b| / N * |accuracy(b) - mean confidence(b)|, with `bins` bins of
    equal width (low, high] on 0..1. Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Args:
        probabilities: (N, L), N at least 1.
        y: (N,) indices of the true labels.
        bins: how many; 15 as in the paper.

    Returns:
        0 (calibrated) to 1.

    >>> p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], np.float32)
    >>> round(expected_calibration_error(p, np.array([0, 1, 1])), 3)  # (2 * 0.4 + 0.4) / 3
    0.4
    """
    confidence = probabilities.max(axis=1).astype(np.float64)  # (N,)
    right = probabilities.argmax(axis=1) == y  # (N,)
    place = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)  # (N,)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)  # (bins,): |b| * gap
    return float(np.abs(gap).sum() / len(y))


def fit_temperature(
    logits: NDArray[np.float32],
    y: NDArray[np.integer[Any]],
    *,
    low: float = 1e-3,
    high: float = 10.0,
) -> float:
    """The temperature under which the true labels are likeliest.

    Golden-section search on log T: the loss is convex in 1 / T, so it has one valley. For the
    spread rule of `zero_shot`, logits are cosine / spread and the answer is `Scale.temperature`.

    Args:
        logits: (N, L); cosines will do.
        y: (N,) indices of the true labels.
        low, high: the temperatures to search between, both above 0.

    Returns:
        T, to 1 part in 10,000; `low` or `high` where the valley lies outside.

    >>> logits = np.array([[1, 0]] * 4, np.float32)  # right 3 times of 4: odds 3 = exp(1 / T)
    >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 3)
    0.91
    """

    def loss(log_t: float) -> float:
        return negative_log_likelihood(logits, y, float(np.exp(log_t)))

    left, right = float(np.log(low)), float(np.log(high))
    while right - left > 1e-4:
        step = GOLDEN * (right - left)
        if loss(right - step) <= loss(left + step):
            right = left + step
        else:
            left = right - step
    return float(np.exp((left + right) / 2))


def negative_log_likelihood(
    logits: NDArray[np.float32], y: NDArray[np.integer[Any]], temperature: float = 1.0
) -> float:
    """Mean of -log p(true label) under softmax(logits / temperature), in nats.

    Args:
        logits: (N, L). y: (N,). temperature: above 0.

    >>> round(negative_log_likelihood(np.zeros((1, 4), np.float32), np.array([2])), 4)  # log 4
    1.3863
    """
    z = logits.astype(np.float64) / temperature  # float64: the search compares tiny differences
    z -= z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())
