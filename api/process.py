"""One answering process: environment → adapters → application. Started by `api.main`."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import threading

from flask import Flask

from api.app import Services, create_app
from api.auth import Authenticator
from api.classifiers import Classifiers
from api.idempotency import Idempotency
from api.jobs import Jobs
from api.members import Members
from api.submit import Submit
from api.usage import Uses
from shared import catalogue, service_clock
from shared.adapters import redis_client
from shared.adapters.celery_broker import CeleryDoorbell
from shared.adapters.redis_ledger import RedisLedger
from shared.adapters.redis_replies import RedisReplies
from shared.adapters.s3_buckets import buckets_of
from shared.adapters.store import store_of
from shared.limits import Limits
from shared.settings import Settings
from shared.telemetry import start_logging

_SPARE_CONNECTIONS = 16
_EXIT_ORPHANED = 70


def application() -> Flask:
    """The application on adapters of its own."""
    settings = Settings.from_env(os.environ)
    start_logging("api", settings.log_level)
    _end_with_parent()
    services = _services(settings)
    services.uses.start()
    atexit.register(services.uses.stop)
    app = create_app(services)
    gc.collect()
    gc.freeze()  # what is here now stays: the collector need not look at it with every answer
    gc.set_threshold(50_000, 20, 50)  # nor at a large answer 374 times while it is made
    return app


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
    redis = redis_client.connect(
        settings.redis_url,
        timeout_s=settings.redis_timeout_s,
        max_connections=settings.api_threads + _SPARE_CONNECTIONS,  # each waiting call holds one
    )
    ledger = RedisLedger(redis)
    service_clock.CLOCK.follow(ledger.now, substitute=store.now)
    doorbell = CeleryDoorbell(settings.redis_url, timeout_s=settings.redis_timeout_s)
    models = catalogue.load(settings.catalogue, default=settings.default_model)
    members = Members(ledger)
    submit = Submit(
        ledger=ledger,
        replies=RedisReplies(redis),
        doorbell=doorbell,
        store=store,
        catalogue=models,
        members=members,
        limits=Limits.of(settings),
        max_waiting=settings.max_waiting,
        result_keep_s=settings.result_keep_s,
    )
    return Services(
        settings=settings,
        catalogue=models,
        store=store,
        buckets=buckets_of(settings),
        ledger=ledger,
        members=members,
        authenticator=Authenticator(store, cache_s=settings.key_cache_s),
        idempotency=Idempotency(store=store, keep_s=settings.idempotency_keep_s),
        submit=submit,
        jobs=Jobs(ledger=ledger, store=store, doorbell=doorbell, clock=service_clock.now),
        classifiers=Classifiers(
            store=store,
            max_classifiers=settings.max_classifiers,
            versions_kept=settings.versions_kept,
        ),
        uses=Uses(store),
    )
