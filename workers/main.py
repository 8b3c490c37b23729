"""The worker process: loads and warms up models, then runs a Celery worker. `python -m
workers.main`

The worker is ready after one item has passed through every model. After SIGTERM it claims nothing
more and finishes running work within `shutdown_grace_s`; the leases return the rest. A worker above
its memory limit finishes its parts and ends in the same way; the launcher, or the restart policy of
its container, starts another one.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from shared import ids, service_clock, tracing
from shared.accounts import AccountStore
from shared.adapters.celery.broker import CeleryDoorbell, celery_app
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.redis.rate_limiter import RedisRateLimiter
from shared.adapters.redis.replies import RedisReplies
from shared.adapters.redis.result_cache import RedisResultCache
from shared.adapters.redis.running_usage import RedisRunningUsage
from shared.adapters.s3.buckets import buckets_of
from shared.adapters.store_factory import probe, store_of
from shared.errors import PigeonholeError
from shared.messages import encode, queues_of
from shared.model_catalogue import load as load_catalogue
from shared.settings import Settings
from shared.telemetry import Log, start_logging
from shared.tiers import Tier
from shared.tiers import load as load_tiers
from workers import metrics, tasks
from workers.claim_capacity import ClaimCapacity
from workers.consumer import Consumer
from workers.microbatching.throughput import Throughput
from workers.model_loader import load_models
from workers.model_offloader import ModelOffloader
from workers.observation_counter import ObservationCounter
from workers.process_memory import MemoryGuard, bound_of, limit_heaps
from workers.watchdog import EXIT_FULL, EXIT_UNFIT, Watchdog, WatchedState
from workers.wiring import Ports, handlers_of, media_of, reader_of, tables_of
from workers.worker_report import report_of

if TYPE_CHECKING:
    from celery import Celery

log = Log("worker")
ROLE = "worker"
_GIVE_BACK_S = 1.0  # the end of the grace: what still runs is cancelled and given back
_GOODBYE_S = 3.0  # beyond the grace: the last answers, then the end
_FINISH_PARTS_S = 600.0  # of a worker that is full: what takes longer is given back


def main() -> None:
    """Run a worker until SIGTERM or SIGINT."""
    try:
        settings = Settings.from_env(os.environ)
        start_logging("worker", settings.log_level)
        tracing.start("worker", settings.otlp_endpoint)
        limit_heaps()
        # Small matrices gain nothing from more threads, and beside a busy model they lose 40-fold.
        threadpool_limits(1, user_api="blas")
        _Worker(settings).run()
    except PigeonholeError as exc:
        sys.exit(f"pigeonhole: {exc.detail}")


class _Worker:
    """The process: servers and models, handlers, the threads that watch over them, and Celery."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._began = settings, time.monotonic()
        client = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        ledger = RedisLedger(client, max_account_parts=settings.max_account_parts)
        store, buckets = store_of(settings), buckets_of(settings)
        probe(store)
        service_clock.CLOCK.follow(ledger.now, substitute=store.now)
        catalogue = load_catalogue(settings.catalogue, default=settings.default_model)
        tiers = load_tiers(settings.tiers)
        pace = Throughput()
        device, models = load_models(catalogue, settings, observe=pace.watching(metrics.observer))
        gc.collect()
        gc.freeze()  # the models' objects stay: looking through them again and again costs each row
        self._device, self._models = device, models
        self._queues = queues = queues_of(device, models)
        self._member, self._stopping = ids.token(), threading.Event()

        def tier_of(account: str) -> Tier:
            return tiers.of(AccountStore(store=store).get(account).tier)

        ports = Ports(
            ledger=ledger,
            store=store,
            buckets=buckets,
            replies=RedisReplies(client),
            doorbell=CeleryDoorbell(settings.redis_url, timeout_s=settings.redis_timeout_s),
            results=RedisResultCache.of(
                settings.redis_url, max_bytes=settings.cache_bytes, max_connections=len(queues)
            )
            if settings.cache_bytes
            else None,
            running=RedisRunningUsage(client),
            rates=RedisRateLimiter(client),
        )
        images = any(model.images is not None for model in models.values())
        self._media = media_of(store, buckets, settings, images=images)
        self._tables = tables_of(settings)
        self._observations = ObservationCounter(store)
        self._handlers = handlers_of(
            ports,
            settings,
            models=models,
            catalogue=catalogue,
            media=self._media,
            reader=reader_of(store, buckets, self._tables, settings),
            tier_of=tier_of,
            stopping=self._stopping,
            observations=self._observations,
        )
        self._consumer = Consumer(
            ledger=ledger,
            worker=self._member,
            begin_call=self._handlers.calls.begin,
            run_part=self._handlers.tasks.run,
            room=ClaimCapacity(models, self._handlers.calls),
            stopping=self._stopping,
            lease_s=settings.lease_s,
            queues=len(queues),
        )
        self._offloader = ModelOffloader(models.values(), idle_s=settings.model_idle_s)
        self._guard = MemoryGuard(max_bytes=bound_of(settings.worker_memory), on_full=self._leave)
        self._batchers = [batcher for model in models.values() for batcher in model.batchers]
        self._watchdog = Watchdog(
            ledger=ledger,
            role=ROLE,
            member=self._member,
            report=lambda: encode(report_of(device, queues, models, pace)),
            queues=queues,
            watched=self._watched(),
            forward_pass_limit_s=settings.forward_pass_limit_s,
        )

    def run(self) -> None:
        """Serve metrics and work until SIGTERM or SIGINT."""
        from celery.signals import worker_ready, worker_shutting_down

        metrics.serve(self._settings.metrics_port, role=ROLE, healthy=self._watchdog.alive)
        app = self._celery()
        worker_ready.connect(self._ready)
        worker_shutting_down.connect(self._shutting_down)
        arguments = ["--quiet", "worker", "--pool=threads"]
        arguments += [f"--concurrency={len(self._queues) + 2}"]
        arguments += [f"--queues={','.join(self._queues)}", f"--hostname={self._member}@%h"]
        arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        arguments += [f"--loglevel={self._settings.log_level}"]
        try:
            app.worker_main(arguments)
        finally:
            self._close()
        if self._guard.full:
            sys.exit(EXIT_FULL)

    def _watched(self) -> WatchedState:
        handlers, models, batchers = self._handlers, self._models, self._batchers
        return WatchedState(
            healthy=lambda: (
                handlers.calls.healthy()
                and handlers.leases.healthy()
                and self._media.healthy()
                and self._guard.healthy()
                and all(b.healthy() for b in batchers)
            ),
            stalled_s=lambda: max((b.stalled_s() for b in batchers), default=0.0),
            loading_s=lambda: max(
                (m.idle.loading_s() for m in models.values() if m.idle), default=0.0
            ),
            attends=lambda queue: (
                self._stopping.is_set() or self._guard.full or self._consumer.attends(queue)
            ),
        )

    def _celery(self) -> Celery:
        timeout_s = self._settings.redis_timeout_s
        # Its advice against root is about pickle; here messages are JSON.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser")
        app = celery_app(
            self._settings.redis_url,
            timeout_s=timeout_s,
            socket_timeout_s=max(5.0, timeout_s),  # the consumer's own BRPOP waits 1 s
            dropped=metrics.DROPPED.inc,
        )
        tasks.register(app, self._consumer)
        return app

    def _ready(self, **_: object) -> None:
        self._watchdog.start()
        self._guard.start()
        self._offloader.start()
        self._observations.start()
        log.info(
            "worker.ready",
            member=self._member,
            device=self._device,
            models=",".join(self._models),
            after_s=round(time.monotonic() - self._began, 1),
        )

    def _leave(self) -> None:
        """End a process that is above its memory limit."""
        self._consumer.finish_parts(timeout_s=_FINISH_PARTS_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _shutting_down(self, **_: object) -> None:
        self._stopping.set()
        # Threads cannot be ended from outside: whatever hangs, the process does not outlive this.
        limit_s = self._settings.shutdown_grace_s + _GOODBYE_S
        last = threading.Timer(limit_s, os._exit, [EXIT_UNFIT])
        last.daemon = True
        last.start()

    def _close(self) -> None:
        """Finish what runs within the grace, and give the rest back."""
        calls, leases = self._handlers.calls, self._handlers.leases
        self._stopping.set()
        until = time.monotonic() + self._settings.shutdown_grace_s - _GIVE_BACK_S
        if not self._consumer.close(timeout_s=until - time.monotonic()):
            log.warning("worker.gives_back")
            leases.end_all()
            self._consumer.close(timeout_s=_GIVE_BACK_S)
        calls.settle(timeout_s=max(0.0, until - time.monotonic()))
        self._offloader.close()
        self._watchdog.close(replaced=self._guard.full)
        for batcher in self._batchers:
            batcher.close(timeout_s=_GIVE_BACK_S)  # what still waits ends with Unavailable
        calls.close(timeout_s=_GIVE_BACK_S)
        self._observations.stop()
        self._media.close()
        self._tables.close()
        leases.close()
        self._guard.close()
        tracing.stop()
        log.info("worker.stopped", member=self._member)


if __name__ == "__main__":
    main()
