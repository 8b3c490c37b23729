"""One answering process: environment → adapters → application. Started by `api.main`."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import threading

from api.app import create_app
from api.dependencies import Services
from api.server.route_limits import POLLING_THREADS
from api.server.server import HttpServer
from api.services.auth import Authenticator
from api.services.balances import Balances
from api.services.classifiers import ClassifierService
from api.services.hit_counter import HitCounter
from api.services.idempotency import Idempotency
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from api.services.key_uses import KeyUses
from api.services.quotas import Quotas
from api.services.recent_results import RecentResults
from api.services.usage_counter import UsageCounter
from api.services.worker_registry import WorkerRegistry
from shared import model_catalogue, service_clock, tiers, tracing
from shared.adapters.celery.broker import CeleryDoorbell
from shared.adapters.redis import client
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.redis.rate_limiter import RedisRateLimiter
from shared.adapters.redis.replies import RedisReplies
from shared.adapters.redis.result_cache import RedisResultCache
from shared.adapters.redis.running_usage import RedisRunningUsage
from shared.adapters.s3.buckets import buckets_of
from shared.adapters.store_factory import store_of
from shared.classify_cache import ClassifyCache
from shared.job_intake import JobIntake
from shared.limits import Limits
from shared.settings import Settings
from shared.statements import Statements
from shared.telemetry import start_logging

_MAX_CONNECTIONS = 16384  # of clients, idle ones too
_OTHER_FILES = 1024  # that a process has open beside its connections
_SPARE_CONNECTIONS = 16
_EXIT_ORPHANED = 70


def serve() -> None:
    """Answer requests until SIGTERM or SIGINT."""
    settings = Settings.from_env(os.environ)
    start_logging("api", settings.log_level)
    tracing.start("api", settings.otlp_endpoint)
    _end_with_parent()
    services = _services(settings)
    server = HttpServer(
        create_app(services).wsgi_app,
        settings,
        check_key=services.authenticator.caller,
        max_connections=raise_file_limit(),
    )
    submit = services.submit
    threads = (services.uses, services.key_uses, submit.quotas, submit.balances.counter)
    for each in threads:
        each.start()
    gc.collect()
    gc.freeze()  # what is here now stays: the collector need not look at it with every answer
    gc.set_threshold(50_000, 20, 50)  # nor at a large answer 374 times while it is made
    try:
        server.run()
    finally:
        for each in threads:
            each.stop()
        tracing.stop()


def raise_file_limit() -> int:
    """Raise the limit on open files as far as is wanted and allowed; how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(256, min(_MAX_CONNECTIONS, soft - _OTHER_FILES))


def _end_with_parent() -> None:
    """Leave when `api.main` is killed: its successor could not have the port otherwise."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(_EXIT_ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _services(settings: Settings) -> Services:
    store = store_of(settings)
    redis = client.connect(
        settings.redis_url,
        timeout_s=settings.redis_timeout_s,
        # Each waiting call holds one, and each thread may.
        max_connections=(
            settings.api_threads + settings.upload_threads + POLLING_THREADS + _SPARE_CONNECTIONS
        ),
    )
    ledger = RedisLedger(redis)
    service_clock.CLOCK.follow(ledger.now, substitute=store.now)
    doorbell = CeleryDoorbell(settings.redis_url, timeout_s=settings.redis_timeout_s)
    models = model_catalogue.load(settings.catalogue, default=settings.default_model)
    members = WorkerRegistry(ledger)
    entries = None
    if settings.cache_bytes:
        entries = RecentResults(
            RedisResultCache.of(
                settings.redis_url,
                max_bytes=settings.cache_bytes,
                max_connections=settings.api_threads,
            )
        )
    statements = Statements(store=store)
    key_uses = KeyUses(store)
    authenticator = Authenticator(
        store,
        cache_s=settings.key_cache_s,
        tiers=tiers.load(settings.tiers),
        uses=key_uses,
    )
    submit = JobSubmission(
        intake=JobIntake(
            store=store,
            ledger=ledger,
            doorbell=doorbell,
            result_retention_s=settings.result_retention_s,
        ),
        replies=RedisReplies(redis),
        catalogue=models,
        members=members,
        limits=Limits.of(settings),
        max_queued_calls=settings.max_queued_calls,
        cache=ClassifyCache(
            entries,
            store,
            ttl_s=lambda account: authenticator.tier(account).cache_s or settings.cache_ttl_s,
        ),
        balances=Balances(statements, UsageCounter(statements), RedisRunningUsage(redis)),
        quotas=Quotas(RedisRateLimiter(redis), wait_s=settings.request_timeout_s),
    )
    return Services(
        settings=settings,
        catalogue=models,
        store=store,
        buckets=buckets_of(settings),
        ledger=ledger,
        members=members,
        authenticator=authenticator,
        idempotency=Idempotency(store=store, keep_s=settings.idempotency_retention_s),
        submit=submit,
        jobs=JobService(ledger=ledger, store=store, doorbell=doorbell, clock=service_clock.now),
        classifiers=ClassifierService(
            store=store,
            max_classifiers=settings.max_classifiers,
            versions_kept=settings.versions_kept,
            tier_of=authenticator.tier,
        ),
        uses=HitCounter(store),
        key_uses=key_uses,
    )
