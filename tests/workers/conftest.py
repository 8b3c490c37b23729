"""A worker's parts on in-memory ports and the hashing model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from shared import ids, service_clock
from shared.job_intake import JobIntake
from shared.job_kinds import Body
from shared.jobs import Job
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.ports import Claim
from shared.rate_limits import RateLimiter
from shared.settings import Settings
from shared.statements import Statements
from shared.tiers import NO_LIMITS
from shared.types import ClassifyRequest, Item, Question
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
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.texts import Embedder, ImageBatcherModel, ImageEmbedder
from workers.handlers.batch.input_reader import Reader
from workers.handlers.retrain.unfinished import UnfinishedRuns
from workers.inputs.tables.row import TableLimits
from workers.microbatching.microbatcher import Microbatcher
from workers.models.hashing import HashingEncoder
from workers.models.port import Rows
from workers.wiring import Ports, handlers_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "cpu.standard.tiny"
SETTINGS = Settings(
    max_input_tokens=50,
    max_classifiers=5,
    versions_kept=3,
    max_attempts=2,
    lease_s=1.0,
    cache_ttl_s=60.0,
)
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
    rates: RateLimiter = field(default_factory=UnusedRateLimiter)
    settings: Settings = SETTINGS
    catalogue: Catalogue = CATALOGUE
    clock: Callable[[], float] = service_clock.now
    ring: Callable[[str], None] | None = None  # None: `rung` has the names
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
        self.models, self.limits = {"tiny": model}, Limits.of(self.settings)
        self.reader = Reader(store=self.store, buckets=self.buckets, bounds=TableLimits())
        self.running = FakeRunningUsage()
        self.statements = Statements(store=self.store)
        self.handlers = handlers_of(
            Ports(
                ledger=self.ledger,
                store=self.store,
                buckets=self.buckets,
                replies=self.replies,
                doorbell=FakeDoorbell(self.ring or self.rung.append),
                results=self.cache,
                running=self.running,
                rates=self.rates,
            ),
            self.settings,
            models=self.models,
            catalogue=self.catalogue,
            media=self.media,
            reader=self.reader,
            tier_of=lambda _: NO_LIMITS,
            stopping=self.stopping,
            clock=self.clock,
        )
        self.classifiers, self.viewer = self.handlers.classifiers, self.handlers.viewer
        self.example_files = self.handlers.example_files
        self.classify, self.train = self.handlers.classify, self.handlers.train
        self.evaluate, self.retrain = self.handlers.evaluate, self.handlers.retrain
        self.unfinished = UnfinishedRuns(classifiers=self.classifiers)
        self.leases, self.parts = self.handlers.leases, self.handlers.tasks
        self.part_runner, self.finaliser = self.parts.part_runner, self.parts.finaliser
        self.balance = self.parts.balance

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
        self.handlers.calls.close(timeout_s=10)
        self.leases.close()
        self.batcher.close()
        self.image_batcher.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()
