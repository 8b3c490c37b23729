"""Classification, zero-shot or by a classifier, for synchronous calls and for parts of jobs.

Decides how items, scores (`workers.scoring`) and selection become answers. `begin` tokenises and
validates the items and queues windows in the microbatcher; `PendingClassification.result` makes the
answers. Between the two, only the forward passes take time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.cached_results import without
from shared.dialects.classify_response import place_of
from shared.errors import DeadlineExceeded, FieldError, PigeonholeError
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
    revision_of_models,
)
from workers.classifier_cache import ClassifierCache
from workers.core.evaluation import margins
from workers.core.selection import NONE, select, thresholds
from workers.embedding.items import ItemEmbedder
from workers.embedding.languages import LanguagePair, Languages
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pooling import ViewBatch
from workers.futures import gathered, mapped
from workers.handlers.training_set import PART_LIMIT_S, model_of
from workers.leases import Lease
from workers.models.port import Rows
from workers.observation_counter import ObservationCounter
from workers.scoring.few_shot import FewShotEngine
from workers.scoring.hybrid import HybridEngine
from workers.scoring.nli import NliEngine
from workers.scoring.scores import Scores, Targets
from workers.scoring.zero_shot import ZeroShotEngine
from workers.work_context import WorkContext

_DECIMALS = 6  # float32 holds no more; 17 digits would triple a large answer
_CACHED = PigeonholeError("the API has the answer")  # of an item that is skipped


class ClassifyHandler:
    """Begins classify requests on the models of this process."""

    def __init__(
        self,
        models: Mapping[str, LoadedModel],
        limits: Limits,
        classifiers: ClassifierCache,
        viewer: ItemEmbedder,
        counter: ObservationCounter | None = None,
    ) -> None:
        self._models = models
        self._counter = counter
        self._viewer = viewer
        self._zero_shot = ZeroShotEngine(limits)
        self._few_shot = FewShotEngine(classifiers)
        self._nli = NliEngine(limits)
        self._hybrid = HybridEngine(limits, self._zero_shot)

    def run(self, job: Job, body: ClassifyRequest, hold: Lease) -> ClassifyResult:
        """Classify the items of a durable job.

        Raises:
            PigeonholeError: As for `begin` and `PendingClassification.result`; or an item could not
                be read, unless `errors` is `per_item`.
            CancelledError: The job was cancelled, or the lease lost.
        """
        return answered(body, self.read(job, body, hold))

    def read(self, job: Job, body: ClassifyRequest, hold: Lease) -> ClassifyResult:
        """As `run`, with the errors of items that could not be read in the result."""
        pending = self.begin(body, context_of(job))
        hold.on_end(pending.cancel)
        return pending.result(timeout_s=PART_LIMIT_S)

    def holds(self, models: Sequence[ModelEntry], *, lately: bool = False) -> bool:  # noqa: ARG002
        """Whether this process can run all of the models."""
        return all(model.name in self._models for model in models)

    def begin(
        self,
        request: ClassifyRequest,
        context: WorkContext,
    ) -> PendingClassification | MergedClassification:
        """Hand the request's windows to its model, or each item's to the model of its language.

        Args:
            request: within the limits, but for the tokens of its items.
            context: decides the turn of its windows.

        Raises:
            TokenLimitExceeded: An item is too long.
            InvalidRequest: The template has no placeholder, or the model reads no images.
            Unavailable: This process does not hold the model, or the model has stopped.
        """
        if request.multilingual_model is not None:
            return self._by_language(request, context)
        return self._begun(request, context)

    def _by_language(self, request: ClassifyRequest, context: WorkContext) -> MergedClassification:
        """Begin a request of `auto`: as one of each model that has items."""
        request = request.with_shared_media
        english, multilingual = (model_of(self._models, name) for name in request.models)
        pair = LanguagePair(english=english, multilingual=multilingual)
        languages = pair.of_items(request.items)
        of_english = frozenset(range(len(request.items))).difference(languages.others)
        parts: list[PendingClassification] = []
        try:
            for model, passed in ((english, languages.others), (multilingual, of_english)):
                if len(passed) == len(request.items):
                    continue
                part = without(request, {*passed, *request.cached}) if passed else request
                update = {"model": model.entry.name, "multilingual_model": None}
                parts.append(self._begun(part.model_copy(update=update), context))
        except BaseException:
            for part_begun in parts:
                part_begun.cancel()
            raise
        revisions = (model.scoring_revision for model in (english, multilingual))
        return MergedClassification(
            request=request,
            parts=parts,
            languages=languages,
            revision=revision_of_models(revisions),
        )

    def _begun(self, request: ClassifyRequest, context: WorkContext) -> PendingClassification:
        """Hand the windows of all items to one model."""
        model = model_of(self._models, request.model)
        request = request.with_shared_media
        aside = {each.index: error_of(each.failure) for each in request.refused}
        aside |= dict.fromkeys(request.cached, _CACHED)
        revision = revision_of_models(
            model_of(self._models, name).scoring_revision for name in request.models
        )
        views: Future[ViewBatch]
        scores: list[Future[Scores]]
        if request.engine == "nli":
            premises = self._nli.read(model, request, context, aside=aside)
            views = mapped(premises, lambda read: read.views)
            scores = [
                self._nli.begin(model, request, question, premises, context)
                for question in request.questions
            ]
            return PendingClassification(
                request=request, views=views, scores=scores, revision=revision
            )
        views = self._viewer.look(
            model,
            request.items,
            request.files,
            context,
            per_item=request.errors == "per_item",
            aside=aside,
        )
        if request.classifier is not None:
            scores = [self._few_shot.begin(model, request.classifier, views)]
        elif request.engine == "hybrid" and request.nli_model is not None:
            both = model, model_of(self._models, request.nli_model)
            scores = [
                self._hybrid.begin(both, request, question, views, context)
                for question in request.questions
            ]
        else:
            scores = [
                self._zero_shot.begin(model, request, question, views, context)
                for question in request.questions
            ]
        return PendingClassification(
            request=request,
            views=views,
            scores=scores,
            revision=revision,
            counter=self._counter,
        )


def context_of(job: Job) -> WorkContext:
    """Of a part of a durable job, which has no deadline of its own."""
    return WorkContext(priority=priority_of(job.queue), account=job.account, job=job.id)


def answered(request: ClassifyRequest, result: ClassifyResult) -> ClassifyResult:
    """The result, if its failed items do not refuse the whole request.

    Raises:
        PigeonholeError: Why the first item could not be read, unless `errors` is `per_item`.
    """
    if not result.failed or request.errors == "per_item":
        return result
    first = result.failed[0]
    error = error_of(first.failure)
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
        if self.counter is not None and self.request.classifier is not None:
            x, calibrated = targets.vectors(), targets.mean(scores[0].scores())
            self.counter.add(self.request.classifier, scores[0].labels, x, calibrated[: len(x)])
        return ClassifyResult(
            answers=targets.of_items(by_target),
            usage=Usage(
                input_tokens=sum(views.tokens),
                label_tokens=sum(each.label_tokens for each in scores),
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
                if error is not _CACHED
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
            revision=self.revision,
            item_models=self.languages.models,
            unsupported=self.languages.unsupported,
        )


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
