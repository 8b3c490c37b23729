"""The online learner: starts from the label embeddings and learns from examples.

Decides: the order of predict and learn, how the experts become one linear model, the report.
Does not decide: where weights are stored, versions, what a label's prompts are.

Three sources, each linear in the embedding, so that their mixture is one matrix and scoring costs
what zero-shot costs: Gaussian clouds around the label embeddings (`gaussian`), passive-aggressive
weights that start from them (`passive_aggressive`), the label embeddings alone. Every example is
predicted by sources that have not seen it but nearly all others (cross-fitting); that gives trust
(`hedge`) and doubt (`output_calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.core import gaussian
from workers.core.gaussian import LinearScorer
from workers.core.hedge import Hedge
from workers.core.output_calibration import Calibration, softmax
from workers.core.passive_aggressive import Kind, PassiveAggressive
from workers.core.sufficient_statistics import SufficientStatistics
from workers.core.zero_shot import CosineCalibration, temperature

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
# (as far as labels mean something)
# and against clouds that leave their label embedding early. With one example per class, without
# this: emotion 32 and sms_spam 55 where the labels alone have 40 and 62.
BLEND_PENALTY = 4.5 * (1.0 - np.minimum(1.0, 2.0 * BLENDS[:, 2]))
CLOUD_PENALTY = np.array([1.5 * max(0.0, 5.0 - np.log2(kappa)) for _, kappa in gaussian.GRID])
# Margins of 1 mean odds of about e to the 4th, and clouds are 6 times too sure of themselves.
MARGIN_LOGIT, CLOUD_TEMPERATURE = 4.0, 6.0
# A call is cut into so many folds that each is predicted from nine tenths of all examples so far:
# with 5 folds of 1,000 emotions the calibration error is 0.06, with 10 it is 0.05. Calls with more
# scores than `LARGE` get 3 folds, for time: with 5, 1,024 labels take a seventh longer.
FOLDS, LARGE_FOLDS, LARGE = 10, 3, 2**17
THREADS = 2  # each holds the models of one fold
# An example of k times the iterations outweighs k ** EMPHASIS others. With 2, labels swapped after
# 200 of 400 examples, the later ones with 20 iterations, stay 4 points behind a fresh learner on 77
# labels; with 3 one.
EMPHASIS = 3
# One example weighs at most as much as `HEAVIEST` usual ones, of K that are as heavy each at most
# as much as `HEAVIEST_OF_PEERS` K: 200 may outweigh what was learnt before, one may not. Without a
# bound one news text of weight 1,000 taught to a learner of 80 was itself wrong afterwards in 5 of
# 8 cases, and 12 corrections with 30 iterations took the others from 79 % right to 72.
HEAVIEST, HEAVIEST_OF_PEERS = 3.0, 0.2
# What was lost in earlier calls counts (share of their examples in all so far) ** FADE.
FADE = 2


@dataclass(frozen=True, kw_only=True)
class LearningReport:
    """What `learn` saw, each example predicted by a learner that had not seen it.

    `log_loss` in nats. `curve`: (examples learnt, share right) of the call's examples, for the
    learner before the call and for the ones that saw all but a fold of it; empty without examples.
    `accuracy` is its last point. `trust`: the share of each of `SOURCES` in the scores. `strength`:
    how far examples follow the embedding of their label; under 0.05 where labels mean nothing.
    `scores` (N, L): of each example.
    """

    accuracy: float
    log_loss: float
    curve: tuple[tuple[int, float], ...]
    trust: Mapping[str, float]
    strength: float
    scores: Floats = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The state after any number of examples; its size depends on labels and D only.

    A value: `grow` and `learn` return another one. The same calls give the same bits. `seen` counts
    examples; `meant` is that of the clouds; `model` is the mixture, worked out.
    """

    labels: tuple[str, ...]
    prior: Floats  # (L, D)
    scale: CosineCalibration
    seen: int
    meant: float
    moments: SufficientStatistics
    margins: PassiveAggressive
    clouds: Hedge
    sources: Hedge
    blends: Hedge
    calibration: Calibration
    model: LinearScorer

    @classmethod
    def start(
        cls, labels: Sequence[str], prior: Floats, scale: CosineCalibration, *, kind: Kind = "PA-I"
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
            meant=1.0,
            moments=SufficientStatistics.empty(*rows.shape),
            margins=PassiveAggressive.start(rows, kind=kind),
            clouds=Hedge.start(CLOUD_PENALTY, centre=CLOUD_TEMPERATURE),
            sources=Hedge.start(np.zeros(2), worth=2.0),
            blends=Hedge.start(BLEND_PENALTY, worth=8.0),
            calibration=Calibration.start(),
            model=LinearScorer(rows=rows, bias=np.zeros(len(rows), np.float32)),
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
        return grown.refitted()

    def refitted(self) -> Learner:
        """With the mixture worked out anew, after labels or sums have changed."""
        fitted = self._fit()
        return self._weighed(fitted)._compiled(fitted)

    def learn(
        self, x: Floats, y: Ints, *, weights: Doubles | None = None, iters: Ints | None = None
    ) -> tuple[Learner, LearningReport]:
        """Learn N examples, in the order given.

        Fold by fold, examples are predicted by what is learnt from the rest; then all are learnt.
        For the moments only the ratios of weight * iterations ** `EMPHASIS` count, up to a bound
        that grows with how many examples are as heavy; a call of many with three times the
        iterations of earlier ones all but forgets them, which is how a drift is followed.

        Args:
            x: (N, D), unit rows. y: (N,) indices of labels.
            weights: (N,) above 0; None is 1 for all.
            iters: (N,) passes over each example, 1 and up; None is `DEFAULT_ITERS` for all.

        >>> from workers.core.zero_shot import CosineCalibration
        >>> x = np.eye(2, dtype=np.float32)
        >>> start = Learner.start(["a", "b"], x, CosineCalibration(temperature=0.1))
        >>> learner, report = start.learn(x[::-1], np.array([0, 1]))  # the labels are swapped
        >>> report.accuracy, learner.seen, start.seen
        (0.0, 2, 0)
        """
        if not len(x):
            return self, LearningReport(
                accuracy=0.0,
                log_loss=0.0,
                curve=(),
                trust=self.trust(),
                strength=self._fit().strength,
                scores=np.empty((0, len(self.labels)), np.float32),
            )
        weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        iters = np.full(len(x), DEFAULT_ITERS) if iters is None else np.asarray(iters)
        before = float((self.scores(x).argmax(axis=1) == y).mean())
        emphasis = self._emphasis(weights, iters)
        fold_of = self._folds(y, emphasis)
        *held, now = self._taught(x, y, weights, iters, emphasis, fold_of)
        logits, known = _cross_fitted(held, x, y, fold_of)
        fitted = now._fit()
        emphasis = np.where(known, emphasis, 0.0)
        now, mixed = now._weighed(fitted)._judged(self, logits, y, emphasis)
        p = softmax(mixed, *now.calibration.fitted())  # (N, L)
        accuracy = float((p.argmax(axis=1) == y).mean())
        return now._compiled(fitted), LearningReport(
            accuracy=accuracy,
            log_loss=-float(np.log(np.maximum(p[np.arange(len(p)), y], 1e-7)).mean()),
            curve=((self.seen, before), (held[0].seen, accuracy)),
            trust=now.trust(),
            strength=fitted.strength,
            scores=p,
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
            "meant": self.meant,
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
            ValueError: when the schema is not this one, a shape does not fit the labels, or a share
                is none.
        """
        if header.get("schema") != SCHEMA:
            raise ValueError(f"schema {header.get('schema')!r} is not {SCHEMA}")
        labels = tuple(header["labels"])
        start = cls.start(labels, np.asarray(arrays["prior"]), CosineCalibration(**header["scale"]))
        for name, array in start.arrays().items():
            if array.shape != arrays[name].shape:
                raise ValueError(
                    f"{name} has shape {arrays[name].shape}, but must have {array.shape}"
                )
        heard, meant = float(header["heard"]), float(header.get("meant", 1.0))
        if not 0.0 <= meant <= 1.0:
            raise ValueError(f"meant is {meant}, but must be 0 to 1")
        return replace(
            start,
            seen=int(header["seen"]),
            meant=meant,
            moments=SufficientStatistics(
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
            blends=replace(
                start.blends,
                losses=arrays["blends"],
                penalty=BLEND_PENALTY * meant,
                heard=heard,
            ),
            calibration=Calibration(losses=arrays["calibration"]),
            model=LinearScorer(rows=arrays["rows"], bias=arrays["bias"]),
        )

    def _fit(self) -> gaussian.GaussianEnsemble:
        t = temperature(self.prior, self.scale)
        return gaussian.fit(self.moments, self.prior.astype(np.float64), t, self.scale.related)

    def _emphasis(self, weights: Doubles, iters: Ints) -> Doubles:
        """What examples weigh in the moments, (N,): as much as was asked, as far as many agree."""
        steps: Doubles = weights * iters.astype(np.float64) ** EMPHASIS
        order = np.argsort(-steps, kind="stable")
        heavy = steps[order]
        # How many of the call weigh as much as an example; lighter ones count in proportion.
        peers = np.empty_like(steps)
        peers[order] = np.arange(1, len(steps) + 1) + (heavy.sum() - heavy.cumsum()) / heavy
        if self.moments.squares:
            usual = 1.0 / self.moments.unit
        else:  # a weight of 1, so that many that were made light do not hold down the others
            usual = float(np.median(iters) ** EMPHASIS * max(np.median(weights), 1.0))
        most: Doubles = usual * np.maximum(HEAVIEST, HEAVIEST_OF_PEERS * peers)
        return np.minimum(steps, most)

    def _folds(self, y: Ints, emphasis: Doubles) -> Ints:
        """The fold that each example is held out of, (N,)."""
        before = float(self.moments.counts.sum()) * len(y) / float(emphasis.sum())
        most = FOLDS if len(y) * len(self.labels) <= LARGE else LARGE_FOLDS
        # One fold for one example: it is predicted by what was learnt before.
        folds = min(len(y), max(2, math.ceil(most * len(y) / (len(y) + before))))
        # Examples of one label go to different folds, as far as there are enough folds; labels come
        # in the order of their first example, so that renumbering them changes nothing.
        _, first, place = np.unique(y, return_index=True, return_inverse=True)
        fold_of = np.empty(len(y), np.intp)
        fold_of[np.argsort(first[place], kind="stable")] = np.arange(len(y)) % folds
        return fold_of

    def _taught(
        self, x: Floats, y: Ints, weights: Doubles, iters: Ints, emphasis: Doubles, fold_of: Ints
    ) -> list[Learner]:
        """Without the examples of one fold, for each fold; then with all. Trust stays what it was.

        Only moments and margins have learnt.
        """
        every = np.arange(int(fold_of.max()) + 1)
        seen = np.concatenate([fold_of != every[:, None], np.ones((1, len(y)), np.bool_)])
        nothing = SufficientStatistics.empty(*self.prior.shape)
        of_fold = [nothing.add(x[m], y[m], emphasis[m]) for m in ~seen[:-1]]
        whole = sum(of_fold, start=self.moments)
        moments = [*(whole - part for part in of_fold), whole]
        margins = self.margins.learn_each(x, y, weights, iters, seen)
        return [
            replace(self, seen=self.seen + int(n), moments=m, margins=p)
            for n, m, p in zip(seen.sum(axis=1), moments, margins, strict=True)
        ]

    def _judged(
        self, before: Learner, logits: Floats, y: Ints, emphasis: Doubles
    ) -> tuple[Learner, Floats]:
        """With the trust that cross-fitted logits (E + 2, N, L) earn; and their mixture (N, L)."""
        worth = emphasis * self.moments.unit  # (N,), in examples
        keep = float(before.moments.counts.sum() / self.moments.counts.sum()) ** FADE
        clouds = self.clouds.add(logits[:-2], y, worth, keep=keep)
        sources = self.sources.add(logits[-2:], y, worth, keep=keep)
        examples = np.tensordot(clouds.combination(), logits[:-2], 1)  # (N, L)
        rest = logits[-2:] / sources.temperature()[:, None, None].astype(np.float32)
        all_three = np.concatenate([examples[None], rest])  # (3, N, L)
        blended = np.tensordot(BLENDS.astype(np.float32), all_three, 1)  # (M, N, L)
        blends = self.blends.add(blended, y, worth, keep=keep)
        mixed = np.tensordot(blends.combination(), blended, 1)  # (N, L)
        calibration = self.calibration.add(mixed, y, worth, keep=keep)
        judged = replace(
            self, clouds=clouds, sources=sources, blends=blends, calibration=calibration
        )
        return judged, mixed

    def _weighed(self, fitted: gaussian.GaussianEnsemble) -> Learner:
        """With a penalty on blends of examples that holds as far as labels mean something."""
        blends = replace(self.blends, penalty=BLEND_PENALTY * fitted.meant)
        return replace(self, meant=fitted.meant, blends=blends)

    def _compiled(self, fitted: gaussian.GaussianEnsemble) -> Learner:
        """With the mixture as one linear model."""
        share = self.blends.combination().astype(np.float64) @ BLENDS  # (3,)
        share[1:] /= self.sources.temperature()
        clouds, labels, margins = self.clouds.combination(), fitted.labels, self._margins()
        a, b, c = (np.float32(s) for s in share)
        rows = a * np.tensordot(clouds, fitted.models.rows, 1) + b * margins.rows + c * labels.rows
        bias = a * np.tensordot(clouds, fitted.models.bias, 1) + b * margins.bias + c * labels.bias
        return replace(self, model=LinearScorer(rows=rows, bias=bias))

    def _margins(self) -> LinearScorer:
        average = np.float32(MARGIN_LOGIT) * self.margins.average  # (L, D + 1)
        return LinearScorer(rows=average[:, :-1], bias=average[:, -1])


def _cross_fitted(
    held: Sequence[Learner], x: Floats, y: Ints, fold_of: Ints
) -> tuple[Floats, NDArray[np.bool_]]:
    """What sources that have not seen an example say of it.

    Args:
        held: what was learnt without the examples of each fold.
        x: (N, D). y: (N,). fold_of: (N,).

    Returns:
        Logits (E + 2, N, L) of the clouds, margins and labels; whether the label of an example had
        other examples, (N,), without which it says nothing about how well examples tell.
    """
    logits = np.empty((len(gaussian.GRID) + 2, len(x), len(held[0].labels)), np.float32)
    known = np.empty(len(x), np.bool_)

    def predict(fold: int) -> None:
        learner, part = held[fold], fold_of == fold
        fitted = learner._fit()
        logits[:-2, part] = fitted.models.scores(x[part])
        logits[-2, part] = learner._margins().scores(x[part])
        logits[-1, part] = fitted.labels.scores(x[part])
        known[part] = learner.moments.counts[y[part]] > 0

    # What a fold costs are systems of equations, during which Python is free for another one.
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(predict, range(len(held))))
    return logits, known
