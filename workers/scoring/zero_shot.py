"""Zero-shot: items are compared with what labels mean to the model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

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
        *,
        pages: LoadedModel | None = None,
    ) -> Future[Scores]:
        """The scores of a question's labels, once they and the views are there. The images are
        views of `pages`, if that is another model.

        Raises:
            InvalidRequest: The template has no placeholder, or several.
            TokenLimitExceeded: Labels and descriptions are too long together.
            Unavailable: The model has stopped.
        """
        sets = {
            images: self._label_sets.of(
                (pages or model) if images else model, request, question, context, images=images
            )
            for images in _compared_with(request, pages or model)
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
        first = next(iter(self.sets.values())).scored
        if len(self.sets) == 1 and first.rows.shape[1] == x.shape[1]:
            return first.scores(x, mode=mode, multi_label=multi_label, tokens=tokens)
        scores = np.empty((len(x), len(self.labels)), np.float32)
        for of_these, own, labels, _ in self._by_kind():
            scores[of_these] = labels.scored.scores(
                own, mode=mode, multi_label=multi_label, tokens=tokens[of_these]
            )
        return scores

    def fits(self) -> Rows:
        """(V, 1). The constants of a model are for texts."""
        fits = np.empty((len(self.views.x), 1), np.float32)
        for of_these, own, labels, images in self._by_kind():
            assert labels.described is not None
            constants = None if images else self.entry.label_fit
            fits[of_these, 0] = labels.described.fit(own, constants)
        return fits

    def _by_kind(self) -> Iterator[tuple[npt.NDArray[np.bool_], Rows, Labels, bool]]:
        """Texts and images, if there are views of them: which these are, their vectors as long as
        those of the model that made them, the labels, and whether they are images.
        """
        for images, labels in self.sets.items():
            of_these = self.views.of_images == images
            if of_these.any():
                yield (
                    of_these,
                    self.views.x[of_these, : labels.scored.rows.shape[1]],
                    labels,
                    images,
                )
