"""Champion and challengers on the same holdout, by embeddings that are kept from run to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.normal_form import LabelSpellings
from shared.observation import Observation
from shared.retraining import Gate, LabelAgreement
from shared.types import Example
from workers.classifier_file import TrainedClassifier
from workers.core.evaluation import Doubles, Ints
from workers.core.label_agreement import MIN_EXAMPLES, disagreement
from workers.core.observation_sums import observed
from workers.core.paired_test import value
from workers.core.promotion_gate import Predictions, Verdict, judge, metric_of
from workers.handlers.kept_embeddings import embedding_key
from workers.handlers.retrain.snapshot import NewRow
from workers.handlers.training_set import TrainingSet
from workers.models.port import Rows

_CHANCE = 0.01  # of nights whose labels are said to be unusual although they are not


@dataclass(kw_only=True)
class HoldoutScores:
    """Judges versions on N rows.

    Attributes:
        rows: The holdout; those that were in it before come first.
        embed: Sends examples through a model, by its name.
        kept: The embeddings of the first rows by `embedding_key`, or None.
        vectors: The embeddings of all rows by `embedding_key`, as far as they were needed.
    """

    rows: Sequence[NewRow]
    embed: Callable[[str, Sequence[Example]], TrainingSet]
    kept: Callable[[str], Rows | None]
    vectors: dict[str, Rows] = field(default_factory=dict)

    def compare(
        self, gate: Gate, champion: TrainedClassifier, challenger: TrainedClassifier, *, seed: int
    ) -> Verdict:
        """The verdict of the gate. A label that a version does not know counts as wrong."""
        labels, y = self._truth(champion, challenger)
        return judge(
            gate,
            labels,
            y,
            self._predictions(champion, labels),
            self._predictions(challenger, labels),
            seed=seed,
        )

    def agreement(
        self, version: TrainedClassifier, rows: Sequence[NewRow], *, before: int
    ) -> LabelAgreement | None:
        """How far the labels of rows that the version has not learnt agree with it, against those
        of the first `before` rows of the holdout; None if there is too little to compare.
        """
        if not rows or not before:
            return None
        usual, right = self._of_labels(
            version, self.rows[:before], self._embedded(version)[:before]
        )
        x = self.embed(version.model, [row.example for row in rows]).x
        given, agreed = self._of_labels(version, rows, x)
        if min(len(usual), len(given)) < MIN_EXAMPLES:
            return None
        p_value = disagreement(usual, given)
        return LabelAgreement(
            examples=len(given),
            agreed=int(agreed.sum()),
            usual=round(float(right.mean()), 6),
            p_value=round(p_value, 6),
            unusual=p_value <= _CHANCE,
        )

    def _of_labels(
        self, version: TrainedClassifier, rows: Sequence[NewRow], x: Rows
    ) -> tuple[Doubles, NDArray[np.bool_]]:
        """The scores of the labels of rows, and which are predicted; of known labels only."""
        spellings = LabelSpellings(version.labels)
        place = {label: index for index, label in enumerate(version.labels)}
        labels = [spellings.get(row.example.label or "") for row in rows]
        known = np.array([label is not None for label in labels], np.bool_)
        y = np.array([place[label] for label in labels if label is not None], np.intp)
        scores = version.scorer.scores(x[known]).astype(np.float64)
        return scores[np.arange(len(y)), y], scores.argmax(axis=1) == y

    def value(
        self, gate: Gate, champion: TrainedClassifier, challenger: TrainedClassifier
    ) -> float:
        """The metric of the gate of a challenger, of which more is better."""
        labels, y = self._truth(champion, challenger)
        predicted = self._predictions(challenger, labels).predicted
        return value(metric_of(gate, labels), y, predicted)

    def observed(self, version: TrainedClassifier) -> Observation:
        """The sums over the holdout, as the version classifies it."""
        x = self._embedded(version)
        return observed(version.labels, x, version.scorer.scores(x))

    def _truth(self, *versions: TrainedClassifier) -> tuple[tuple[str, ...], Ints]:
        """The labels of the versions and of the holdout, and the true ones as indices (N,)."""
        spellings = LabelSpellings()
        for version in versions:
            for label in version.labels:
                spellings.add(label)
        given = [spellings.add(row.example.label or "") for row in self.rows]
        labels = tuple(spellings)
        place = {label: index for index, label in enumerate(labels)}
        return labels, np.array([place[label] for label in given], np.intp)

    def _predictions(self, version: TrainedClassifier, labels: Sequence[str]) -> Predictions:
        scores = version.scorer.scores(self._embedded(version))  # (N, L)
        spellings = LabelSpellings(labels)
        place = {label: index for index, label in enumerate(labels)}
        own = np.array([place[spellings.get(label) or label] for label in version.labels])
        return Predictions(
            predicted=own[scores.argmax(axis=1)].astype(np.intp),
            confidence=scores.max(axis=1).astype(np.float64),
        )

    def _embedded(self, version: TrainedClassifier) -> Rows:
        """The embeddings of the holdout by the version's model, (N, D)."""
        key = embedding_key(version.model, version.revision)
        if key not in self.vectors:
            before = self.kept(key)
            count = 0 if before is None else min(len(before), len(self.rows))
            parts = [] if before is None or not count else [before[:count]]
            if count < len(self.rows):
                examples = [row.example for row in self.rows[count:]]
                parts.append(self.embed(version.model, examples).x)
            self.vectors[key] = np.concatenate(parts)
        return self.vectors[key]
