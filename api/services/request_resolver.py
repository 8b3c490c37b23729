"""Resolution of requests in the API: references to classifiers, files and models are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from api.services import quotas
from api.services.classifiers import ClassifierService
from api.services.files import FileService
from api.services.worker_registry import WorkerRegistry
from shared import ids, object_keys
from shared.dialects.requested import UnresolvedRequest
from shared.dialects.training import UnresolvedTrainRequest
from shared.engine_resolution import Content, content_of, holds_both, with_engine
from shared.errors import BrokerUnavailable, ModelNotFound, NotFound, Unavailable
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.ports import Buckets
from shared.request_resolution import (
    check_read,
    examples_for,
    model_for,
    resolved,
    train_request_of,
)
from shared.text_fallback import TextFallback
from shared.types import ClassifyRequest, Example, ExampleFile, Item, Media, TrainRequest
from shared.validation import refuse


@dataclass(frozen=True, kw_only=True)
class RequestResolver:
    """Completes what dialects parsed."""

    classifiers: ClassifierService
    catalogue: Catalogue
    limits: Limits
    members: WorkerRegistry
    text_fallback: bool
    files: FileService
    buckets: Buckets

    def classify(
        self, job_request: UnresolvedRequest, *, account: str, content: Content | None = None
    ) -> ClassifyRequest:
        """The request, with the version of the classifier that the caller means.

        Args:
            job_request: What the dialect parsed.
            account: The caller's.
            content: What the items are; None: what those of the request are.

        Raises:
            NotFound: The caller may use no such classifier, or it has no such version.
            Conflict: It was trained with another model than the one named.
            InvalidRequest: A threshold is of a label that it has not, or the engine cannot do what
                is asked.
            ModelNotFound: No running worker holds what the engine needs.
        """
        if job_request.classifier is not None:
            quotas.concerns("few_shot")
        request = resolved(
            job_request,
            account=account,
            records=self.classifiers.records,
            catalogue=self.catalogue,
            limits=self.limits,
        )
        if request.errors == "per_item" and request.classifier is None:
            request = self.fallback.images_aside(request, named=job_request.model)
        content = content or content_of(request)
        if job_request.classifier is None and content == "texts":
            request = self.fallback.for_texts(request)
        request = with_engine(
            request,
            catalogue=self.catalogue,
            holds=self.members.holds,
            content=content,
        )
        if job_request.model is None and content == "documents":
            return self._with_pages_model(request)
        return request

    def _with_pages_model(self, request: ClassifyRequest) -> ClassifyRequest:
        """The request with the model of images for documents without text, where one worker holds
        it beside the model of the texts.
        """
        model, pages = self.catalogue.find(request.model), self.catalogue.for_images()
        if request.classifier is not None or request.compares_pairs or model.reads_images:
            return request
        with suppress(BrokerUnavailable):  # then the request fails by itself
            if pages.reads_images and self.members.holds([model, pages]):
                return request.model_copy(update={"pages_model": pages.name})
        return request

    @property
    def fallback(self) -> TextFallback:
        """The rule for texts under image models that no worker holds."""
        return TextFallback(
            catalogue=self.catalogue,
            allowed=self.text_fallback,
            offered=self._offered,
            absence=self._absence,
        )

    def _offered(self, model: ModelEntry) -> bool:
        try:
            return self.members.offers(model)
        except BrokerUnavailable:
            return True  # for all we know

    def _absence(self, model: ModelEntry) -> str | None:
        with suppress(BrokerUnavailable, Unavailable):  # it may come up
            try:
                self.members.device_for(model)
            except ModelNotFound as exc:
                return exc.fields[0].message
        return None

    def for_images(self, request: UnresolvedRequest) -> UnresolvedRequest:
        """What is asked of images that are not seen yet: by a model that reads them.

        Raises:
            ModelNotFound: There is no model of the name.
            InvalidRequest: The model named reads none.
        """
        if request.classifier is not None:
            return request
        items = (Item(images=(Media(),)),)
        model = model_for(items, self.catalogue).name if request.model is None else request.model
        check_read(items, self.catalogue.find(model), self.catalogue)
        model = self.catalogue.find(model).name
        return replace(request, request=request.request.model_copy(update={"model": model}))

    def train(self, fields: UnresolvedTrainRequest, *, account: str) -> TrainRequest:
        """The request to train a classifier of the caller's, or a new one.

        Raises:
            NotFound: The caller has no such classifier.
            Conflict: It was trained with another model; or another has the name of the new one.
            ResourceLimitExceeded: The account has as many classifiers as its tier allows.
            ModelNotFound: There is no such model.
            InvalidRequest: An example is wrong, or the version meant is not the latest.
            InvalidLabels: Fewer than two labels for a new classifier.
            LabelLimitExceeded: More labels than a classifier may have.
        """
        quotas.concerns("few_shot")
        request = train_request_of(
            fields,
            account=account,
            records=self.classifiers.records,
            catalogue=self.catalogue,
            limits=self.limits,
            new_id=ids.classifier_id(),
        )
        if fields.create is None:
            return request
        auto = self.catalogue.auto
        if auto is not None and not holds_both(auto, self.catalogue, self.members.holds):
            request = request.model_copy(update={"multilingual_model": None})
        self.classifiers.check_new(account, fields.create)
        if fields.model is None or any(example.item.media for example in request.examples):
            return request
        model = self.fallback.model_of_texts(fields.model)
        return request if model is None else request.model_copy(update={"model": model})

    def stored_examples(self, file: ExampleFile, *, account: str) -> ExampleFile:
        """A stored file of examples that a request names, as a worker finds it.

        Raises:
            InvalidRequest: There is no such file, or the address is not allowed.
        """
        if file.url:
            return file.model_copy(update={"etag": self.buckets.find(file.url).etag})
        try:
            stored = self.files.get(account, file.object)
        except NotFound:
            refuse("input_file_id", "no such file; it may have expired")
        place = object_keys.file_content(account, stored.id)
        return file.model_copy(update={"object": place, "filename": stored.filename})

    def examples(
        self, examples: Sequence[Example], *, model: str, account: str
    ) -> tuple[Example, ...]:
        """Examples, with the objects of the files that they name.

        Raises:
            InvalidRequest: The model reads no images, or there is no such file.
        """
        return examples_for(
            examples,
            model=model,
            account=account,
            catalogue=self.catalogue,
            store=self.classifiers.records.store,
        )
