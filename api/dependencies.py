"""What the routes depend on: the services that a main makes, and what is built from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from api.http.async_response import AsyncResponder
from api.http.concurrency import RESERVED_THREADS, ConcurrencyLimit
from api.http.event_stream import ListenerSlots
from api.services.auth import Authenticator
from api.services.batches import BatchService
from api.services.classifiers import ClassifierService
from api.services.drift import DriftService
from api.services.feedback import FeedbackService
from api.services.files import FileService
from api.services.hit_counter import HitCounter
from api.services.idempotency import Idempotency
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from api.services.key_uses import KeyUses
from api.services.metrics import ApiMetrics
from api.services.readiness import ReadinessProbe
from api.services.request_resolver import RequestResolver
from api.services.retraining import RetrainingService
from api.services.run_reports import RunReports
from api.services.uploads import Uploads
from api.services.webhooks import Webhooks
from api.services.worker_registry import WorkerRegistry
from shared.model_catalogue import Catalogue
from shared.ports import Buckets, Ledger, ObjectStore
from shared.settings import Settings
from shared.statements import Statements
from shared.url_policy import networks_of, ports_of
from shared.webhook_store import WebhookStore

_LISTENERS_SHARE = 4  # one slot of so many may be held by a listener to events, for an hour
_DOWNLOADS_SHARE = 2  # one of so many by a download, whose client may read as slowly as is allowed


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that the routes use: one of each in a process.

    The fields are made by the main, which knows the adapters. The properties are built of them at
    their first use, which is while the application is made.
    """

    settings: Settings
    catalogue: Catalogue
    store: ObjectStore
    buckets: Buckets
    ledger: Ledger
    members: WorkerRegistry
    authenticator: Authenticator
    idempotency: Idempotency
    submit: JobSubmission
    jobs: JobService
    classifiers: ClassifierService
    uses: HitCounter
    key_uses: KeyUses

    @property
    def default_model(self) -> str:
        """The name of the model of requests that name none."""
        return self.catalogue.default_name

    @cached_property
    def metrics(self) -> ApiMetrics:
        """The counts of the process."""
        return ApiMetrics(self.ledger, self.catalogue)

    @cached_property
    def statements(self) -> Statements:
        """Usage and balances."""
        return Statements(store=self.store, clock=self.submit.clock)

    @cached_property
    def slots(self) -> ConcurrencyLimit:
        """One slot a call that waits for a model."""
        return ConcurrencyLimit(self.settings.api_threads - RESERVED_THREADS)

    @cached_property
    def event_streams(self) -> ListenerSlots:
        """The slots of streams of events."""
        count = (self.settings.api_threads - RESERVED_THREADS) // _LISTENERS_SHARE
        return ListenerSlots(listeners=ConcurrencyLimit(count, within=self.slots))

    @cached_property
    def downloads(self) -> ConcurrencyLimit:
        """The slots of downloads."""
        count = (self.settings.api_threads - RESERVED_THREADS) // _DOWNLOADS_SHARE
        return ConcurrencyLimit(count, within=self.slots)

    @cached_property
    def resolve(self) -> RequestResolver:
        """Completes parsed requests: model, classifier version, files."""
        return RequestResolver(
            members=self.members,
            text_fallback=self.settings.text_fallback,
            classifiers=self.classifiers,
            catalogue=self.catalogue,
            limits=self.submit.limits,
            files=self.files,
            buckets=self.buckets,
        )

    @cached_property
    def durable(self) -> AsyncResponder:
        """Answers calls that are jobs."""
        return AsyncResponder(
            submit=self.submit,
            jobs=self.jobs,
            idempotency=self.idempotency,
            timeout_s=self.settings.request_timeout_s,
        )

    @cached_property
    def files(self) -> FileService:
        """Stored files."""
        return FileService(store=self.store, clock=self.submit.clock)

    @cached_property
    def uploads(self) -> Uploads:
        """Multipart uploads."""
        return Uploads(store=self.store, files=self.files, clock=self.submit.clock)

    @cached_property
    def batches(self) -> BatchService:
        """Bulk jobs."""
        return BatchService(
            submit=self.submit,
            jobs=self.jobs,
            files=self.files,
            resolve=self.resolve,
            ledger=self.ledger,
            store=self.store,
            buckets=self.buckets,
            uses=self.uses,
            default_model=self.default_model,
            file_retention_s=self.settings.file_retention_s,
        )

    @cached_property
    def retraining(self) -> RetrainingService:
        """Retraining of classifiers."""
        return RetrainingService(
            store=self.store,
            classifiers=self.classifiers,
            files=self.files,
            buckets=self.buckets,
            submit=self.submit,
            jobs=self.jobs,
            webhooks=WebhookStore(store=self.store, clock=self.submit.clock),
            deadline_s=self.settings.retraining_deadline_s,
            clock=self.submit.clock,
        )

    @cached_property
    def run_reports(self) -> RunReports:
        """Reports of runs."""
        return RunReports(retraining=self.retraining)

    @cached_property
    def drift(self) -> DriftService:
        """Drift of classifiers."""
        return DriftService(store=self.store, classifiers=self.classifiers, clock=self.submit.clock)

    @cached_property
    def feedback(self) -> FeedbackService:
        """Feedback on classifiers."""
        return FeedbackService(classifiers=self.classifiers, limits=self.submit.limits)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks and their deliveries."""
        return Webhooks(
            store=self.store,
            ports=ports_of(self.settings.fetch_ports),
            networks=networks_of(self.settings.fetch_networks),
            clock=self.submit.clock,
        )

    @cached_property
    def probe(self) -> ReadinessProbe:
        """Sends a text through the real queue."""
        return ReadinessProbe(
            submit=self.submit,
            store=self.store,
            ledger=self.ledger,
            members=self.members,
            default_model=self.catalogue.default.name,
        )
