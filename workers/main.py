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
from dataclasses import replace

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
from shared.classify_cache import ClassifyCache
from shared.errors import PigeonholeError
from shared.limits import Limits
from shared.messages import encode, queues_of
from shared.model_catalogue import load as load_catalogue
from shared.ports import Buckets, ObjectStore
from shared.settings import Settings
from shared.statements import Statements
from shared.telemetry import Log, start_logging
from shared.tiers import Tier
from shared.tiers import load as load_tiers
from shared.types import ClassifyRequest, JobKind
from workers import metrics, tasks
from workers.balance_check import BalanceCheck
from workers.claim_capacity import ClaimCapacity
from workers.classifier_cache import ClassifierCache
from workers.consumer import Consumer
from workers.cpu_quota import usable_cores
from workers.embedding.items import ItemEmbedder
from workers.embedding.media_decoder import Decoders
from workers.embedding.media_loader import MediaReader
from workers.handlers.batch.assemble_output import OutputAssembler
from workers.handlers.batch.cut_parts import BatchPlanner
from workers.handlers.batch.dry_run import DryRun
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.plain_rows import PlainRows
from workers.handlers.batch.request_rows import Requests
from workers.handlers.batch.run_part import PartRunner
from workers.handlers.batch.train_request_rows import TrainRequestRows
from workers.handlers.classify import ClassifyHandler
from workers.handlers.evaluate import EvaluateHandler
from workers.handlers.example_files import ExampleFiles
from workers.handlers.finalise import Finaliser
from workers.handlers.retrain.run import RetrainHandler
from workers.handlers.retrain.unfinished import UnfinishedRuns
from workers.handlers.sync_calls import SyncCalls
from workers.handlers.task_runner import TaskRunner
from workers.handlers.train import TrainHandler
from workers.inputs.media_fetcher import Fetcher, bounds_of
from workers.inputs.tables.row import TableLimits
from workers.inputs.tables.sandbox_task import (
    PIECE_BYTES,
    arrow_pieces,
    batches_of,
    parquet_pieces,
    rows_of,
)
from workers.leases import Leases
from workers.microbatching.throughput import Throughput
from workers.model_loader import load_models
from workers.model_offloader import ModelOffloader
from workers.observation_counter import ObservationCounter
from workers.outbound_http.client import Outbound
from workers.process_memory import MemoryGuard, bound_of, limit_heaps
from workers.sandbox.readers import FileReaders
from workers.watchdog import EXIT_FULL, EXIT_UNFIT, Watchdog, WatchedState
from workers.worker_report import report_of

log = Log("worker")
ROLE = "worker"
_GIVE_BACK_S = 1.0  # the end of the grace: what still runs is cancelled and given back
_GOODBYE_S = 3.0  # beyond the grace: the last answers, then the end
_FINISH_PARTS_S = 600.0  # of a worker that is full: what takes longer is given back
_EXAMPLES = 4  # times the largest body: what a file of examples may hold, all of which is held


def tables_of(settings: Settings) -> FileReaders:
    """The children that read tables."""
    return FileReaders(
        [parquet_pieces.__module__],
        memory_bytes=settings.decoder_bytes,
        limit_s=settings.decode_limit_s,
        max_piece_bytes=PIECE_BYTES + 3 * settings.max_row_bytes,
    )


def reader_of(
    store: ObjectStore, buckets: Buckets, tables: FileReaders, settings: Settings
) -> Reader:
    """Reads what batches are about, whatever it is."""
    return Reader(
        store=store,
        buckets=buckets,
        bounds=TableLimits(max_row_bytes=settings.max_row_bytes),
        parquet_rows=lambda stream, *, skip, bounds, wanted=None: rows_of(
            tables.read(parquet_pieces, stream, skip, bounds, wanted)
        ),
        arrow_batches=lambda stream, *, bounds: batches_of(
            tables.read(arrow_pieces, stream, bounds)
        ),
    )


def _media(store: ObjectStore, buckets: Buckets, settings: Settings, *, eager: bool) -> MediaReader:
    bounds = bounds_of(settings)
    return MediaReader(
        store=store,
        buckets=buckets,
        fetcher=Fetcher(Outbound.of(settings), bounds, timeout_s=settings.fetch_timeout_s),
        decoders=Decoders(
            children=settings.decoders or usable_cores() + 1,  # documents leave one to images
            memory_bytes=settings.decoder_bytes,
            limit_s=settings.decode_limit_s,
            at_once=eager,
        ),
        max_bytes={kind: each.max_bytes for kind, each in bounds.items()},
    )


def main() -> None:
    """Run a worker until SIGTERM or SIGINT."""
    try:
        settings = Settings.from_env(os.environ)
        start_logging("worker", settings.log_level)
        tracing.start("worker", settings.otlp_endpoint)
        limit_heaps()
        _run(settings)
    except PigeonholeError as exc:
        sys.exit(f"pigeonhole: {exc.detail}")


def _run(settings: Settings) -> None:
    from celery.signals import worker_ready, worker_shutting_down

    began = time.monotonic()
    # Small matrices gain nothing from more threads, and beside a busy model they lose 40-fold.
    threadpool_limits(1, user_api="blas")
    client = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
    ledger, store = (
        RedisLedger(client, max_account_parts=settings.max_account_parts),
        store_of(settings),
    )
    buckets = buckets_of(settings)
    probe(store)
    service_clock.CLOCK.follow(ledger.now, substitute=store.now)
    catalogue = load_catalogue(settings.catalogue, default=settings.default_model)
    tiers = load_tiers(settings.tiers)
    pace = Throughput()
    device, models = load_models(catalogue, settings, observe=pace.watching(metrics.observer))
    gc.collect()
    gc.freeze()  # the models' objects stay: looking through them again and again costs each row
    queues = queues_of(device, models)

    stopping = threading.Event()
    doorbell = CeleryDoorbell(settings.redis_url, timeout_s=settings.redis_timeout_s)
    limits = Limits.of(settings)
    classifiers = ClassifierCache(store, versions_kept=settings.versions_kept)
    images = any(model.images is not None for model in models.values())
    media = _media(store, buckets, settings, eager=images)
    viewer = ItemEmbedder(limits=limits, media=media)
    observations = ObservationCounter(store)

    def tier_of(account: str) -> Tier:
        return tiers.of(AccountStore(store=store).get(account).tier)

    cache = ClassifyCache(
        RedisResultCache.of(
            settings.redis_url, max_bytes=settings.cache_bytes, max_connections=len(queues)
        )
        if settings.cache_bytes
        else None,
        store,
        ttl_s=lambda account: tier_of(account).cache_s or settings.cache_ttl_s,
    )
    classify = ClassifyHandler(models, limits, classifiers, viewer, observations, cache=cache)
    tables = tables_of(settings)
    reader = reader_of(store, buckets, tables, settings)
    example_files = ExampleFiles(
        store=store,
        buckets=buckets,
        catalogue=catalogue,
        limits=limits,
        bounds=replace(reader.bounds, max_expanded_bytes=_EXAMPLES * settings.max_body_bytes),
        parquet_rows=reader.parquet_rows,
    )
    train = TrainHandler(
        models=models,
        limits=limits,
        classifiers=classifiers,
        viewer=viewer,
        example_files=example_files,
    )
    evaluate = EvaluateHandler(
        models=models,
        limits=limits,
        classifiers=classifiers,
        viewer=viewer,
        store=store,
        example_files=example_files,
    )
    retrain = RetrainHandler(
        models=models,
        limits=limits,
        classifiers=classifiers,
        viewer=viewer,
        example_files=example_files,
        buckets=buckets,
    )
    dry_run = DryRun(reader=reader, models=models, limits=limits, ledger=ledger)

    def warmup_ms(body: ClassifyRequest, began: float) -> int:
        encoders = [models[name].idle for name in body.models if name in models]
        return max((each.waited_ms(began) for each in encoders if each), default=0)

    calls = SyncCalls({JobKind.CLASSIFY: classify.begin}, RedisReplies(client), warmup_ms=warmup_ms)
    leases = Leases(ledger, lease_s=settings.lease_s)
    balance = BalanceCheck(Statements(store=store), RedisRunningUsage(client))
    parts = TaskRunner(
        ledger=ledger,
        store=store,
        work={
            JobKind.CLASSIFY: classify.run,
            JobKind.TRAIN: train.train,
            JobKind.REBUILD: train.rebuild,
            JobKind.RELABEL: train.relabel,
            JobKind.IMPORT: train.load,
            JobKind.EVALUATE: evaluate.run,
            JobKind.RETRAIN: retrain.run,
            JobKind.DRY_RUN: dry_run.run,
        },
        planner=BatchPlanner(
            store=store,
            ledger=ledger,
            doorbell=doorbell,
            reader=reader,
            limits=limits,
            balance=balance,
            models=models,
        ),
        part_runner=PartRunner(
            store=store,
            ledger=ledger,
            documents=PlainRows(classify=classify, store=store),
            requests=Requests(
                classify=classify,
                records=classifiers.records,
                catalogue=catalogue,
                limits=limits,
                text_fallback=settings.text_fallback,
            ),
            lessons=TrainRequestRows(
                train=train,
                records=classifiers.records,
                catalogue=catalogue,
                limits=limits,
                max_classifiers=settings.max_classifiers,
                tier_of=tier_of,
                text_fallback=settings.text_fallback,
            ),
        ),
        finaliser=Finaliser(
            ledger=ledger,
            store=store,
            assembler=OutputAssembler(store=store, buckets=buckets, reader=reader),
            balance=balance,
            rates=RedisRateLimiter(client),
            conclude={
                JobKind.TRAIN: train.conclude,
                JobKind.REBUILD: train.conclude,
                JobKind.RELABEL: train.conclude,
                JobKind.IMPORT: train.conclude,
                JobKind.RETRAIN: UnfinishedRuns(classifiers=classifiers).conclude,
            },
            lease_s=settings.lease_s,
        ),
        leases=leases,
        doorbell=doorbell,
        balance=balance,
        stopping=stopping,
        max_attempts=settings.max_attempts,
        lease_s=settings.lease_s,
    )
    member = ids.token()
    drain = Consumer(
        ledger=ledger,
        worker=member,
        begin_call=calls.begin,
        run_part=parts.run,
        room=ClaimCapacity(models, calls),
        stopping=stopping,
        lease_s=settings.lease_s,
        queues=len(queues),
    )

    def leave() -> None:
        drain.finish_parts(timeout_s=_FINISH_PARTS_S)
        os.kill(os.getpid(), signal.SIGTERM)

    offloader = ModelOffloader(models.values(), idle_s=settings.model_idle_s)
    guard = MemoryGuard(max_bytes=bound_of(settings.worker_memory), on_full=leave)
    batchers = [batcher for model in models.values() for batcher in model.batchers]
    watchdog = Watchdog(
        ledger=ledger,
        role=ROLE,
        member=member,
        report=lambda: encode(report_of(device, queues, models, pace)),
        queues=queues,
        watched=WatchedState(
            healthy=lambda: (
                calls.healthy()
                and leases.healthy()
                and media.healthy()
                and guard.healthy()
                and all(b.healthy() for b in batchers)
            ),
            stalled_s=lambda: max((b.stalled_s() for b in batchers), default=0.0),
            loading_s=lambda: max(
                (m.idle.loading_s() for m in models.values() if m.idle), default=0.0
            ),
            attends=lambda queue: stopping.is_set() or guard.full or drain.attends(queue),
        ),
        forward_pass_limit_s=settings.forward_pass_limit_s,
    )

    metrics.serve(settings.metrics_port, role=ROLE, healthy=watchdog.alive)

    timeout_s = settings.redis_timeout_s
    # Its advice against root is about pickle; here messages are JSON.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    app = celery_app(
        settings.redis_url,
        timeout_s=timeout_s,
        socket_timeout_s=max(5.0, timeout_s),  # the consumer's own BRPOP waits 1 s
        dropped=metrics.DROPPED.inc,
    )
    tasks.register(app, drain)

    def ready(**_: object) -> None:
        watchdog.start()
        guard.start()
        offloader.start()
        observations.start()
        log.info(
            "worker.ready",
            member=member,
            device=device,
            models=",".join(models),
            after_s=round(time.monotonic() - began, 1),
        )

    def shutting_down(**_: object) -> None:
        stopping.set()
        # Threads cannot be ended from outside: whatever hangs, the process does not outlive this.
        last = threading.Timer(settings.shutdown_grace_s + _GOODBYE_S, os._exit, [EXIT_UNFIT])
        last.daemon = True
        last.start()

    worker_ready.connect(ready)
    worker_shutting_down.connect(shutting_down)
    arguments = ["--quiet", "worker", "--pool=threads", f"--concurrency={len(queues) + 2}"]
    arguments += [f"--queues={','.join(queues)}", f"--hostname={member}@%h"]
    arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments += [f"--loglevel={settings.log_level}"]
    try:
        app.worker_main(arguments)
    finally:
        stopping.set()
        until = time.monotonic() + settings.shutdown_grace_s - _GIVE_BACK_S
        if not drain.close(timeout_s=until - time.monotonic()):
            log.warning("worker.gives_back")
            leases.end_all()
            drain.close(timeout_s=_GIVE_BACK_S)
        calls.settle(timeout_s=max(0.0, until - time.monotonic()))
        offloader.close()
        watchdog.close(replaced=guard.full)
        for batcher in batchers:
            batcher.close(timeout_s=_GIVE_BACK_S)  # what still waits ends with Unavailable
        calls.close(timeout_s=_GIVE_BACK_S)
        observations.stop()
        media.close()
        tables.close()
        leases.close()
        guard.close()
        tracing.stop()
        log.info("worker.stopped", member=member)
        if guard.full:
            sys.exit(EXIT_FULL)


if __name__ == "__main__":
    main()
