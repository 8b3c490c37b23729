"""A classifier that learns from examples as they come, and starts from what its labels mean.

Decides: the order of predict and learn, how the experts become one linear model, the report.
Does not decide: where weights are stored, versions, what a label's prompts are.

Three sources, each linear in the embedding, so that their mixture is one matrix and scoring costs
what zero-shot costs: Gaussian clouds around the label embeddings (`gaussian`), passive-aggressive
weights that start from them (`passive_aggressive`), the label embeddings alone. Every example is
predicted by all of them before it is learnt; that gives trust (`hedge`) and doubt (`doubt`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.core import gaussian
from workers.core.doubt import Calibration, softmax
from workers.core.gaussian import Linear
from workers.core.hedge import Hedge
from workers.core.moments import Moments
from workers.core.passive_aggressive import Kind, PassiveAggressive
from workers.core.zero_shot import Scale, temperature

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

SCHEMA = 1
DEFAULT_ITERS = 10
SOURCES = ("examples", "margins", "labels")
# Shares of the sources in a blend, in quarters: corners, edges and a middle.
BLENDS = np.array([
    (4, 0, 0), (3, 1, 0), (2, 2, 0), (1, 3, 0), (0, 4, 0),
    (3, 0, 1), (2, 0, 2), (0, 0, 4), (2, 1, 1),
], np.float64) / 4  # fmt: skip
# What counts, in nats and until examples speak, against blends with less than half of the labels
# and against clouds that leave their label embedding early. With one example per class, without
# this: emotion 32 and sms_spam 55 where the labels alone have 40 and 62.
BLEND_PENALTY = 4.5 * (1.0 - np.minimum(1.0, 2.0 * BLENDS[:, 2]))
CLOUD_PENALTY = np.array([1.5 * max(0.0, 5.0 - np.log2(kappa)) for _, kappa in gaussian.GRID])
# Margins of 1 mean odds of about e to the 4th, and clouds are 6 times too sure of themselves.
MARGIN_LOGIT, CLOUD_TEMPERATURE = 4.0, 6.0
# A block is predicted by what was learnt before it; half as long as that, it is nearly up to date.
GROWTH, MAX_BLOCK = 0.5, 512
# An example of k times the iterations outweighs k * k others. With k alone, rare labels that were
# swapped with frequent ones stay 40 % what they were at k = 10.
EMPHASIS = 2
# What was lost after t of n examples counts (t / n) ** FADE.
FADE = 2


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `learn` saw, each example predicted before it was learnt.

    `log_loss` in nats. `curve`: (examples learnt before, share right) per block. `trust`: the share
    of each of `SOURCES` in the scores. `strength`: how far examples follow the embedding of their
    label; under 0.05 where labels mean nothing.
    """

    accuracy: float
    log_loss: float
    curve: tuple[tuple[int, float], ...]
    trust: Mapping[str, float]
    strength: float


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The state after any number of examples; its size depends on labels and D only.

    A value: `grow` and `learn` return another one. The same calls give the same bits. `seen` counts
    examples; `model` is the mixture, worked out.
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
    calibration: Calibration
    model: Linear

    @classmethod
    def start(
        cls, labels: Sequence[str], prior: Floats, scale: Scale, *, kind: Kind = "PA-I"
    ) -> Learner:
        """Without examples: it ranks as zero-shot does.

        Args:
            labels: L of them, at least 1.
            prior: (L, D) label embeddings, unit rows.
            scale: of the embedding model's cosines.
            kind: of the passive-aggressive steps.
        """
        rows = np.array(prior, np.float32)
        empty = cls(
            labels=tuple(labels),
            prior=rows,
            scale=scale,
            seen=0,
            moments=Moments.empty(*rows.shape),
            margins=PassiveAggressive.start(rows, kind=kind),
            clouds=Hedge.start(CLOUD_PENALTY, centre=CLOUD_TEMPERATURE),
            sources=Hedge.start(np.zeros(2), worth=2.0),
            blends=Hedge.start(BLEND_PENALTY, worth=8.0),
            calibration=Calibration.start(),
            model=Linear(rows=rows, bias=np.zeros(len(rows), np.float32)),
        )
        return empty._compiled(empty._fit())

    def grow(self, labels: Sequence[str], prior: Floats) -> Learner:
        """With M more labels at the end; prior (M, D) are their embeddings."""
        rows = np.asarray(prior, np.float32)
        grown = replace(
            self,
            labels=(*self.labels, *labels),
            prior=np.concatenate([self.prior, rows]),
            moments=self.moments.grow(len(rows)),
            margins=self.margins.grow(rows),
        )
        return grown._compiled(grown._fit())

    def learn(
        self, x: Floats, y: Ints, *, weights: Doubles | None = None, iters: Ints | None = None
    ) -> tuple[Learner, Report]:
        """Learn N examples, in the order given.

        Block by block: predict, then learn. Of the passes half run over the block, before the next
        is predicted, and half over the whole call at its end: one call of 2,000 is worth 0.8 points
        more on 77 labels than with passes over blocks only. For the moments only the ratios of
        weight * iterations ** `EMPHASIS` count; a call with five times the iterations of earlier
        ones all but forgets them, which is how a drift is followed.

        Args:
            x: (N, D), unit rows. y: (N,) indices of labels.
            weights: (N,) above 0; None is 1 for all.
            iters: (N,) passes over each example, 1 and up; None is `DEFAULT_ITERS` for all.

        >>> from workers.core.zero_shot import Scale
        >>> x = np.eye(2, dtype=np.float32)
        >>> start = Learner.start(["a", "b"], x, Scale(temperature=0.1))
        >>> learner, report = start.learn(x[::-1], np.array([0, 1]))  # the labels are swapped
        >>> report.accuracy, learner.seen, start.seen
        (0.0, 2, 0)
        """
        weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        iters = np.full(len(x), DEFAULT_ITERS) if iters is None else np.asarray(iters)
        later, emphasis = iters // 2, weights * iters.astype(np.float64) ** EMPHASIS
        now, fitted = self, self._fit()
        curve: list[tuple[int, float]] = []
        hits, loss, begin = 0.0, 0.0, 0
        while begin < len(x):
            end = min(len(x), begin + now._block(float(emphasis[begin])))
            part = slice(begin, end)
            p = now.scores(x[part])  # (B, L)
            right = p.argmax(axis=1) == y[part]
            hits += float(right.sum())
            loss -= float(np.log(np.maximum(p[np.arange(len(p)), y[part]], 1e-7)).sum())
            curve.append((now.seen, float(right.mean())))
            now = now._predicted(fitted, x[part], y[part], emphasis[part])
            margins = now.margins.learn(x[part], y[part], weights[part], (iters - later)[part])
            now = replace(now, margins=margins)
            fitted = now._fit()
            now, begin = now._compiled(fitted), end
        margins = now.margins.learn(x, y, weights, later)
        now = replace(now, margins=margins)._compiled(fitted)
        count = max(len(x), 1)
        return now, Report(
            accuracy=hits / count,
            log_loss=loss / count,
            curve=tuple(curve),
            trust=now.trust(),
            strength=fitted.strength,
        )

    def scores(self, x: Floats) -> Floats:
        """Calibrated probabilities (N, L) of items (N, D); rows sum to 1.

        Examples carry one label each, so the probability of a label for itself, as `multi_label`
        asks for, is the same number: of scores near 0.3, 3 in 10 are true.
        """
        return softmax(self.model.scores(x), *self.calibration.fitted())

    def trust(self) -> dict[str, float]:
        """The share of each source in the scores; they sum to 1."""
        return dict(zip(SOURCES, (self.blends.trust() @ BLENDS).tolist(), strict=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is numbers, by name; `from_arrays` reads it back to the bit."""
        return {
            "prior": self.prior,
            "counts": self.moments.counts,
            "sums": self.moments.sums,
            "second": self.moments.second,
            "margins": self.margins.weights,
            "margins_lag": self.margins.lag,
            "clouds": self.clouds.losses,
            "sources": self.sources.losses,
            "blends": self.blends.losses,
            "calibration": self.calibration.losses,
            "rows": self.model.rows,
            "bias": self.model.bias,
        }

    def header(self) -> dict[str, Any]:
        """All that is not an array, as JSON."""
        return {
            "schema": SCHEMA,
            "labels": list(self.labels),
            "scale": asdict(self.scale),
            "seen": self.seen,
            "heard": self.clouds.heard,
            "squares": self.moments.squares,
            "steps": self.margins.steps,
            "kind": self.margins.kind,
            "aggressiveness": self.margins.aggressiveness,
        }

    @classmethod
    def from_arrays(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Learner:
        """The learner whose `header` and `arrays` these are.

        Raises:
            ValueError: when the schema is not this one, or a shape does not fit the labels.
        """
        if header.get("schema") != SCHEMA:
            raise ValueError(f"schema {header.get('schema')!r} is not {SCHEMA}")
        labels = tuple(header["labels"])
        start = cls.start(labels, np.asarray(arrays["prior"]), Scale(**header["scale"]))
        for name, array in start.arrays().items():
            if array.shape != arrays[name].shape:
                raise ValueError(f"{name} is {arrays[name].shape}, {array.shape} was expected")
        heard = float(header["heard"])
        return replace(
            start,
            seen=int(header["seen"]),
            moments=Moments(
                counts=arrays["counts"],
                sums=arrays["sums"],
                second=arrays["second"],
                squares=float(header["squares"]),
            ),
            margins=PassiveAggressive(
                weights=arrays["margins"],
                lag=arrays["margins_lag"],
                steps=float(header["steps"]),
                kind=header["kind"],
                aggressiveness=float(header["aggressiveness"]),
            ),
            clouds=replace(start.clouds, losses=arrays["clouds"], heard=heard),
            sources=replace(start.sources, losses=arrays["sources"], heard=heard),
            blends=replace(start.blends, losses=arrays["blends"], heard=heard),
            calibration=Calibration(losses=arrays["calibration"]),
            model=Linear(rows=arrays["rows"], bias=arrays["bias"]),
        )

    def _fit(self) -> gaussian.Clouds:
        t = temperature(self.prior, self.scale)
        return gaussian.fit(self.moments, self.prior.astype(np.float64), t)

    def _block(self, weight: float) -> int:
        """How many examples of this weight to predict before the next are learnt."""
        before = float(self.moments.counts.sum()) / weight
        return min(max(int(before * GROWTH), 1), MAX_BLOCK)

    def _predicted(self, fitted: gaussian.Clouds, x: Floats, y: Ints, weights: Doubles) -> Learner:
        """With B more examples in the moments and in the trust, each predicted by all sources."""
        moments = self.moments.add(x, y, weights)
        worth = weights * moments.unit  # (B,), in examples
        keep = float(self.moments.counts.sum() / moments.counts.sum()) ** FADE
        clouds = fitted.models.scores(x)  # (E, B, L)
        separate = np.stack([self._margins().scores(x), fitted.labels.scores(x)])  # (2, B, L)
        examples = np.tensordot(self.clouds.combination(), clouds, 1)  # (B, L)
        rest = separate / self.sources.temperature()[:, None, None].astype(np.float32)
        all_three = np.concatenate([examples[None], rest])
        blended = np.tensordot(BLENDS.astype(np.float32), all_three, 1)  # (M, B, L)
        mixed = np.tensordot(self.blends.combination(), blended, 1)  # (B, L)
        return replace(
            self,
            seen=self.seen + len(x),
            moments=moments,
            clouds=self.clouds.add(clouds, y, worth, keep=keep),
            sources=self.sources.add(separate, y, worth, keep=keep),
            blends=self.blends.add(blended, y, worth, keep=keep),
            calibration=self.calibration.add(mixed, y, worth, keep=keep),
        )

    def _compiled(self, fitted: gaussian.Clouds) -> Learner:
        """With the mixture as one linear model."""
        share = self.blends.combination().astype(np.float64) @ BLENDS  # (3,)
        share[1:] /= self.sources.temperature()
        clouds, labels, margins = self.clouds.combination(), fitted.labels, self._margins()
        a, b, c = (np.float32(s) for s in share)
        rows = a * np.tensordot(clouds, fitted.models.rows, 1) + b * margins.rows + c * labels.rows
        bias = a * np.tensordot(clouds, fitted.models.bias, 1) + b * margins.bias + c * labels.bias
        return replace(self, model=Linear(rows=rows, bias=bias))

    def _margins(self) -> Linear:
        average = np.float32(MARGIN_LOGIT) * self.margins.average  # (L, D + 1)
        return Linear(rows=average[:, :-1], bias=average[:, -1])
