"""Whom to trust: experts weighed by how well they predicted examples before they saw them.

Decides: the weight and the temperature of each expert. Does not decide: what the experts are.

Progressive validation (Blum, Kalai, Langford 1999) costs no data: each example is predicted
before it is learnt. Experts are weighed by exp(-loss) as in Hedge (Freund and Schapire 1997),
which for the log loss is Bayes' rule; each expert's loss is kept for a few temperatures, so its
calibration is fitted by the same numbers. Old losses fade, for an expert that was best at 10
examples need not be best at 1,000, and after a drift none of the old ones counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

STEPS = 13
# After this many examples half of what counted against an expert from the start is forgotten.
PENALTY_HALF = 20.0


@dataclass(frozen=True, kw_only=True)
class Hedge:
    """Faded sums of log loss, of E experts at T temperatures.

    `temperatures` (T,) rise by a constant factor. `losses` (E, T), in nats. `worth` is what a
    temperature a factor e away from the middle one costs, whatever has faded.
    """

    losses: Doubles
    temperatures: Doubles
    worth: float
    penalty: Doubles
    heard: float = 0.0

    @classmethod
    def start(
        cls, penalty: Doubles, *, centre: float = 1.0, factor: float = 1.5, worth: float = 1.0
    ) -> Hedge:
        """Before any example: experts alike, temperatures near `centre` likelier."""
        away = (np.arange(STEPS) - STEPS // 2) * np.log(factor)
        return cls(
            losses=np.zeros((len(penalty), STEPS)),
            penalty=penalty,
            temperatures=centre * np.exp(away),
            worth=worth,
        )

    def add(self, logits: Floats, y: Ints, weights: Doubles, *, keep: float) -> Hedge:
        """With the losses of examples predicted and not yet learnt.

        Args:
            logits: (E, N, L). y: (N,) indices. weights: (N,) in examples.
            keep: 0..1, what remains of the old losses.

        >>> hedge = Hedge.start(np.zeros(2)).add(np.array([[[4, 0]], [[0, 4]]], np.float32), np.array([0]),
        ...                            np.ones(1), keep=1.0)
        >>> hedge.trust().round(3).tolist()
        [0.852, 0.148]
        """
        top = logits.max(axis=2, keepdims=True)
        below = logits - top  # (E, N, L), at most 0
        own = np.take_along_axis(below, y[None, :, None], axis=2)[..., 0]  # (E, N)
        new = np.empty_like(self.losses)
        for t, temperature in enumerate(self.temperatures):
            z = np.exp(below * np.float32(1.0 / temperature)).sum(axis=2)  # (E, N)
            new[:, t] = (np.log(z) - own / temperature).astype(np.float64) @ weights
        return replace(
            self, losses=keep * self.losses + new, heard=self.heard + float(weights.sum())
        )

    def trust(self) -> Doubles:
        """Weight of each expert, (E,), that sum to 1."""
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
        ratio = self.temperatures[1] / self.temperatures[0]
        found: Doubles = self.temperatures[place] * ratio ** np.clip(shift, -1.0, 1.0)
        return found

    def combination(self) -> Floats:
        """(E,): what each expert's logits are multiplied with before they are added up."""
        return (self.trust() / self.temperature()).astype(np.float32)

    def _believed(self) -> Doubles:
        away = np.log(self.temperatures / self.temperatures[STEPS // 2])
        fade = PENALTY_HALF / (PENALTY_HALF + self.heard)
        believed: Doubles = self.losses + self.worth * away**2 + fade * self.penalty[:, None]
        return believed
