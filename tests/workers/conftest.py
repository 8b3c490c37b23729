"""A worker's parts on in-memory ports and the hashing model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from shared import ids
from shared.classify_cache import ClassifyCache
from shared.job_intake import JobIntake
from shared.job_kinds import Body
from shared.jobs import Job
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.ports import Claim
from shared.statements import Statements
from shared.types import ClassifyRequest, Item, JobKind, Question
from tests.fake_media import ColourEncoder, FakeMedia
from tests.fakes import (
    FakeBuckets,
    FakeDoorbell,
    FakeReplies,
    FakeResultCache,
    FakeRunningUsage,
    FakeStore,
    UnusedRateLimiter,
)
from tests.prefixed_ledger import PrefixedLedger
from workers.balance_check import BalanceCheck
from workers.classifier_cache import ClassifierCache
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.texts import Embedder, ImageBatcherModel, ImageEmbedder
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
from workers.handlers.task_runner import TaskRunner
from workers.handlers.train import TrainHandler
from workers.inputs.tables.row import TableLimits
from workers.leases import Leases
from workers.microbatching.microbatcher import Microbatcher
from workers.models.hashing import HashingEncoder
from workers.models.port import Rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "cpu.standard.tiny"
CATALOGUE = Catalogue(
    [
        ModelEntry(name="tiny", engine="hashing"),
        ModelEntry(name="elsewhere", engine="hashing"),  # which the bench does not hold
    ],
    default="tiny",
)


def a_request(*texts: str, **changes: object) -> ClassifyRequest:
    request = ClassifyRequest(
        model="tiny",
        items=tuple(Item(text=text) for text in texts or ("a red rose",)),
        questions=(Question(labels=("red", "green")),),
    )
    return request.model_copy(update=changes)


class Encoder(HashingEncoder):
    """The hashing model; counts passes, fails or waits when told to."""

    def __init__(self) -> None:
        super().__init__(name="tiny")
        self.ran = 0
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        self.free.wait(60)
        self.ran += len(windows)
        if self.error is not None:
            raise self.error
        return super().encode(windows)


@dataclass
class Bench:
    """Everything a handler stands on."""

    store: FakeStore = field(default_factory=FakeStore)
    buckets: FakeBuckets = field(default_factory=FakeBuckets)
    ledger: PrefixedLedger = field(default_factory=PrefixedLedger)
    replies: FakeReplies = field(default_factory=FakeReplies)
    encoder: Encoder = field(default_factory=Encoder)
    colours: ColourEncoder = field(default_factory=ColourEncoder)
    media: FakeMedia = field(default_factory=FakeMedia)
    cache: FakeResultCache = field(default_factory=FakeResultCache)
    reads_images: bool = True
    stopping: threading.Event = field(default_factory=threading.Event)
    rung: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batcher = Microbatcher(self.encoder, budget_tokens=256, name="tiny")
        stills = ImageBatcherModel(self.colours)
        self.image_batcher = Microbatcher(
            stills, budget_tokens=64, name="tiny", window_tokens=self.colours.image_tokens
        )
        model = LoadedModel(
            entry=ModelEntry(name="tiny", engine="hashing", image_templates=("{label}",)),
            texts=Embedder(self.encoder, self.batcher),
            images=ImageEmbedder(self.colours, self.image_batcher, logit_scale=20.0)
            if self.reads_images
            else None,
        )
        self.models, self.limits = {"tiny": model}, Limits(max_input_tokens=50)
        self.classifiers = ClassifierCache(self.store, versions_kept=3)
        self.viewer = ItemEmbedder(limits=self.limits, media=self.media)
        cache = ClassifyCache(self.cache, self.store, ttl_s=lambda _: 60.0)
        self.classify = ClassifyHandler(
            self.models, self.limits, self.classifiers, self.viewer, cache=cache
        )
        self.example_files = ExampleFiles(
            store=self.store,
            buckets=self.buckets,
            catalogue=CATALOGUE,
            limits=self.limits,
            bounds=TableLimits(),
        )
        self.train = TrainHandler(
            models=self.models,
            limits=self.limits,
            classifiers=self.classifiers,
            viewer=self.viewer,
            example_files=self.example_files,
        )
        self.evaluate = EvaluateHandler(
            models=self.models,
            limits=self.limits,
            classifiers=self.classifiers,
            viewer=self.viewer,
            store=self.store,
            example_files=self.example_files,
        )
        self.retrain = RetrainHandler(
            models=self.models,
            limits=self.limits,
            classifiers=self.classifiers,
            viewer=self.viewer,
            example_files=self.example_files,
            buckets=self.buckets,
        )
        self.unfinished = UnfinishedRuns(classifiers=self.classifiers)
        self.leases = Leases(self.ledger, lease_s=1.0)
        self.reader = Reader(store=self.store, buckets=self.buckets, bounds=TableLimits())
        self.running = FakeRunningUsage()
        self.statements = Statements(store=self.store)
        self.balance = BalanceCheck(self.statements, self.running)
        self.finaliser = Finaliser(
            ledger=self.ledger,
            store=self.store,
            assembler=OutputAssembler(store=self.store, buckets=self.buckets, reader=self.reader),
            balance=self.balance,
            rates=UnusedRateLimiter(),
            conclude={
                JobKind.TRAIN: self.train.conclude,
                JobKind.REBUILD: self.train.conclude,
                JobKind.RELABEL: self.train.conclude,
                JobKind.IMPORT: self.train.conclude,
                JobKind.RETRAIN: self.unfinished.conclude,
            },
            lease_s=1.0,
        )
        self.part_runner = PartRunner(
            store=self.store,
            ledger=self.ledger,
            documents=PlainRows(classify=self.classify, store=self.store),
            requests=Requests(
                classify=self.classify,
                records=self.classifiers.records,
                catalogue=CATALOGUE,
                limits=self.limits,
            ),
            lessons=TrainRequestRows(
                train=self.train,
                records=self.classifiers.records,
                catalogue=CATALOGUE,
                limits=self.limits,
                max_classifiers=5,
            ),
        )
        self.parts = TaskRunner(
            ledger=self.ledger,
            store=self.store,
            work={
                JobKind.CLASSIFY: self.classify.run,
                JobKind.TRAIN: self.train.train,
                JobKind.REBUILD: self.train.rebuild,
                JobKind.RELABEL: self.train.relabel,
                JobKind.IMPORT: self.train.load,
                JobKind.EVALUATE: self.evaluate.run,
                JobKind.RETRAIN: self.retrain.run,
                JobKind.DRY_RUN: DryRun(
                    reader=self.reader, models=self.models, limits=self.limits, ledger=self.ledger
                ).run,
            },
            planner=BatchPlanner(
                store=self.store,
                ledger=self.ledger,
                doorbell=FakeDoorbell(self.rung.append),
                reader=self.reader,
                limits=self.limits,
                balance=self.balance,
                models=self.models,
            ),
            part_runner=self.part_runner,
            finaliser=self.finaliser,
            leases=self.leases,
            doorbell=FakeDoorbell(self.rung.append),
            balance=self.balance,
            stopping=self.stopping,
            max_attempts=2,
            lease_s=1.0,
        )

    def submit(
        self,
        request: Body | None = None,
        *,
        account: str = "acme",
        metered: bool = False,
        dialect: str = "jina",
    ) -> Job:
        """Accept a durable job, as the front end does."""
        intake = JobIntake(
            store=self.store,
            ledger=self.ledger,
            doorbell=FakeDoorbell(lambda _: None),  # `rung` is what came after
            result_retention_s=7 * 86400,
            clock=NOW.timestamp,
        )
        return intake.accept(
            request or a_request(),
            account=account,
            metered=metered,
            queue=QUEUE,
            request_id="req_1",
            dialect=dialect,
            job_id=ids.job_id(10**12, ids.random_bits()),
        )

    def claim(self, queue: str = QUEUE, *, lease_s: float = 30) -> Claim:
        (claim,) = self.ledger.claim(queue, None, calls=0, parts=1, lease_s=lease_s).claims
        return claim

    def nothing_ready(self, queue: str = QUEUE) -> bool:
        return not self.ledger.claim(queue, None, calls=9, parts=9, lease_s=30)

    def close(self) -> None:
        self.encoder.free.set()
        self.leases.close()
        self.batcher.close()
        self.image_batcher.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()
