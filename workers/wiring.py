"""Assembles what a worker does, from its ports, models and settings.

`workers.main` chooses the adapters; tests assemble the same worker on ports of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from shared import service_clock
from shared.classify_cache import ClassifyCache
from shared.limits import Limits
from shared.model_catalogue import Catalogue
from shared.ports import Buckets, Doorbell, Ledger, ObjectStore, Replies
from shared.rate_limits import RateLimiter
from shared.result_cache import ResultCache
from shared.running_usage import RunningUsage
from shared.settings import Settings
from shared.statements import Statements
from shared.tiers import Tier
from shared.types import ClassifyRequest, JobKind
from workers.balance_check import BalanceCheck
from workers.classifier_cache import ClassifierCache
from workers.cpu_quota import usable_cores
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
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
from workers.observation_counter import ObservationCounter
from workers.outbound_http.client import Outbound
from workers.sandbox.readers import FileReaders

_EXAMPLES = 4  # times the largest body: what a file of examples may hold, all of which is held


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The servers that a worker uses."""

    ledger: Ledger
    store: ObjectStore
    buckets: Buckets
    replies: Replies
    doorbell: Doorbell
    results: ResultCache | None  # None: no answer is cached
    running: RunningUsage
    rates: RateLimiter


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """What a worker does with calls and with tasks of jobs."""

    classifiers: ClassifierCache
    viewer: ItemEmbedder
    example_files: ExampleFiles
    classify: ClassifyHandler
    train: TrainHandler
    evaluate: EvaluateHandler
    retrain: RetrainHandler
    calls: SyncCalls
    leases: Leases
    tasks: TaskRunner


def handlers_of(
    ports: Ports,
    settings: Settings,
    *,
    models: Mapping[str, LoadedModel],
    catalogue: Catalogue,
    media: MediaReader,
    reader: Reader,
    tier_of: Callable[[str], Tier],
    stopping: threading.Event,
    observations: ObservationCounter | None = None,
    clock: Callable[[], float] = service_clock.now,
) -> Handlers:
    """Assemble the handlers of a worker.

    Args:
        ports: the servers.
        settings: of the service.
        models: those of this process, by name.
        catalogue: all models that requests may name.
        media: reads images and documents.
        reader: reads the inputs of batches.
        tier_of: the tier of an account.
        stopping: is set when the process is told to end.
        observations: counts what classifiers answer.
        clock: seconds since 1970, for deadlines of calls and states of jobs.
    """
    ledger, store = ports.ledger, ports.store
    limits = Limits.of(settings)
    classifiers = ClassifierCache(store, versions_kept=settings.versions_kept, clock=clock)
    viewer = ItemEmbedder(limits=limits, media=media)
    cache = ClassifyCache(
        ports.results,
        store,
        ttl_s=lambda account: tier_of(account).cache_s or settings.cache_ttl_s,
    )
    classify = ClassifyHandler(models, limits, classifiers, viewer, observations, cache=cache)
    example_files = ExampleFiles(
        store=store,
        buckets=ports.buckets,
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
        buckets=ports.buckets,
    )
    dry_run = DryRun(reader=reader, models=models, limits=limits, ledger=ledger)
    balance = BalanceCheck(Statements(store=store, clock=clock), ports.running, clock=clock)
    leases = Leases(ledger, lease_s=settings.lease_s)
    tasks = TaskRunner(
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
            doorbell=ports.doorbell,
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
                text_fallback=settings.text_fallback,
                max_classifiers=settings.max_classifiers,
                tier_of=tier_of,
            ),
        ),
        finaliser=Finaliser(
            ledger=ledger,
            store=store,
            assembler=OutputAssembler(
                store=store, buckets=ports.buckets, reader=reader, clock=clock
            ),
            balance=balance,
            rates=ports.rates,
            conclude={
                JobKind.TRAIN: train.conclude,
                JobKind.REBUILD: train.conclude,
                JobKind.RELABEL: train.conclude,
                JobKind.IMPORT: train.conclude,
                JobKind.RETRAIN: UnfinishedRuns(classifiers=classifiers).conclude,
            },
            lease_s=settings.lease_s,
            clock=clock,
        ),
        leases=leases,
        doorbell=ports.doorbell,
        balance=balance,
        stopping=stopping,
        max_attempts=settings.max_attempts,
        lease_s=settings.lease_s,
        clock=clock,
    )

    def warmup_ms(body: ClassifyRequest, began: float) -> int:
        encoders = [models[name].idle for name in body.models if name in models]
        return max((each.waited_ms(began) for each in encoders if each), default=0)

    calls = SyncCalls(
        {JobKind.CLASSIFY: classify.begin}, ports.replies, warmup_ms=warmup_ms, clock=clock
    )
    return Handlers(
        classifiers=classifiers,
        viewer=viewer,
        example_files=example_files,
        classify=classify,
        train=train,
        evaluate=evaluate,
        retrain=retrain,
        calls=calls,
        leases=leases,
        tasks=tasks,
    )


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


def media_of(
    store: ObjectStore, buckets: Buckets, settings: Settings, *, images: bool
) -> MediaReader:
    """Reads images and documents, in children; `images`: some model looks at images."""
    bounds = bounds_of(settings)
    return MediaReader(
        store=store,
        buckets=buckets,
        fetcher=Fetcher(Outbound.of(settings), bounds, timeout_s=settings.fetch_timeout_s),
        decoders=Decoders(
            children=settings.decoders or usable_cores() + 1,  # documents leave one to images
            memory_bytes=settings.decoder_bytes,
            limit_s=settings.decode_limit_s,
            at_once=images,
        ),
        max_bytes={kind: each.max_bytes for kind, each in bounds.items()},
    )
