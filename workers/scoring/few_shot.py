"""Few-shot: items are scored by a version of a trained classifier."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from shared.errors import Conflict
from shared.model_catalogue import ModelEntry
from shared.types import ClassifierVersion, LabelsAlike
from workers.classifier_cache import ClassifierCache
from workers.classifier_file import TrainedClassifier
from workers.core.classifier_scorer import ClassifierScorer
from workers.core.zero_shot import Mode
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pooling import ViewBatch
from workers.futures import gathered
from workers.models.port import Rows
from workers.scoring.scores import Scores


class FewShotEngine:
    """Scores by the classifiers of a cache; safe for any thread."""

    def __init__(self, classifiers: ClassifierCache) -> None:
        self._classifiers = classifiers

    def begin(
        self, model: LoadedModel, version: ClassifierVersion, views: Future[ViewBatch]
    ) -> Future[Scores]:
        """The scores of the version's labels, once it and the views are there.

        Raises:
            NotFound: by the future: the version is no longer kept.
            Conflict: by the future: it was trained with another revision of the model.
            Unavailable: by the future: the store is away.
        """
        scorer = self._classifiers.of(version)
        return gathered([views, scorer], partial(_scores, model, views, scorer))


def _scores(
    model: LoadedModel, views: Future[ViewBatch], scorer: Future[ClassifierScorer]
) -> Scores:
    seen, trained = views.result(), scorer.result()
    check_revision(trained, model)
    return FewShotScores(views=seen, scorer=trained, entry=model.entry)


def check_revision(trained: TrainedClassifier | ClassifierScorer, model: LoadedModel) -> None:
    """Refuse vectors that are not those of the classifier.

    Raises:
        Conflict: The weights are of another revision, or of other dimensions.
    """
    encoder = model.embedder.encoder
    if (trained.revision, trained.dimensions) != (encoder.revision, encoder.dimensions):
        raise Conflict(
            f"the classifier was trained with {trained.model} at revision {trained.revision} "
            f"({trained.dimensions} dimensions); here it is at revision {encoder.revision} "
            f"({encoder.dimensions} dimensions): rebuild the classifier, or train a new one"
        )


@dataclass(frozen=True, kw_only=True)
class FewShotScores:
    """Of V views; a classifier compares texts and images with the same rows."""

    views: ViewBatch
    scorer: ClassifierScorer
    entry: ModelEntry
    label_tokens: int = 0  # its labels were paid for when it was trained
    alike: tuple[LabelsAlike, ...] = ()  # which its report says

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the version."""
        return self.scorer.labels

    def scores(self, *, mode: Mode = "calibrated", multi_label: bool = False) -> Rows:
        """(V, L)."""
        return self.scorer.scores(self.views.x, mode=mode, multi_label=multi_label)

    def fits(self) -> Rows:
        """(V, 1). The constants of a model are for texts."""
        fits = np.empty((len(self.views.x), 1), np.float32)
        for images in (False, True):
            of_these = self.views.of_images == images
            constants = None if images else self.entry.example_fit
            fits[of_these, 0] = self.scorer.classes.fit(self.views.x[of_these], constants)
        return fits
