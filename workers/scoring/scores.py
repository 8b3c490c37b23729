"""The scores of an engine: from views to items.

A future of `Scores` ends in the thread that finished last, often that of the model, which must stay
free for forward passes. The numbers are therefore computed when they are read, in the thread of the
reader.

Letters: V views, M targets (items, and pages of documents), L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np

from shared.types import LabelsAlike
from workers.core.zero_shot import Mode
from workers.embedding.pooling import FileViews, ViewBatch, mean
from workers.models.port import Rows

_T = TypeVar("_T")


class Scores(Protocol):
    """The answer of an engine to one question."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""

    @property
    def label_tokens(self) -> int:
        """What the labels cost."""

    @property
    def alike(self) -> tuple[LabelsAlike, ...]:
        """Pairs of labels that are nearly one to the model."""

    def scores(self, *, mode: Mode = "calibrated", multi_label: bool = False) -> Rows:
        """A score per view and label, (V, L)."""

    def fits(self) -> Rows:
        """The fit of each view, (V, 1)."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is answered for, by its views: M items that could be read, and pages of documents."""

    views: ViewBatch
    groups: tuple[tuple[int, ...], ...] | None  # None: each view by itself, in order

    @classmethod
    def of(cls, views: ViewBatch) -> Self:
        """The items, then the pages that have a view."""
        if views.items is None:
            return cls(views=views, groups=None)
        pages = [page for file in views.files for page in file.pages]
        return cls(views=views, groups=tuple(g for g in (*views.items, *pages) if g))

    def mean(self, scores: Rows) -> Rows:
        """The scores of views, (V, L), as those of targets, (M, L)."""
        if self.groups is None:
            return scores
        means = [scores[list(group)].mean(axis=0) for group in self.groups]
        return np.array(means, np.float32).reshape(len(means), scores.shape[1])

    def vectors(self) -> Rows:
        """The embeddings of the items that could be read, (N, D): their targets come first."""
        if self.views.items is None:
            return self.views.x
        rows = [mean(self.views.x[list(views)]) for views in self.views.items if views]
        return np.array(rows, np.float32).reshape(len(rows), self.views.x.shape[1])

    def of_items(self, answers: Sequence[tuple[_T, ...]]) -> tuple[tuple[_T, ...], ...]:
        """What was answered for each item, in order; nothing for those that could not be read."""
        if self.views.items is None:
            return tuple(answers)
        found = dict(zip(self.groups or (), answers, strict=True))
        return tuple(found.get(views, ()) for views in self.views.items)

    def of_pages(
        self, file: FileViews, answers: Sequence[tuple[_T, ...]]
    ) -> tuple[tuple[_T, ...], ...]:
        """What was answered for each page of a document; nothing for one with nothing on it."""
        found = dict(zip(self.groups or (), answers, strict=True))
        return tuple(found.get(views, ()) for views in file.pages)
