"""What classifying needs of a trained classifier: some KB, whatever its learner takes.

A learner's sums are D x D: 1.2 MB at D = 384. The scorer of 5 labels has 16 KB of arrays.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from workers.core import fit, zero_shot
from workers.core.gaussian import LinearScorer
from workers.core.learner import Floats, Learner
from workers.core.output_calibration import softmax

_OBJECT_BYTES = 1_024  # of this object and those in it, beside their contents


@dataclass(frozen=True, kw_only=True)
class ClassifierScorer:
    """Scores and fit of items by a classifier of L labels; safe for any thread.

    `temperature` and `doubt` are those of the calibration; `revision` is the model's.
    """

    model: str
    revision: str
    labels: tuple[str, ...]  # in the order of the scores
    linear: LinearScorer  # (L, D)
    temperature: float
    doubt: float
    classes: fit.Learnt

    @classmethod
    def of(cls, learner: Learner, *, model: str, revision: str) -> Self:
        """The scorer of what was learnt; it refers to no array of the learner."""
        temperature, doubt = learner.calibration.fitted()
        linear, classes = learner.model, fit.Learnt.measure(learner.moments, learner.prior)
        return cls(
            model=model,
            revision=revision,
            labels=learner.labels,
            # Copies: views would keep what they are views of.
            linear=LinearScorer(rows=_copy(linear.rows), bias=_copy(linear.bias)),
            temperature=temperature,
            doubt=doubt,
            classes=replace(classes, centres=_copy(classes.centres)),
        )

    @property
    def dimensions(self) -> int:
        """D of the model's vectors."""
        return int(self.linear.rows.shape[1])

    @property
    def size_bytes(self) -> int:
        """What the scorer takes in memory."""
        arrays = self.linear.rows.nbytes + self.linear.bias.nbytes + self.classes.centres.nbytes
        labels = sys.getsizeof(self.labels) + sum(map(sys.getsizeof, self.labels))
        return _OBJECT_BYTES + arrays + labels

    def scores(
        self,
        x: Floats,
        *,
        mode: zero_shot.Mode = "calibrated",
        multi_label: bool = False,  # noqa: ARG002  the probability of a label for itself is the same
    ) -> Floats:
        """A score per item (N, D) and label, (N, L): as `zero_shot.LabelSet.scores`.

        "raw" are the logits, "jina" their softmax.
        """
        logits = self.linear.scores(x)
        if mode == "calibrated":
            return softmax(logits, self.temperature, self.doubt)
        return logits if mode == "raw" else zero_shot.single_label(logits, 1.0)


def _copy(array: Floats) -> Floats:
    return np.array(array, np.float32, order="C")
