"""docs/contributing/code-map.md, "One request, nine files": a real request is traced.

The parts are real: the app, Valkey, a Celery worker that hears the bell, the ledger, the handlers,
the micro-batcher. Only the model is the hashing one.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest
from celery.contrib.testing.worker import start_worker
from flask.testing import FlaskClient

from api.app import create_app
from api.dependencies import Services
from api.services.auth import Authenticator
from api.services.balances import Balances
from api.services.classifiers import ClassifierService as Named
from api.services.hit_counter import HitCounter
from api.services.idempotency import Idempotency
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from api.services.key_uses import KeyUses
from api.services.quotas import Quotas
from api.services.usage_counter import UsageCounter
from api.services.worker_registry import WorkerRegistry
from shared.adapters.celery.broker import CeleryDoorbell, celery_app
from shared.adapters.directory.object_store import DirectoryStore
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.redis.replies import RedisReplies
from shared.classify_cache import ClassifyCache
from shared.job_intake import JobIntake
from shared.limits import Limits
from shared.member_reports import WorkerReport
from shared.messages import encode, queues_of
from shared.model_catalogue import Catalogue, ModelEntry
from shared.settings import Settings
from shared.statements import Statements
from shared.types import JobKind
from tests.fake_media import FakeMedia
from tests.fakes import FakeBuckets, FakeRunningUsage, UnusedRateLimiter
from tests.keys import secret_of
from tests.servers import HOST, valkey_server
from workers import tasks
from workers.claim_capacity import ClaimCapacity
from workers.classifier_cache import ClassifierCache
from workers.consumer import Consumer
from workers.embedding.items import ItemEmbedder
from workers.handlers.classify import ClassifyHandler
from workers.handlers.sync_calls import SyncCalls
from workers.model_loader import load_models

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing" / "code-map.md"
SECTION = (
    PAGE.read_text("utf-8").partition("\n## One request, nine files\n")[2].partition("\n## ")[0]
)
STEPS = re.findall(r"^\d+\. \[`([\w/.]+)`\]\(([\w/.]+)\)`:([\w.]+)`", SECTION, re.M)
TRACED = tuple(f"{ROOT}/{folder}/" for folder in ("api", "shared/dialects", "workers"))
CATALOGUE = Catalogue([ModelEntry(name="tiny", engine="hashing")], default="tiny")


@dataclass
class Tracer:
    """Every function of the product that any thread enters while `on`, in order."""

    on: bool = False
    entered: list[tuple[str, str]] = field(default_factory=list)  # file, function

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.on and event == "call":
            code = frame.f_code
            if code.co_filename.startswith(TRACED):
                file = str(Path(code.co_filename).relative_to(ROOT))
                self.entered.append((file, code.co_qualname.rpartition("<locals>.")[2]))


@contextmanager
def traced() -> Iterator[Tracer]:
    """Trace this thread, and all that start in the block."""
    tracer = Tracer()
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        yield tracer
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def service(folder: Path) -> Iterator[FlaskClient]:
    """The whole path in this process."""
    with ExitStack() as opened:
        (folder / "redis").mkdir()
        port = opened.enter_context(valkey_server(folder / "redis")).port
        settings = Settings(redis_url=f"redis://{HOST}:{port}/0", device="cpu", models="tiny")
        client = opened.enter_context(connect(settings.redis_url, timeout_s=2))
        ledger, replies = RedisLedger(client), RedisReplies(client)
        store = DirectoryStore(folder / "objects")
        opened.enter_context(worker(settings, ledger, replies, store))
        secret = secret_of(store)
        caller = create_app(services(settings, ledger, replies, store)).test_client()
        caller.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        yield caller


@contextmanager
def worker(
    settings: Settings, ledger: RedisLedger, replies: RedisReplies, store: DirectoryStore
) -> Iterator[None]:
    """A worker with nothing but what calls need, on threads."""
    device, models = load_models(CATALOGUE, settings, observe=lambda _: lambda *_: None)
    classifiers = ClassifierCache(store, versions_kept=settings.versions_kept)
    viewer = ItemEmbedder(limits=Limits(), media=FakeMedia())
    calls = SyncCalls(
        {JobKind.CLASSIFY: ClassifyHandler(models, Limits(), classifiers, viewer).begin}, replies
    )
    stopping = threading.Event()
    drain = Consumer(
        ledger=ledger,
        worker="worker",
        begin_call=calls.begin,
        run_part=lambda _: None,
        room=ClaimCapacity(models, calls),
        stopping=stopping,
        lease_s=10,
    )
    app = celery_app(settings.redis_url, timeout_s=2, socket_timeout_s=5)
    tasks.register(app, drain)
    queues = queues_of(device, models)
    report = WorkerReport(device=device, queues=queues, models=tuple(models))
    ledger.report("worker", "worker", encode(report), ttl_s=600)
    options = {"perform_ping_check": False, "queues": queues}
    # The level of the root logger stays as it is for the tests after this one.
    with start_worker(app, pool="threads", loglevel=logging.getLogger().level, **options):
        try:
            yield
        finally:
            stopping.set()
    calls.close(timeout_s=5)
    for model in models.values():
        model.embedder.batcher.close()


def services(
    settings: Settings, ledger: RedisLedger, replies: RedisReplies, store: DirectoryStore
) -> Services:
    doorbell = CeleryDoorbell(settings.redis_url, timeout_s=2)
    members = WorkerRegistry(ledger)
    key_uses = KeyUses(store)
    statements = Statements(store=store, clock=time.time)
    return Services(
        settings=settings,
        catalogue=CATALOGUE,
        store=store,
        ledger=ledger,
        members=members,
        authenticator=Authenticator(store, cache_s=0, uses=key_uses),
        buckets=FakeBuckets(),
        idempotency=Idempotency(store=store, keep_s=60),
        submit=JobSubmission(
            intake=JobIntake(
                store=store,
                ledger=ledger,
                doorbell=doorbell,
                result_retention_s=60,
            ),
            replies=replies,
            catalogue=CATALOGUE,
            members=members,
            limits=Limits(),
            max_queued_calls=16,
            cache=ClassifyCache(None, store, ttl_s=lambda _account: 60),
            balances=Balances(
                statements,
                UsageCounter(statements, clock=time.time),
                FakeRunningUsage(),
                clock=time.time,
            ),
            quotas=Quotas(UnusedRateLimiter(), wait_s=30),
        ),
        jobs=JobService(ledger=ledger, store=store, doorbell=doorbell, clock=time.time),
        classifiers=Named(
            store=store,
            max_classifiers=settings.max_classifiers,
            versions_kept=settings.versions_kept,
        ),
        uses=HitCounter(store),
        key_uses=key_uses,
    )


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What one request entered."""
    with traced() as tracer, service(tmp_path_factory.mktemp("one")) as caller:
        tracer.on = True
        answer = caller.post(
            "/v1/classify", json={"input": "a red rose", "labels": ["red", "green"]}
        )
        tracer.on = False

    assert answer.status_code == 200
    assert answer.get_json()["data"][0]["prediction"] == "red"
    return list(dict.fromkeys(tracer.entered))


def test_the_request_enters_the_nine_files_in_the_order_of_the_page(
    entered: list[tuple[str, str]],
) -> None:
    steps = [(file, function) for file, _, function in STEPS]

    assert len({file for file, _ in steps}) == len(steps) == 9
    assert [step for step in entered if step in steps] == steps


def test_a_step_is_linked_to_its_file() -> None:
    assert [f"../../{shown}" for shown, _, _ in STEPS] == [target for _, target, _ in STEPS]


def test_the_answer_is_rendered_once_the_scores_are_there(
    entered: list[tuple[str, str]],
) -> None:
    assert entered.index(("shared/dialects/classify_response.py", "render")) > entered.index(
        ("workers/core/zero_shot.py", "LabelSet.scores")
    )
