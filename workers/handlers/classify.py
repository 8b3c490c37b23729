"""Classification, zero-shot or by a classifier, for synchronous calls and for parts of jobs.

Decides how items, scores (`workers.scoring`) and selection become answers. `begin` tokenises and
validates the items and queues windows in the microbatcher; `PendingClassification.result` makes the
answers. Between the two, only the forward passes take time.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Future

from shared.cached_results import skipped_items, without
from shared.classify_cache import ClassifyCache
from shared.errors import PigeonholeError
from shared.jobs import Job
from shared.limits import Limits
from shared.member_reports import PROBE_ACCOUNT
from shared.messages import error_of, priority_of
from shared.model_catalogue import ModelEntry
from shared.types import (
    ClassifyRequest,
    ClassifyResult,
    JobKind,
    revision_of_models,
)
from workers.classifier_cache import ClassifierCache
from workers.embedding.document_texts import ReadDocuments, read_documents
from workers.embedding.items import ItemEmbedder
from workers.embedding.languages import LanguagePair
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pooling import ViewBatch
from workers.futures import mapped, then
from workers.handlers.pending_classification import (
    CACHED,
    MergedClassification,
    PartlyCachedClassification,
    PendingClassification,
    answered,
)
from workers.handlers.training_set import PART_LIMIT_S, model_of
from workers.leases import Lease
from workers.observation_counter import ObservationCounter
from workers.scoring.few_shot import FewShotEngine
from workers.scoring.hybrid import HybridEngine
from workers.scoring.nli import NliEngine
from workers.scoring.scores import Scores
from workers.scoring.zero_shot import ZeroShotEngine
from workers.work_context import WorkContext


class ClassifyHandler:
    """Begins classify requests on the models of this process."""

    def __init__(
        self,
        models: Mapping[str, LoadedModel],
        limits: Limits,
        classifiers: ClassifierCache,
        viewer: ItemEmbedder,
        counter: ObservationCounter | None = None,
        *,
        cache: ClassifyCache | None = None,
    ) -> None:
        """Create the handler of a process.

        Args:
            models: by name.
            limits: of a request.
            classifiers: the versions of classifiers.
            viewer: embeds items.
            counter: observes what classifiers answer.
            cache: answers of jobs and batches that ask for it; the API itself looks up those of
                synchronous calls.
        """
        self._models = models
        self._counter = counter
        self._cache = cache
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
        pending = self.begin_uncached(body, job)
        hold.on_end(pending.cancel)
        return pending.result(timeout_s=PART_LIMIT_S)

    def holds(self, models: Sequence[ModelEntry], *, lately: bool = False) -> bool:  # noqa: ARG002
        """Whether this process can run all of the models."""
        return all(model.name in self._models for model in models)

    def begin_uncached(
        self, request: ClassifyRequest, job: Job
    ) -> PendingClassification | MergedClassification | PartlyCachedClassification:
        """As `begin`, for the items of a job that the result cache does not have.

        Raises:
            PigeonholeError: As for `begin`.
        """
        if self._cache is None or not request.cache:
            return self.begin(request, context_of(job))
        revision = self._revision(request)
        found = self._cache.look(request, account=job.account, revision=revision, job=job.id)
        pending = None if found.rest is None else self.begin(found.rest, context_of(job))
        return PartlyCachedClassification(found=found, pending=pending)

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
        if context.account == PROBE_ACCOUNT and self._waits_for_use(request):
            request = request.model_copy(update={"items": (), "questions": ()})
        if request.multilingual_model is not None:
            return self._by_language(request, context)
        return self._begun(request, context)

    def _waits_for_use(self, request: ClassifyRequest) -> bool:
        """Whether a model of a probe is not in memory, without a fault: probes load none."""
        found = [self._models[name].idle for name in request.models if name in self._models]
        return any(idle and idle.state != "loaded" and not idle.failure for idle in found)

    def _by_language(
        self, request: ClassifyRequest, context: WorkContext
    ) -> PendingClassification | MergedClassification:
        """Begin a request of `auto`: as one of each model that has items."""
        skipped = skipped_items(request)
        if len(skipped) == len(request.items):  # no text tells a language
            plain = request.model_copy(update={"multilingual_model": None})
            return self._begun(plain, context)
        request = request.with_shared_media
        names = (request.model, request.multilingual_model or "")
        english, multilingual = (model_of(self._models, name) for name in names)
        pair = LanguagePair(english=english, multilingual=multilingual)
        languages = pair.of_items(request.items, skipped=skipped)
        english_items, other_items = languages.english, languages.others
        parts: list[PendingClassification] = []
        try:
            for model, own, others in (
                (english, english_items, other_items),
                (multilingual, other_items, english_items),
            ):
                if not own:
                    continue
                part = without(request, {*others, *request.cached}) if others else request
                update = {"model": model.entry.name, "multilingual_model": None}
                parts.append(self._begun(part.model_copy(update=update), context))
        except BaseException:
            for part_begun in parts:
                part_begun.cancel()
            raise
        return MergedClassification(
            request=request,
            parts=parts,
            languages=languages,
            revision=self._revision(request),
        )

    def _begun(self, request: ClassifyRequest, context: WorkContext) -> PendingClassification:
        """Hand the windows of all items to one model."""
        request = request.with_shared_media
        if request.engine in {"nli", "hybrid"} and any(item.file for item in request.items):
            return self._of_documents(request, context)
        return self._of_items(request, context)

    def _of_documents(
        self, request: ClassifyRequest, context: WorkContext
    ) -> PendingClassification:
        """Read the documents first: they are compared as texts."""
        nli = model_of(self._models, request.nli_model or request.model)
        media, limits = self._viewer.media, self._viewer.limits
        read = read_documents(media, request, nli.scorer, limits, context)

        def go_on(found: ReadDocuments) -> PendingClassification:
            texts = request.model_copy(update={"items": found.items})
            return self._of_items(texts, context, failed=found.failed, documents=found.files)

        begun = mapped(read, go_on)
        views = then(begun, lambda part: mapped(part.views, read.result().added_to))
        scores = [
            then(begun, lambda part, place=place: part.scores[place])  # type: ignore[misc]
            for place in range(len(request.questions))
        ]
        return PendingClassification(
            request=request, views=views, scores=scores, revision=self._revision(request)
        )

    def _of_items(
        self,
        request: ClassifyRequest,
        context: WorkContext,
        *,
        failed: Mapping[int, PigeonholeError] | None = None,
        documents: Container[int] = (),
    ) -> PendingClassification:
        """Hand the windows of all items to one model.

        Args:
            request: with texts, or for the engine `embedding`.
            context: decides the turn of its windows.
            failed: items that could not be read before, by index.
            documents: the items whose texts are those of documents.
        """
        model = model_of(self._models, request.model)
        pages = self._models.get(request.pages_model or "")
        aside = {each.index: error_of(each.failure) for each in request.refused}
        aside |= dict.fromkeys(request.cached, CACHED)
        aside |= failed or {}
        revision = self._revision(request)
        views: Future[ViewBatch]
        scores: list[Future[Scores]]
        if request.engine == "nli":
            premises = self._nli.read(model, request, context, aside=aside, documents=documents)
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
            documents=documents,
            pages=pages,
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
                self._zero_shot.begin(model, request, question, views, context, pages=pages)
                for question in request.questions
            ]
        return PendingClassification(
            request=request,
            views=views,
            scores=scores,
            revision=revision,
            counter=self._counter,
        )

    def _revision(self, request: ClassifyRequest) -> str:
        """The revision of the models of a request."""
        names = (each for each in request.models if each != request.pages_model)
        own = [model_of(self._models, name).scoring_revision for name in names]
        pages = self._models.get(request.pages_model or "")  # another worker may not hold it
        return revision_of_models([*own, *([] if pages is None else [pages.scoring_revision])])


def context_of(job: Job) -> WorkContext:
    """Of a part of a durable job, which has no deadline of its own."""
    return WorkContext(
        priority=priority_of(job.queue),
        account=job.account,
        job=job.id,
        batch=job.kind is JobKind.BATCH,
    )
