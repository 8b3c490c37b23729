"""Zero-shot: items are compared with what labels mean to the model."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from shared.limits import Limits
from shared.model_catalogue import ModelEntry
from shared.types import ClassifyRequest, LabelsAlike, Question
from workers.core.zero_shot import Mode
from workers.embedding.labels import Labels, LabelSets
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pooling import ViewBatch
from workers.futures import gathered
from workers.models.port import Rows
from workers.scoring.scores import Scores
from workers.work_context import WorkContext


class ZeroShotEngine:
    """Scores by label sets, which are kept here; safe for any thread."""

    def __init__(self, limits: Limits) -> None:
        self._label_sets = LabelSets(limits)

    def begin(
        self,
        model: LoadedModel,
        request: ClassifyRequest,
        question: Question,
        views: Future[ViewBatch],
        context: WorkContext,
    ) -> Future[Scores]:
        """The scores of a question's labels, once they and the views are there.

        Raises:
            InvalidRequest: The template has no placeholder, or several.
            TokenLimitExceeded: Labels and descriptions are too long together.
            Unavailable: The model has stopped.
        """
        sets = {
            images: self._label_sets.of(model, request, question, context, images=images)
            for images in _compared_with(request, model)
        }
        scores = partial(_scores, question, views, sets, model.entry)
        return gathered([views, *sets.values()], scores)


def _compared_with(request: ClassifyRequest, model: LoadedModel) -> list[bool]:
    """What labels may have to be compared with: False for texts, True for images."""
    if not any(item.media for item in request.items):
        return [False]
    by, files = request.files.by, any(item.file for item in request.items)
    texts = any(item.text or not item.media for item in request.items)
    texts = texts or (files and by != "pages")
    images = any(item.images for item in request.items) or (files and by != "text")
    return [False] * texts + [True] * (images and model.images is not None)


def _scores(
    question: Question,
    views: Future[ViewBatch],
    sets: dict[bool, Future[Labels]],
    entry: ModelEntry,
) -> Scores:
    return ZeroShotScores(
        question=question,
        views=views.result(),
        sets={images: labels.result() for images, labels in sets.items()},
        entry=entry,
    )


@dataclass(frozen=True, kw_only=True)
class ZeroShotScores:
    """Of V views, each compared with the labels as prompted for its kind, text or image."""

    question: Question
    views: ViewBatch
    sets: dict[bool, Labels]
    entry: ModelEntry

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the question."""
        return self.question.labels

    @property
    def label_tokens(self) -> int:
        """Of labels and descriptions, once."""
        return next(iter(self.sets.values())).tokens

    @property
    def alike(self) -> tuple[LabelsAlike, ...]:
        """With the question's group."""
        pairs = next(iter(self.sets.values())).alike
        return tuple(pair.model_copy(update={"group": self.question.group}) for pair in pairs)

    def scores(self, *, mode: Mode = "calibrated", multi_label: bool = False) -> Rows:
        """(V, L)."""
        x, tokens = self.views.x, self.views.text_tokens
        if len(self.sets) == 1:
            (labels,) = self.sets.values()
            return labels.scored.scores(x, mode=mode, multi_label=multi_label, tokens=tokens)
        scores = np.empty((len(x), len(self.labels)), np.float32)
        for images, labels in self.sets.items():
            of_these = self.views.of_images == images
            scores[of_these] = labels.scored.scores(
                x[of_these], mode=mode, multi_label=multi_label, tokens=tokens[of_these]
            )
        return scores

    def fits(self) -> Rows:
        """(V, 1). The constants of a model are for texts."""
        fits = np.empty((len(self.views.x), 1), np.float32)
        for images, labels in self.sets.items():
            of_these = self.views.of_images == images
            assert labels.described is not None
            constants = None if images else self.entry.label_fit
            fits[of_these, 0] = labels.described.fit(self.views.x[of_these], constants)
        return fits
