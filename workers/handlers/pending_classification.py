"""Classify requests whose items are on their way through models, and the results they become.

A request of one model, one whose items belong to two (`auto`), or one of which the result cache has
a part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.classify_cache import PartialResult
from shared.dialects.classify_response import place_of
from shared.errors import DeadlineExceeded, FieldError, PigeonholeError
from shared.messages import error_of, failure_of
from shared.types import (
    OTHERS_KEY,
    Answer,
    ClassifyRequest,
    ClassifyResult,
    FailedItem,
    FileRead,
    Usage,
)
from workers.core.evaluation import margins
from workers.core.selection import NONE, select, thresholds
from workers.embedding.languages import Languages
from workers.embedding.pooling import ViewBatch
from workers.futures import gathered
from workers.models.port import Rows
from workers.observation_counter import ObservationCounter
from workers.scoring.scores import Scores, Targets

_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer
CACHED = PigeonholeError("the result cache has the answer")  # of an item that is skipped


def answered(request: ClassifyRequest, result: ClassifyResult) -> ClassifyResult:
    """The result, if its failed items do not refuse the whole request.

    Raises:
        PigeonholeError: Why the first item could not be read, unless `errors` is `per_item`.
    """
    if not result.failed or request.errors == "per_item":
        return result
    first = result.failed[0]
    error = error_of(first.failure)
    if error.fields:
        raise error
    place = place_of(first.index, request.items[first.index])
    raise type(error)(
        f"{place}: {error.detail}", fields=(FieldError(field=place, message=error.detail),)
    )


@dataclass(frozen=True, kw_only=True)
class PendingClassification:
    """A request whose items are on their way through the model; `scores` are of each question."""

    request: ClassifyRequest
    views: Future[ViewBatch]
    scores: list[Future[Scores]]
    revision: str
    counter: ObservationCounter | None = None

    @property
    def item_tokens(self) -> tuple[int, ...]:
        """What each item cost, once the result is there."""
        return self.views.result(0).tokens

    @property
    def item_visual_tokens(self) -> tuple[int, ...]:
        """Of `item_tokens`, those of images."""
        views = self.views.result(0)
        return views.visual_tokens or (0,) * len(views.tokens)

    def cancel(self) -> None:
        """Take what still waits out of the queue; `result` then raises CancelledError."""
        self.views.cancel()
        for future in self.scores:
            future.cancel()

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once all scores are there, or failed; in the thread of the last one."""
        gathered(self.scores, call)

    def answer(self) -> ClassifyResult:
        """The result of a request that came alone: its failed items may refuse it (`answered`)."""
        return answered(self.request, self.result())

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers, once the scores are there.

        Raises:
            DeadlineExceeded: They did not come in time.
            NotFound: The version of the classifier is no longer kept.
            Conflict: It was trained with another revision of the model.
            Unavailable: The model has stopped, or the store is away.
        """
        try:
            views = self.views.result(timeout_s)
            scores = [future.result(timeout_s) for future in self.scores]
        except TimeoutError:
            raise DeadlineExceeded("the model did not answer in time") from None
        targets = Targets.of(views)
        by_question = [_answers(self.request, targets, each) for each in scores]
        by_target = list(zip(*by_question, strict=True))
        answers = targets.of_items(by_target)
        if self.counter is not None and self.request.classifier is not None:
            x, calibrated = targets.vectors(), targets.mean(scores[0].scores())
            self.counter.add(self.request.classifier, scores[0].labels, x, calibrated[: len(x)])
        return ClassifyResult(
            answers=answers,
            usage=Usage(
                input_tokens=sum(views.tokens),
                # What fails is free: labels cost nothing where no item is answered.
                label_tokens=sum(each.label_tokens for each in scores) if any(answers) else 0,
                visual_tokens=sum(views.visual_tokens),
            ),
            windowed=views.windowed,
            labels=None if self.request.classifier is None else scores[0].labels,
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
                if error is not CACHED
            ),
            alike=tuple(pair for each in scores for pair in each.alike),
            item_tokens=views.tokens,
            visual_tokens=views.visual_tokens,
            revision=self.revision,
        )


@dataclass(frozen=True, kw_only=True)
class MergedClassification:
    """A request of `auto`. Each part has all items, and passes over those of the other model."""

    request: ClassifyRequest
    parts: Sequence[PendingClassification]
    languages: Languages
    revision: str

    @property
    def item_tokens(self) -> tuple[int, ...]:
        """What each item cost, once the result is there."""
        return tuple(map(sum, zip(*(part.item_tokens for part in self.parts), strict=True)))

    @property
    def item_visual_tokens(self) -> tuple[int, ...]:
        """Of `item_tokens`, those of images."""
        return tuple(map(sum, zip(*(part.item_visual_tokens for part in self.parts), strict=True)))

    def cancel(self) -> None:
        """Take what still waits out of the queues; `result` then raises CancelledError."""
        for part in self.parts:
            part.cancel()

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once all scores are there, or failed; in the thread of the last one."""
        gathered([future for part in self.parts for future in part.scores], call)

    def answer(self) -> ClassifyResult:
        """As that of `PendingClassification`."""
        return answered(self.request, self.result())

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers of both models, as `PendingClassification.result`."""
        results = [part.result(timeout_s=timeout_s) for part in self.parts]
        of_languages = {
            "label_tokens": {
                part.request.model: result.usage.label_tokens
                for part, result in zip(self.parts, results, strict=True)
            },
            "revision": self.revision,
            "item_models": self.languages.models,
            "unsupported": self.languages.unsupported,
        }
        whole = results[0] if len(results) == 1 else self._merged(results)
        return whole.model_copy(update=of_languages)

    def _merged(self, results: Sequence[ClassifyResult]) -> ClassifyResult:
        failed = {each.index: each for result in results for each in result.failed}
        alike = {(each.group, each.labels): each for r in results for each in reversed(r.alike)}
        return ClassifyResult(
            answers=tuple(
                next((answers for answers in of_item if answers), ())
                for of_item in zip(*(result.answers for result in results), strict=True)
            ),
            usage=sum((result.usage for result in results), Usage()),
            windowed=tuple(sorted({i for result in results for i in result.windowed})),
            files=tuple(file for result in results for file in result.files),
            failed=tuple(failed[index] for index in sorted(failed)),
            alike=tuple(alike.values()),
            item_tokens=self.item_tokens,
            visual_tokens=self.item_visual_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class PartlyCachedClassification:
    """What the result cache has of a request, and the rest on its way; `pending` may be None."""

    found: PartialResult
    pending: PendingClassification | MergedClassification | None

    def cancel(self) -> None:
        """As `PendingClassification.cancel`."""
        if self.pending is not None:
            self.pending.cancel()

    def result(self, *, timeout_s: float = 0.0) -> ClassifyResult:
        """The answers of all items; those that were computed are kept.

        Raises:
            PigeonholeError: As for `PendingClassification.result`.
        """
        computed = None if self.pending is None else self.pending.result(timeout_s=timeout_s)
        return self.found.complete(computed)


def _answers(request: ClassifyRequest, targets: Targets, of: Scores) -> list[Answer]:
    """The answer to one question for each target."""
    scores = targets.mean(of.scores(mode=request.scores, multi_label=request.multi_label))  # (M, L)
    least = None
    if request.threshold is not None:
        wanted = dict(request.threshold.per_label)
        if request.threshold.default is not None:
            wanted[OTHERS_KEY] = request.threshold.default
        least = thresholds(of.labels, wanted)
    chosen = select(scores, thresholds=least, top_k=request.top_k, multi_label=request.multi_label)
    rows = _rounded(scores)
    best = [index if index != NONE else None for index in chosen.best.tolist()]
    ahead: list[float | None] = [None] * len(scores)
    if request.return_uncertainty:
        ahead = _rounded(margins(targets.mean(of.scores())))
    fits: list[float | None] = [None] * len(scores)
    if request.needs_fit:
        fits = _rounded(targets.mean(of.fits())[:, 0])
    if not bool(chosen.keep.all()):
        rows = [
            [score if kept else None for score, kept in zip(row, keep, strict=True)]
            for row, keep in zip(rows, chosen.keep.tolist(), strict=True)
        ]
    return [
        Answer(best=b, scores=row, margin=margin, fit=fit, unknown=_unknown(fit, request))
        for b, row, margin, fit in zip(best, rows, ahead, fits, strict=True)
    ]


def _unknown(fit: float | None, request: ClassifyRequest) -> bool:
    least = request.unknown_below
    return fit is not None and least is not None and fit < least


def _rounded(numbers: Rows) -> Any:
    """As lists, with as many decimals as say something."""
    return np.round(numbers.astype(np.float64), _DECIMALS).tolist()
