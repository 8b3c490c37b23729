"""A classifier that learns from examples as they come, and starts from what its labels mean.

Decides: the order of predict and learn, how the experts become one linear model, the report.
Does not decide: where weights are stored, versions, what a label's prompts are.

Three sources, each linear in the embedding, so their mixture is one matrix and scoring costs what
zero-shot costs: Gaussian clouds around the label embeddings (`gaussian`), passive-aggressive
weights that start from them (`passive_aggressive`), the label embeddings alone. Every example is
predicted by all of them before it is learnt; that gives trust and temperatures (`hedge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workers.core import gaussian
from workers.core.gaussian import Linear
from workers.core.hedge import Hedge
from workers.core.moments import Moments
from workers.core.passive_aggressive import PassiveAggressive
from workers.core.trust_calibration import Calibration, softmax
from workers.core.zero_shot import Scale, temperature

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

SOURCES = ("examples", "margins", "labels")
# Shares of the sources, in quarters: corners, edges and the middle.
BLENDS = np.array(
    [(4, 0, 0), (3, 1, 0), (2, 2, 0), (1, 3, 0), (0, 4, 0), (3, 0, 1), (2, 0, 2), (0, 0, 4), (2, 1, 1)],
    np.float32,
) / np.float32(4)  # fmt: skip
# Label embeddings are this long at the start of passive-aggressive: cosines differ by 0.1 to 0.3
# between labels, margins are 1.
PRIOR_LENGTH = 3.0
MAX_BLOCK = 512
GROWTH = 0.5
FADE = 2
CLOUD_PEN = np.array([6 * max(0, 1 - np.log2(k) / 5) for a, k in gaussian.GRID])
BLEND_PEN = 4.5 * (1 - np.minimum(1, 2 * BLENDS[:, 2]))
PA_ALL = 0.5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `learn` saw, each example predicted before it was learnt.

    `curve` holds (examples learnt before, share right) per block; `trust`, the share of each of
    `SOURCES` in the scores; `strength`, how far examples follow the embedding of their label:
    near 0 where labels mean nothing.
    """

    accuracy: float
    log_loss: float
    curve: tuple[tuple[int, float], ...]
    trust: Mapping[str, float]
    strength: float


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The state after any number of examples; bounded by labels * D and D * D.

    A value: `grow` and `learn` return another one. The same calls give the same bits.
    """

    labels: tuple[str, ...]
    prior: Floats  # (L, D)
    scale: Scale
    seen: int
    moments: Moments
    margins: PassiveAggressive
    clouds: Hedge
    sources: Hedge
    blends: Hedge
    final: Calibration
    model: Linear  # (L, D): logits

    @classmethod
    def start(cls, labels: Sequence[str], prior: Floats, scale: Scale) -> Learner:
        """Of no examples: it scores as zero-shot does, but for the temperature.

        Args:
            labels: L of them, 1 or more.
            prior: (L, D) label embeddings, unit rows.
            scale: of the embedding model's cosines.
        """
        prior = np.array(prior, np.float32)
        empty = cls(
            labels=tuple(labels),
            prior=prior,
            scale=scale,
            seen=0,
            moments=Moments.empty(*prior.shape),
            margins=PassiveAggressive.start(np.float32(PRIOR_LENGTH) * prior),
            clouds=Hedge.start(CLOUD_PEN, centre=6.0, worth=1.0),
            sources=Hedge.start(np.zeros(2), worth=2.0),
            blends=Hedge.start(BLEND_PEN, worth=8.0),
            final=Calibration.start(),
            model=Linear(rows=prior, bias=np.zeros(len(prior), np.float32)),
        )
        return empty._compiled(empty._fit())

    def grow(self, labels: Sequence[str], prior: Floats) -> Learner:
        """With more labels at the end; prior (M, D) are their embeddings."""
        prior = np.asarray(prior, np.float32)
        grown = replace(
            self,
            labels=(*self.labels, *labels),
            prior=np.concatenate([self.prior, prior]),
            moments=self.moments.grow(len(prior)),
            margins=self.margins.grow(np.float32(PRIOR_LENGTH) * prior),
        )
        return grown._compiled(grown._fit())

    def learn(
        self, x: Floats, y: Ints, *, weights: Doubles | None = None, iters: Ints | None = None
    ) -> tuple[Learner, Report]:
        """Learn N examples in the order given.

        Blocks are as long as all that was learnt before, at most `MAX_BLOCK`: each is predicted,
        then learnt. Only ratios of weight * iters count for the moments; a call with more
        iterations than earlier ones outweighs them, which is how the learner follows a drift.

        Args:
            x: (N, D), unit rows. y: (N,) indices of labels.
            weights: (N,) above 0; None is 1 for all.
            iters: (N,) passes over each example, 1 and up; None is 10 for all.
        """
        weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        iters = np.full(len(x), 10, np.intp) if iters is None else np.asarray(iters, np.intp)
        now, fitted = self, self._fit()
        curve: list[tuple[int, float]] = []
        hits, loss, begin = 0.0, 0.0, 0
        while begin < len(x):
            end = min(len(x), begin + min(max(int(now.seen * GROWTH), 1), MAX_BLOCK))
            block = slice(begin, end)
            p = now.scores(x[block])  # (B, L)
            right = p.argmax(axis=1) == y[block]
            hits += right.sum()
            loss -= float(np.log(np.maximum(p[np.arange(end - begin), y[block]], 1e-7)).sum())
            curve.append((now.seen, float(right.mean())))
            now = now._step(fitted, x[block], y[block], weights[block], iters[block])
            fitted = now._fit()
            now = now._compiled(fitted)
            begin = end
        if PA_ALL:
            now = replace(
                now, margins=now.margins.learn(x, y, weights, (iters * PA_ALL).astype(int))
            )
            now = now._compiled(fitted)
        count = max(len(x), 1)
        return now, Report(
            accuracy=hits / count,
            log_loss=loss / count,
            curve=tuple(curve),
            trust=now.trust(),
            strength=fitted.strength,
        )

    def scores(self, x: Floats) -> Floats:
        """Calibrated probabilities (N, L) of items (N, D); rows sum to 1."""
        return softmax(self.model.scores(x), *self.final.fitted())

    def trust(self) -> dict[str, float]:
        """The share of each source in the scores."""
        share = self.blends.trust() @ BLENDS
        return dict(zip(SOURCES, share.tolist(), strict=True))

    def _fit(self) -> gaussian.Clouds:
        t = temperature(self.prior, self.scale)
        return gaussian.fit(self.moments, self.prior.astype(np.float64), t)

    def _step(
        self, fitted: gaussian.Clouds, x: Floats, y: Ints, weights: Doubles, iters: Ints
    ) -> Learner:
        """Trust after predicting the examples, then the state after learning them."""
        moments = self.moments.add(x, y, weights * iters)
        worth = weights * iters * moments.unit  # (B,), in examples
        # The old share of all weight: what was lost at t counts as t / T later.
        keep = float(self.moments.counts.sum() / moments.counts.sum()) ** FADE
        clouds, margins, labels = fitted.models.scores(x), self._margins().scores(x), fitted.labels
        separate = np.stack([margins, labels.scores(x)])  # (2, B, L)
        examples = np.tensordot(self.clouds.combination(), clouds, 1)  # (B, L)
        rest = separate / self.sources.temperature().astype(np.float32)[:, None, None]
        blended = np.tensordot(BLENDS, np.stack([examples, *rest]), 1)  # (M, B, L)
        mixed = np.tensordot(self.blends.combination(), blended, 1)
        return replace(
            self,
            seen=self.seen + len(x),
            moments=moments,
            margins=self.margins.learn(x, y, weights, np.ceil(iters * (1 - PA_ALL)).astype(int)),
            clouds=self.clouds.add(clouds, y, worth, keep=keep),
            sources=self.sources.add(separate, y, worth, keep=keep),
            blends=self.blends.add(blended, y, worth, keep=keep),
            final=self.final.add(mixed, y, worth, keep=keep),
        )

    def _compiled(self, fitted: gaussian.Clouds) -> Learner:
        """The mixture as one linear model."""
        share = self.blends.combination() @ BLENDS
        share[1:] /= self.sources.temperature()
        clouds, margins = self.clouds.combination(), self._margins()
        parts = (
            Linear(
                rows=np.tensordot(clouds, fitted.models.rows, 1),
                bias=np.tensordot(clouds, fitted.models.bias, 1),
            ),
            margins,
            fitted.labels,
        )
        rows = sum(c * part.rows for c, part in zip(share, parts, strict=True))
        bias = sum(c * part.bias for c, part in zip(share, parts, strict=True))
        return replace(self, model=Linear(rows=np.asarray(rows), bias=np.asarray(bias)))

    def _margins(self) -> Linear:
        average = self.margins.average
        # Margins of 1 are worth about e to the 4th: temperatures near 1 for all sources.
        return Linear(rows=4 * average[:, :-1], bias=4 * average[:, -1])
