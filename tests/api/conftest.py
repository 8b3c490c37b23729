"""The whole API on in-memory ports, with a worker that classifies by hashing."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from api.app import create_app
from api.dependencies import Services
from api.server.failed_auth_limiter import WrongKeys
from api.services.auth import Authenticator
from api.services.balances import Balances
from api.services.classifiers import ClassifierService
from api.services.hit_counter import HitCounter
from api.services.idempotency import Idempotency
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from api.services.key_uses import KeyUses
from api.services.keys import create_key
from api.services.quotas import Quotas
from api.services.usage_counter import UsageCounter
from api.services.worker_registry import WorkerRegistry
from shared.classify_cache import ClassifyCache
from shared.job_intake import JobIntake
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.rate_limits import RateLimiter
from shared.settings import Settings
from shared.statements import Statements
from shared.tiers import Tiers
from tests import bench_worker
from tests.bench_worker import BenchWorker
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
from tests.workers.conftest import Bench
from workers import plots

SETTINGS = Settings(request_timeout_s=1.0, max_body_bytes=64 * 1024, api_threads=24)
CATALOGUE = Catalogue(
    [
        ModelEntry(name="tiny", aliases=("toy",), engine="hashing", languages=("en",)),
        ModelEntry(name="absent", engine="hashing", device="gpu-only"),
    ],
    default="tiny",
)

EXAMPLES = [
    {"text": "the printer is on fire", "label": "team1"},
    {"text": "where is my invoice", "label": "team2"},
]


@dataclass(frozen=True, kw_only=True)
class World:
    """An app and all that it stands on."""

    services: Services
    store: FakeStore
    buckets: FakeBuckets
    ledger: PrefixedLedger
    worker: BenchWorker
    cache: FakeResultCache
    app: Flask

    def key(self, *scopes: str, account: str = "acme", services: tuple[str, ...] = ()) -> str:
        """The secret of a fresh key."""
        secret, _ = create_key(
            self.store,
            name="test",
            account=account,
            scopes=scopes,
            services=services,
            created_at=datetime.now(UTC),
            expires_at=None,
        )
        return secret

    def client(
        self, *scopes: str, account: str = "acme", services: tuple[str, ...] = ()
    ) -> FlaskClient:
        """A client that sends a fresh key."""
        client = self.app.test_client()
        secret = self.key(*scopes, account=account, services=services)
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return client


def make_world(
    settings: Settings = SETTINGS,
    *,
    wrong_keys: WrongKeys | None = None,
    catalogue: Catalogue = CATALOGUE,
    clock: Callable[[], float] = time.time,
    ledger: PrefixedLedger | None = None,
    limiter: RateLimiter | None = None,
    tiers: Tiers | None = None,
    cache_s: float = 0.0,
) -> World:
    """A world of its own, empty."""
    store, ledger, replies = FakeStore(), ledger or PrefixedLedger(), FakeReplies()
    cache = FakeResultCache(clock)
    buckets = FakeBuckets()
    make_bench = partial(
        Bench,
        store=store,
        buckets=buckets,
        ledger=ledger,
        replies=replies,
        cache=cache,
        settings=settings,
        catalogue=catalogue,
        clock=clock,
        rates=limiter or UnusedRateLimiter(),
    )
    worker = BenchWorker(make_bench)
    ledger.report("worker", "tiny", bench_worker.report(), ttl_s=3600)
    ledger.report("keeper", "tiny", b"{}", ttl_s=3600)
    doorbell = FakeDoorbell(worker.drain)
    members = WorkerRegistry(ledger, fresh_s=0.0)
    key_uses = KeyUses(store, clock=clock)
    authenticator = Authenticator(
        store, cache_s=cache_s, tiers=tiers, wrong_keys=wrong_keys, uses=key_uses, clock=clock
    )
    statements = Statements(store=store, clock=clock)
    services = Services(
        settings=settings,
        catalogue=catalogue,
        store=store,
        buckets=buckets,
        ledger=ledger,
        members=members,
        authenticator=authenticator,
        idempotency=Idempotency(store=store, keep_s=3600, clock=clock),
        submit=JobSubmission(
            intake=JobIntake(
                store=store,
                ledger=ledger,
                doorbell=doorbell,
                result_retention_s=settings.result_retention_s,
                clock=clock,
            ),
            replies=replies,
            catalogue=catalogue,
            members=members,
            limits=Limits.of(settings),
            max_queued_calls=settings.max_queued_calls,
            cache=ClassifyCache(
                cache if settings.cache_bytes else None,
                store,
                ttl_s=lambda _account: settings.cache_ttl_s,
            ),
            balances=Balances(
                statements,
                UsageCounter(statements, clock=clock),
                FakeRunningUsage(),
                clock=clock,
            ),
            quotas=Quotas(limiter or UnusedRateLimiter(), wait_s=settings.request_timeout_s),
        ),
        jobs=JobService(ledger=ledger, store=store, doorbell=doorbell, clock=clock),
        classifiers=ClassifierService(
            store=store,
            max_classifiers=settings.max_classifiers,
            versions_kept=settings.versions_kept,
            tier_of=authenticator.tier,
            clock=clock,
        ),
        uses=HitCounter(store, clock=clock),
        key_uses=key_uses,
    )
    app = create_app(services)
    return World(
        cache=cache,
        services=services,
        store=store,
        buckets=buckets,
        ledger=ledger,
        worker=worker,
        app=app,
    )


_compile_builder = Rule._compile_builder


def _compile_when_called(self: Rule, append_unknown: bool = True) -> Callable[..., Any]:
    """Compile the function that builds URLs of a rule when it is called, which the API never does.

    Werkzeug compiles 200 of them for each app: 20 of the 25 ms that a world takes.
    """
    return lambda rule, **values: _compile_builder(rule, append_unknown)(rule, **values)


Rule._compile_builder = _compile_when_called  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _close_workers() -> Iterator[None]:
    yield
    bench_worker.close_all()


@pytest.fixture(autouse=True)
def _draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the plots of an evaluation, which take half a second, once for all tests."""
    for name, draw in _DRAW.items():
        monkeypatch.setattr(
            plots, name, lambda *data, name=name, draw=draw: _drawn(name, draw, data)
        )


def _drawn(name: str, draw: Callable[..., dict[str, bytes]], data: Any) -> dict[str, bytes]:
    if name not in _PLOTS:
        _PLOTS[name] = draw(*data)
    return _PLOTS[name]


_DRAW = {"confusion_matrix": plots.confusion_matrix, "reliability": plots.reliability}
_PLOTS: dict[str, dict[str, bytes]] = {}


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def client(world: World) -> FlaskClient:
    return world.client()


@pytest.fixture
def make() -> Callable[..., World]:
    """Makes a world with some settings changed."""
    return lambda **changes: make_world(replace(SETTINGS, **changes))


@pytest.fixture
def post(client: FlaskClient) -> Callable[..., TestResponse]:
    """Sends a classify request made of keywords; `headers` go with it."""

    def send(headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
        said = {"input": ["a", "b"], "labels": ["x", "y"], **body}
        return client.post("/v1/classify", json=said, headers=headers)

    return send


@pytest.fixture
def train(client: FlaskClient) -> Callable[..., TestResponse]:
    """Sends a train request made of keywords; `headers` go with it."""

    def send(headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
        said = {"input": EXAMPLES, **body}
        return client.post("/v1/train", json=said, headers=headers)

    return send


@pytest.fixture
def chunked(client: FlaskClient) -> Callable[[bytes], TestResponse]:
    """Sends a classify body as a server hands a chunked one on: without a length."""
    return lambda data: client.post(
        "/v1/classify",
        input_stream=io.BytesIO(data),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
