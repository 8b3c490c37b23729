"""The Flask application, put together from what the main has made."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask

from api.http import compression, cors, error_handlers, middleware
from api.http.async_response import AsyncResponder
from api.http.concurrency import RESERVED_THREADS, ConcurrencyLimit
from api.http.event_stream import ListenerSlots
from api.http.sse import of_batches
from api.openapi import query_parameters
from api.routes import (
    batch_streams,
    batches,
    classifier_examples,
    classifier_transfer,
    classifiers,
    classify,
    docs,
    evaluate,
    files,
    health,
    jobs,
    metrics,
    models,
    train,
    uploads,
    webhooks,
)
from api.server.route_limits import batch_body_bytes, small_body_bytes
from api.server.trusted_proxies import ForwardedRequests, TrustedProxies
from api.services.auth import Authenticator
from api.services.batches import Batches
from api.services.classifiers import ClassifierService
from api.services.files import Files
from api.services.hit_counter import HitCounter
from api.services.idempotency import Idempotency
from api.services.job_submission import JobSubmission
from api.services.jobs import Jobs
from api.services.key_uses import KeyUses
from api.services.metrics import ApiMetrics
from api.services.readiness import ReadinessProbe
from api.services.request_resolver import RequestResolver
from api.services.uploads import Uploads
from api.services.webhooks import Webhooks
from api.services.worker_registry import WorkerRegistry
from shared.cors_origins import origins_of
from shared.model_catalogue import Catalogue
from shared.ports import Buckets, Ledger, ObjectStore
from shared.settings import Settings
from shared.url_policy import networks_of, ports_of

_LOOKED_AT_S = 86400.0  # how long a batch that took all its time can still be looked at
_LISTENERS_SHARE = 4  # one slot of so many may be held by who listens to events, for an hour


@dataclass(frozen=True, kw_only=True)
class Services:
    """All that the routes stand on."""

    settings: Settings
    catalogue: Catalogue
    store: ObjectStore
    buckets: Buckets
    ledger: Ledger
    members: WorkerRegistry
    authenticator: Authenticator
    idempotency: Idempotency
    submit: JobSubmission
    jobs: Jobs
    classifiers: ClassifierService
    uses: HitCounter
    key_uses: KeyUses


def create_app(services: Services) -> Flask:
    """The application; it holds no state but its counts and its slots."""
    settings, default_model = services.settings, services.catalogue.default.name
    app = Flask("pigeonhole", static_folder=None)
    app.url_map.merge_slashes = False
    trusted = networks_of(settings.trusted_proxies)
    app.wsgi_app = ForwardedRequests(  # type: ignore[assignment,method-assign]
        app.wsgi_app,
        proxies=TrustedProxies(networks=trusted),
        path_prefix=settings.path_prefix,
    )
    counts = ApiMetrics(services.ledger)
    probe = ReadinessProbe(
        submit=services.submit,
        store=services.store,
        ledger=services.ledger,
        members=services.members,
        default_model=default_model,
    )
    middleware.install(app, authenticator=services.authenticator, metrics=counts)
    compression.install(app)
    cors.install(app, origins=origins_of(settings.allowed_origins))
    query_parameters.install(app)
    error_handlers.install(app)
    docs.install(app)
    slots = ConcurrencyLimit(settings.api_threads - RESERVED_THREADS)
    resolve = RequestResolver(
        members=services.members,
        text_fallback=settings.text_fallback,
        classifiers=services.classifiers,
        catalogue=services.catalogue,
        limits=services.submit.limits,
    )
    app.register_blueprint(
        classify.blueprint(
            submit=services.submit,
            jobs=services.jobs,
            resolve=resolve,
            uses=services.uses,
            idempotency=services.idempotency,
            slots=slots,
            default_model=default_model,
            settings=settings,
        )
    )
    durable = AsyncResponder(
        submit=services.submit,
        jobs=services.jobs,
        idempotency=services.idempotency,
        timeout_s=settings.request_timeout_s,
    )
    app.register_blueprint(
        train.blueprint(
            store=services.store,
            durable=durable,
            resolve=resolve,
            slots=slots,
            max_body_bytes=settings.max_body_bytes,
        )
    )
    app.register_blueprint(
        classifiers.blueprint(
            classifiers=services.classifiers,
            idempotency=services.idempotency,
            durable=durable,
            slots=slots,
            limits=services.submit.limits,
            max_body_bytes=small_body_bytes(settings),
        )
    )
    app.register_blueprint(
        classifier_examples.blueprint(
            classifiers=services.classifiers,
            catalogue=services.catalogue,
            durable=durable,
            slots=slots,
            max_body_bytes=small_body_bytes(settings),
        )
    )
    app.register_blueprint(
        evaluate.blueprint(
            store=services.store,
            classifiers=services.classifiers,
            limits=services.submit.limits,
            resolve=resolve,
            durable=durable,
            slots=slots,
            max_body_bytes=settings.max_body_bytes,
        )
    )
    app.register_blueprint(
        classifier_transfer.blueprint(
            store=services.store,
            classifiers=services.classifiers,
            catalogue=services.catalogue,
            limits=services.submit.limits,
            durable=durable,
            slots=slots,
            max_import_bytes=settings.max_import_bytes,
        )
    )
    kept_files = Files(store=services.store, clock=services.submit.clock)
    app.register_blueprint(
        files.blueprint(
            files=kept_files,
            idempotency=services.idempotency,
            slots=slots,
            max_file_bytes=settings.max_file_bytes,
            keep_s=settings.file_retention_s,
        )
    )
    app.register_blueprint(
        uploads.blueprint(
            uploads=Uploads(store=services.store, files=kept_files, clock=services.submit.clock),
            slots=slots,
            max_body_bytes=small_body_bytes(settings),
            max_file_bytes=settings.max_file_bytes,
            keep_s=settings.file_retention_s,
        )
    )
    listening = ListenerSlots(
        slots=slots,
        listeners=ConcurrencyLimit((settings.api_threads - RESERVED_THREADS) // _LISTENERS_SHARE),
    )
    all_batches = Batches(
        submit=services.submit,
        jobs=services.jobs,
        files=kept_files,
        resolve=resolve,
        ledger=services.ledger,
        store=services.store,
        buckets=services.buckets,
        uses=services.uses,
        default_model=default_model,
        file_retention_s=settings.file_retention_s,
    )
    app.register_blueprint(
        batches.blueprint(
            batches=all_batches,
            durable=durable,
            idempotency=services.idempotency,
            max_body_bytes=batch_body_bytes(settings),
            max_window_s=max(
                settings.result_retention_s - _LOOKED_AT_S, settings.result_retention_s / 2
            ),
        )
    )
    app.register_blueprint(
        batch_streams.blueprint(
            batches=all_batches,
            events=of_batches(all_batches),
            slots=slots,
            listening=listening,
        )
    )
    app.register_blueprint(
        jobs.blueprint(
            jobs=services.jobs,
            listening=listening,
            inline_result_bytes=settings.inline_result_bytes,
        )
    )
    app.register_blueprint(
        webhooks.blueprint(
            webhooks=Webhooks(
                store=services.store,
                ports=ports_of(settings.fetch_ports),
                networks=networks_of(settings.fetch_networks),
                clock=services.submit.clock,
            ),
            idempotency=services.idempotency,
            max_body_bytes=small_body_bytes(settings),
        )
    )
    app.register_blueprint(
        models.blueprint(
            catalogue=services.catalogue,
            members=services.members,
            text_fallback=settings.text_fallback,
        )
    )
    app.register_blueprint(health.blueprint(probe=probe))
    app.register_blueprint(metrics.blueprint(metrics=counts))
    return app
