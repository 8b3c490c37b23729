"""Expert weights (Hedge): experts are weighted by their predictions of unseen examples.

Decides: the weight and the temperature of each expert. Does not decide: what the experts are.

Cross-fitting costs no data: each example is predicted by what was learnt from others; for a single
one that is progressive validation (Blum, Kalai, Langford 1999). Experts are weighed by exp(-loss)
as in Hedge (Freund and Schapire 1997), which for the log loss is Bayes' rule; each expert's loss is
kept for a few temperatures, so its scale is fitted by the same numbers. Old losses fade, for an
expert that was best at 10 examples need not be best at 1,000, and after a drift none of the old
ones counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

STEPS, FACTOR = 13, 1.5
# After this many examples half of a penalty is forgotten.
PENALTY_HALF = 10.0


@dataclass(frozen=True, kw_only=True)
class Hedge:
    """Faded sums of log loss in nats, `losses` (E, T), of E experts at T temperatures.

    `centre` is the temperature in the middle, `worth` what a temperature a factor e away from it
    costs. `penalty` (E,) counts against an expert until examples were `heard`.
    """

    losses: Doubles
    penalty: Doubles
    centre: float
    worth: float
    heard: float = 0.0

    @classmethod
    def start(cls, penalty: Doubles, *, centre: float = 1.0, worth: float = 1.0) -> Hedge:
        """Before any example."""
        losses = np.zeros((len(penalty), STEPS))
        return cls(losses=losses, penalty=penalty, centre=centre, worth=worth)

    def add(self, logits: Floats, y: Ints, weights: Doubles, *, keep: float) -> Hedge:
        """With the losses of N examples, predicted without having been learnt.

        Args:
            logits: (E, N, L). y: (N,) indices. weights: (N,) in examples.
            keep: 0..1, what remains of the old losses.

        >>> logits = np.array([[[2, 0]], [[0, 2]]], np.float32)  # the first is right
        >>> hedge = Hedge.start(np.zeros(2)).add(logits, np.array([0]), np.ones(1), keep=1.0)
        >>> hedge.trust().round(3).tolist(), hedge.temperature().round(2).tolist()
        ([0.833, 0.167], [0.9, 1.64])
        """
        new = np.empty_like(self.losses)
        powers = np.empty(logits.shape[1:], np.float32)  # (N, L): one buffer stays in the cache
        ones = np.ones(logits.shape[2], np.float32)  # (L,)
        for e, of_expert in enumerate(logits):
            below = of_expert - of_expert.max(axis=1, keepdims=True)  # (N, L), at most 0
            own = below[np.arange(len(y)), y]  # (N,)
            for t, temperature in enumerate(self.centre * np.exp(_away())):
                np.multiply(below, np.float32(1.0 / temperature), out=powers)
                total = np.exp(powers, out=powers) @ ones  # (N,): half the time of `sum`
                new[e, t] = (np.log(total) - own / temperature).astype(np.float64) @ weights
        heard = self.heard + float(weights.sum())
        return replace(self, losses=keep * self.losses + new, heard=heard)

    def trust(self) -> Doubles:
        """Weight of each expert, (E,); they sum to 1."""
        best = self._believed().min(axis=1)
        weights = np.exp(best.min() - best)
        share: Doubles = weights / weights.sum()
        return share

    def temperature(self) -> Doubles:
        """The likeliest temperature of each expert, (E,): a parabola through the lowest three."""
        losses = self._believed()
        place = np.clip(losses.argmin(axis=1), 1, STEPS - 2)
        low, mid, high = (
            np.take_along_axis(losses, place[:, None] + k, axis=1)[:, 0] for k in (-1, 0, 1)
        )
        bend = low - 2.0 * mid + high
        shift = np.divide(0.5 * (low - high), bend, out=np.zeros_like(bend), where=bend > 1e-9)
        found: Doubles = self.centre * np.exp(_away())[place] * FACTOR ** np.clip(shift, -1.0, 1.0)
        return found

    def combination(self) -> Floats:
        """(E,): what each expert's logits are multiplied with before they are added up."""
        return (self.trust() / self.temperature()).astype(np.float32)

    def _believed(self) -> Doubles:
        penalty = self.penalty * (PENALTY_HALF / (PENALTY_HALF + self.heard))
        believed: Doubles = self.losses + penalty[:, None] + self.worth * _away() ** 2
        return believed


def _away() -> Doubles:
    """How far each temperature is from the middle one, as a logarithm, (T,)."""
    away: Doubles = (np.arange(STEPS) - STEPS // 2) * np.log(FACTOR)
    return away
