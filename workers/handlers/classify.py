"""Classification, zero-shot or by a classifier: what inline calls and durable parts both do.

`begin` tokenises, checks and hands windows to the micro-batcher; `PendingClassification.result`
turns the vectors into answers. In between nobody waits but the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from shared.errors import DeadlineExceeded, FieldError
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import error_of, failure_of, priority_of
from shared.model_catalogue import ModelEntry
from shared.types import (
    OTHERS_KEY,
    Answer,
    ClassifyRequest,
    ClassifyResult,
    FailedItem,
    FileRead,
    Usage,
)
from workers.classifier_cache import ClassifierCache
from workers.core import zero_shot
from workers.core.classifier_scorer import ClassifierScorer
from workers.core.evaluation import margins
from workers.core.selection import NONE, select, thresholds
from workers.embedding.items import ItemEmbedder
from workers.embedding.labels import Labels, LabelSets
from workers.embedding.pooling import FileViews, ViewBatch
from workers.embedding.texts import LoadedModel
from workers.handlers.training_set import PART_LIMIT_S, check_revision, model_of
from workers.leases import Lease
from workers.models.port import Rows
from workers.work_context import WorkContext

_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer


class ClassifyHandler:
    """Begins classify requests on the models of this process."""

    def __init__(
        self,
        models: Mapping[str, LoadedModel],
        limits: Limits,
        classifiers: ClassifierCache,
        viewer: ItemEmbedder,
    ) -> None:
        self._models = models
        self._viewer = viewer
        self._label_sets = LabelSets(limits)
        self._classifiers = classifiers

    def run(self, job: Job, body: ClassifyRequest, hold: Lease) -> ClassifyResult:
        """Classify the items of a durable job.

        Raises:
            PigeonholeError: As for `begin` and `PendingClassification.result`; or no item could be
            read.
            CancelledError: The job was cancelled, or the lease lost.
        """
        return answered(body, self.read(job, body, hold))

    def read(self, job: Job, body: ClassifyRequest, hold: Lease) -> ClassifyResult:
        """As `run`, also where no item could be read."""
        pending = self.begin(body, context_of(job))
        hold.on_end(pending.cancel)
        return pending.result(timeout_s=PART_LIMIT_S)

    def holds(self, model: str) -> bool:
        """Whether this process can run the model."""
        return model in self._models

    def begin(
        self,
        request: ClassifyRequest,
        context: WorkContext,
    ) -> PendingClassification:
        """Hand the request's windows to its model.

        Args:
            request: within the limits, but for the tokens of its items.
            context: decides the turn of its windows.

        Raises:
            TokenLimitExceeded: An item is too long.
            InvalidRequest: The template has no placeholder, or the model reads no images.
            Unavailable: This process does not hold the model, or the model has stopped.
        """
        model = model_of(self._models, request.model)
        views = self._viewer.look(
            model,
            request.items,
            request.files,
            context,
            per_item=request.errors == "per_item",
            aside={each.index: error_of(each.failure) for each in request.refused},
        )
        sets = [
            {
                images: self._label_sets.of(model, request, question, context, images=images)
                for images in _views_of(request, model)
            }
            for question in request.questions
        ]
        return PendingClassification(
            request=request,
            model=model,
            views=views,
            label_sets=sets,
            classifier=(
                None if request.classifier is None else self._classifiers.of(request.classifier)
            ),
        )


def context_of(job: Job) -> WorkContext:
    """Of a part of a durable job, which has no deadline of its own."""
    return WorkContext(priority=priority_of(job.queue), account=job.account, job=job.id)


def _views_of(request: ClassifyRequest, model: LoadedModel) -> list[bool]:
    """What labels may have to be compared with: False for texts, True for images."""
    if not any(item.media for item in request.items):
        return [False]
    by, files = request.files.by, any(item.file for item in request.items)
    texts = any(not item.media for item in request.items) or (files and by != "pages")
    images = any(item.images for item in request.items) or (files and by != "text")
    return [False] * texts + [True] * (images and model.images is not None)


def answered(request: ClassifyRequest, result: ClassifyResult) -> ClassifyResult:
    """The result, if its failed items do not refuse the whole request.

    Raises:
        PigeonholeError: Why the first item could not be read: where none could, or each one must.
    """
    if not result.failed or request.errors == "per_item":
        return result
    if request.errors is None and len(result.failed) < len(result.answers):
        return result
    first = result.failed[0]
    error = error_of(first.failure)
    place = f"input[{first.index}].{'image' if request.items[first.index].images else 'file'}"
    raise type(error)(
        f"{place}: {error.detail}", fields=(FieldError(field=place, message=error.detail),)
    )


@dataclass(frozen=True, kw_only=True)
class PendingClassification:
    """A request whose items are on their way through the model.

    `label_sets` has those of each question, by what they are compared with (`_views_of`).
    """

    request: ClassifyRequest
    model: LoadedModel
    views: Future[ViewBatch]
    label_sets: list[dict[bool, Future[Labels]]]
    classifier: Future[ClassifierScorer] | None

    @property
    def item_tokens(self) -> tuple[int, ...]:
        """What each item cost, once the result is there."""
        return self.views.result(0).tokens

    def cancel(self) -> None:
        """Take what still waits out of the queue; `result` then raises CancelledError."""
        self.views.cancel()

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once vectors and labels have all come, or failed; in the thread of the last one."""
        waiting: list[Future[Any]] = [self.views]
        waiting += [future for sets in self.label_sets for future in sets.values()]
        waiting += [] if self.classifier is None else [self.classifier]
        left = len(waiting)
        lock = threading.Lock()
        calls = [call]  # forgotten when it is called: the futures keep `one_more`, and we keep them

        def one_more(_: object) -> None:
            nonlocal left
            with lock:
                left -= 1
                ready = left == 0
            if ready:
                calls.pop()()

        for future in waiting:
            future.add_done_callback(one_more)

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers, once the vectors are there.

        Raises:
            DeadlineExceeded: They did not come in time.
            NotFound: The version of the classifier is no longer kept.
            Conflict: It was trained with another revision of the model.
            Unavailable: The model has stopped, or the store is away.
        """
        try:
            views = self.views.result(timeout_s)
            label_sets = [
                {images: future.result(timeout_s) for images, future in sets.items()}
                for sets in self.label_sets
            ]
            trained = None if self.classifier is None else self.classifier.result(timeout_s)
        except TimeoutError:
            raise DeadlineExceeded("the model did not answer in time") from None
        targets = _Targets.of(views)
        if trained is not None:
            check_revision(trained, self.model)
            by_question = [self._answers(views, targets, trained.labels, trained)]
        else:
            by_question = [
                self._answers(views, targets, question.labels, sets)
                for question, sets in zip(self.request.questions, label_sets, strict=True)
            ]
        by_target = list(zip(*by_question, strict=True))
        return ClassifyResult(
            answers=targets.of_items(by_target),
            usage=Usage(
                input_tokens=sum(views.tokens),
                label_tokens=sum(next(iter(sets.values())).tokens for sets in label_sets),
            ),
            windowed=views.windowed,
            labels=None if trained is None else trained.labels,
            files=tuple(
                FileRead(
                    index=file.index,
                    kind=file.kind,
                    total_pages=file.total_pages,
                    pages=file.pages_read,
                    by=file.by,
                    scanned=file.scanned,
                    answers=targets.of_pages(file, by_target),
                )
                for file in views.files
            ),
            failed=tuple(
                FailedItem(index=index, failure=failure_of(error))
                for index, error in sorted(views.failed.items())
            ),
            alike=tuple(
                pair.model_copy(update={"group": question.group})
                for question, sets in zip(self.request.questions, label_sets, strict=False)
                for pair in next(iter(sets.values())).alike
            ),
        )

    def _answers(
        self, views: ViewBatch, targets: _Targets, labels: tuple[str, ...], scorers: _Scorers
    ) -> list[Answer]:
        """The answer to one question for each target."""
        request = self.request
        scores = targets.mean(
            _scored(views, scorers, mode=request.scores, multi_label=request.multi_label)
        )  # (M, L)
        least = None
        if request.threshold is not None:
            wanted = dict(request.threshold.per_label)
            if request.threshold.default is not None:
                wanted[OTHERS_KEY] = request.threshold.default
            least = thresholds(labels, wanted)
        chosen = select(
            scores, thresholds=least, top_k=request.top_k, multi_label=request.multi_label
        )
        rows = _rounded(scores)
        best = [index if index != NONE else None for index in chosen.best.tolist()]
        ahead: list[float | None] = [None] * len(scores)
        if request.return_uncertainty:
            ahead = _rounded(margins(targets.mean(_scored(views, scorers))))
        fits: list[float | None] = [None] * len(scores)
        if request.needs_fit:
            fits = _rounded(targets.mean(_fitted(views, scorers, self.model.entry))[:, 0])
        if not bool(chosen.keep.all()):
            rows = [
                [score if kept else None for score, kept in zip(row, keep, strict=True)]
                for row, keep in zip(rows, chosen.keep.tolist(), strict=True)
            ]
        return [
            Answer(best=b, scores=row, margin=margin, fit=fit, unknown=_unknown(fit, request))
            for b, row, margin, fit in zip(best, rows, ahead, fits, strict=True)
        ]


_Scorers = ClassifierScorer | dict[bool, Labels]


def _scored(
    views: ViewBatch,
    scorers: _Scorers,
    *,
    mode: zero_shot.Mode = "calibrated",
    multi_label: bool = False,
) -> Rows:
    """A score per view and label, (V, L): labels are compared with what each view is of."""
    if isinstance(scorers, ClassifierScorer):
        return scorers.scores(views.x, mode=mode, multi_label=multi_label)
    if len(scorers) == 1:
        (labels,) = scorers.values()
        return labels.scored.scores(views.x, mode=mode, multi_label=multi_label)
    scores = np.empty((len(views.x), len(scorers[False].scored.rows)), np.float32)
    for images, labels in scorers.items():
        of_these = views.of_images == images
        scores[of_these] = labels.scored.scores(
            views.x[of_these], mode=mode, multi_label=multi_label
        )
    return scores


def _fitted(views: ViewBatch, scorers: _Scorers, entry: ModelEntry) -> Rows:
    """The fit of each view, (V, 1). The constants of a model are for texts."""
    fits = np.empty((len(views.x), 1), np.float32)
    for images in (False, True):
        of_these = views.of_images == images
        x = views.x[of_these]
        if isinstance(scorers, ClassifierScorer):
            fits[of_these, 0] = scorers.classes.fit(x, None if images else entry.example_fit)
        elif len(x):
            described = scorers[images].described
            assert described is not None
            fits[of_these, 0] = described.fit(x, None if images else entry.label_fit)
    return fits


def _unknown(fit: float | None, request: ClassifyRequest) -> bool:
    least = request.unknown_below
    return fit is not None and least is not None and fit < least


@dataclass(frozen=True, kw_only=True)
class _Targets:
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

    def of_items(self, answers: Sequence[_Answers]) -> tuple[_Answers, ...]:
        """What was answered for each item, in order; nothing for those that could not be read."""
        if self.views.items is None:
            return tuple(answers)
        found = dict(zip(self.groups or (), answers, strict=True))
        return tuple(found.get(views, ()) for views in self.views.items)

    def of_pages(self, file: FileViews, answers: Sequence[_Answers]) -> tuple[_Answers, ...]:
        """What was answered for each page of a document; nothing for one with nothing on it."""
        found = dict(zip(self.groups or (), answers, strict=True))
        return tuple(found.get(views, ()) for views in file.pages)


_Answers = tuple[Answer, ...]


def _rounded(numbers: Rows) -> Any:
    """As lists, with as many decimals as say something."""
    return np.round(numbers.astype(np.float64), _DECIMALS).tolist()
