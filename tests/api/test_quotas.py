"""Rates of tiers, on a real Redis."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from api.services.keys import create_key
from shared import ids
from shared.accounts import AccountStore
from shared.adapters.redis.client import connect
from shared.adapters.redis.rate_limiter import RedisRateLimiter
from shared.batches import BatchRequest
from shared.errors import BrokerUnavailable, FetchFailed
from shared.rate_limits import RateDemand, RateState, Settlement
from shared.tiers import Tier, Tiers
from tests.api.conftest import EXAMPLES, SETTINGS, World, make_world
from tests.clock import Clock
from tests.servers import HOST, free_port
from tests.waiting import wait_until

TIERS = Tiers.model_validate(
    {
        "default": "unlimited",
        "tiers": {
            "unlimited": {},
            "small": {
                "zero_shot": {"requests": 3, "tokens": 100},
                "few_shot": {"requests": 2, "tokens": 1000},
                "concurrent_calls": 2,
            },
            "tokens": {"zero_shot": {"tokens": 40}},
            "one": {"concurrent_calls": 1},
        },
    }
)
FEW = Tier(name="few", classifiers=2, batch_rows=3)
NOW = datetime(2027, 1, 15, tzinfo=UTC)
BOUND_S = 60.0
BODY = {"input": ["a", "b"], "labels": ["x", "y"]}


class CountingLimiter(RedisRateLimiter):
    """Counts its round trips."""

    trips = 0

    def admit(self, demand: RateDemand, settlements: Sequence[Settlement] = ()) -> RateState:
        self.trips += 1
        return super().admit(demand, settlements)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self.trips += 1
        super().settle(settlements)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(redis_client: redis.Redis, clock: Clock) -> CountingLimiter:
    return CountingLimiter(redis_client, clock=clock)


@pytest.fixture
def world(limiter: CountingLimiter) -> World:
    world = make_world(limiter=limiter, tiers=TIERS)
    for tier in ("small", "tokens", "one"):
        AccountStore(store=world.store).create(tier, tier=tier)
    return world


def classify(client: FlaskClient, **changes: Any) -> Any:
    headers = changes.pop("headers", None)
    return client.post("/v1/classify", json={**BODY, **changes}, headers=headers)


def test_each_answer_tells_the_limits(world: World) -> None:
    answer = classify(world.client(account="small"))

    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"requests";q=3;w=60, "tokens";q=100;w=60'
    assert answer.headers["RateLimit"] == '"requests";r=2;t=61, "tokens";r=96;t=61'
    assert answer.headers["X-RateLimit-Limit-Requests"] == "3"
    assert answer.headers["X-RateLimit-Remaining-Requests"] == "2"
    assert answer.headers["X-RateLimit-Limit-Tokens"] == "100"
    assert answer.headers["X-RateLimit-Remaining-Tokens"] == "96"
    assert answer.headers["X-RateLimit-Reset"] == "61"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/jobs", None, 200),
        ("GET", "/v1/account", None, 200),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/classify", None, 405),
        ("POST", "/v1/classify", {"input": "a", "labels": ["x"]}, 400),
        ("POST", "/v1/classify", {"text": "", "labels": ["x"]}, 422),
        ("POST", "/v1/tag", {"text": "a"}, 422),
        ("POST", "/v1/classify/batch", {"texts": []}, 422),
        ("POST", "/v1/proxy/text-classify", {"text": 7}, 400),
        ("POST", "/v1/proxy/text-few-shot", {}, 400),
        ("POST", "/v1/batches", {}, 400),
    ],
)
def test_an_answer_that_counts_nothing_tells_the_limits_too(
    world: World, limiter: CountingLimiter, method: str, path: str, body: object, status: int
) -> None:
    client = world.client(account="small")
    classify(client)

    answers = [client.open(path, method=method, json=body) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {status}
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == '"requests";q=3;w=60, "tokens";q=100;w=60'
        assert answer.headers["X-RateLimit-Remaining-Requests"] == "2"
        assert answer.headers["RateLimit"].startswith('"requests";r=2;t=61')
    assert limiter.trips == 1 + (2 * 3 if path == "/v1/account" else 0)  # which looks at both


def test_an_untouched_limit_has_nothing_to_wait_for(world: World) -> None:
    answer = world.client(account="small").get("/v1/jobs")

    assert answer.headers["RateLimit"] == '"requests";r=3;t=0, "tokens";r=100;t=0'


def test_an_unknown_classifier_and_its_cached_answers_show_the_limits_of_few_shot(
    world: World,
) -> None:
    client = world.client(account="small")
    unknown = client.post("/v1/classify", json={"text": "a", "classifier": "nothing"})

    assert unknown.status_code == 404
    assert unknown.headers["X-RateLimit-Limit-Requests"] == "2"


def test_what_counts_nothing_is_answered_without_redis() -> None:
    dead = connect(f"redis://{HOST}:{free_port()}/0", timeout_s=0.5)
    world = make_world(limiter=RedisRateLimiter(dead), tiers=TIERS)
    AccountStore(store=world.store).create("small", tier="small")

    answer = world.client(account="small").get("/v1/jobs")

    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


def test_one_answer_only_waits_for_a_redis_that_hangs(
    world: World, limiter: CountingLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Semaphore(0), threading.Event()

    def hanging(demand: RateDemand) -> RateState:
        asked.release()
        answered.wait(BOUND_S)
        raise BrokerUnavailable("away")

    def get(done: threading.Semaphore) -> None:
        assert "RateLimit" not in world.client(account="small").get("/v1/jobs").headers
        done.release()

    monkeypatch.setattr(limiter, "admit", hanging)
    others = threading.Semaphore(0)
    first = threading.Thread(target=get, args=(threading.Semaphore(0),))
    first.start()
    assert asked.acquire(timeout=BOUND_S)
    threads = [threading.Thread(target=get, args=(others,)) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        assert all(others.acquire(timeout=BOUND_S / 2) for _ in threads)
    finally:
        answered.set()
        for thread in (first, *threads):
            thread.join(BOUND_S)
    get(others)
    assert not asked.acquire(blocking=False)


def test_a_refusal_tells_when_a_retry_works(world: World, clock: Clock) -> None:
    client = world.client(account="small")
    for _ in range(3):
        assert classify(client).status_code == 200
        clock.now += 1
    refused = classify(client)

    assert refused.status_code == 429
    assert refused.get_json()["code"] == "RATE_REQUEST_LIMIT_EXCEEDED"
    assert refused.headers["RateLimit"].startswith('"requests";r=0;t=58,')
    wait_s = int(refused.headers["Retry-After"])
    assert wait_s == 58

    # The memory of refusals goes by this process's time, the windows by that of Redis.
    limits = world.services.submit.quotas
    limits._refusals.clear()
    clock.now += wait_s
    assert classify(client).status_code == 200


def test_a_known_refusal_costs_no_round_trip(world: World, limiter: CountingLimiter) -> None:
    client = world.client(account="small")
    for _ in range(4):
        last = classify(client)
    trips = limiter.trips

    again = classify(client)

    assert (last.status_code, again.status_code) == (429, 429)
    assert limiter.trips == trips
    assert again.headers["RateLimit-Policy"] == last.headers["RateLimit-Policy"]
    assert 0 < int(again.headers["Retry-After"]) <= int(last.headers["Retry-After"])


def test_a_limited_call_costs_one_round_trip_and_others_none(
    world: World, limiter: CountingLimiter
) -> None:
    small, free = world.client(account="small"), world.client(account="free")
    for _ in range(3):
        classify(small)
    assert limiter.trips == 3

    answer = classify(free)
    assert limiter.trips == 3
    assert not [name for name, _ in answer.headers if "RateLimit" in name]


def test_few_shot_calls_and_training_share_a_class(world: World) -> None:
    client = world.client(account="small")
    made = client.post("/v1/train", json={"input": EXAMPLES})
    assert made.status_code == 200, made.get_json()
    assert made.headers["X-RateLimit-Limit-Requests"] == "2"
    body = {"input": "a", "classifier_id": made.get_json()["classifier_id"]}
    assert client.post("/v1/classify", json=body).status_code == 200
    refused = client.post("/v1/train", json={"input": [*EXAMPLES, *EXAMPLES]})

    assert refused.get_json()["code"] == "RATE_REQUEST_LIMIT_EXCEEDED"
    assert classify(client).status_code == 200


def test_tokens_are_estimated_and_corrected(world: World, clock: Clock) -> None:
    client = world.client(account="tokens")
    # 30 estimated, by its bytes; the worker of this test counts one for a text.
    answer = classify(client, input="a" * 112)
    assert answer.headers["X-RateLimit-Remaining-Tokens"] == "10"

    again = classify(client, input="a" * 112)
    assert again.status_code == 200
    assert int(again.headers["X-RateLimit-Remaining-Tokens"]) > 0


def test_a_refusal_for_tokens(world: World, clock: Clock) -> None:
    client = world.client(account="tokens")
    headers = {"Prefer": "respond-async"}  # the estimate stands until the job has ended
    world.worker.asleep = True
    assert classify(client, input="a" * 112, headers=headers).status_code == 202
    refused = classify(client, input="a" * 112, headers=headers)

    assert refused.get_json()["code"] == "RATE_TOKEN_LIMIT_EXCEEDED"
    assert refused.headers["RateLimit"] == '"tokens";r=10;t=61'
    clock.now += int(refused.headers["Retry-After"])
    assert classify(client, input="a" * 112, headers=headers).status_code == 202


def test_a_request_above_every_minute_is_told_of_batches(world: World) -> None:
    client = world.client(account="tokens")
    refused = classify(client, input="a" * 400)

    assert refused.status_code == 429
    assert refused.get_json()["code"] == "RATE_TOKEN_LIMIT_EXCEEDED"
    assert "as a batch" in refused.get_json()["detail"]
    assert "Retry-After" not in refused.headers
    assert refused.headers["RateLimit-Policy"] == '"tokens";q=40;w=60'
    assert classify(client, input="a" * 100).status_code == 200


def test_a_failed_request_costs_no_tokens(world: World) -> None:
    client = world.client(account="tokens")
    for _ in range(3):
        world.worker.error = FetchFailed("not found")
        assert classify(client, input="a" * 112).status_code == 400
    world.worker.error = None

    assert classify(client, input="a" * 112).status_code == 200


def test_concurrent_calls_are_bounded(limiter: CountingLimiter, redis_client: redis.Redis) -> None:
    patient = replace(SETTINGS, request_timeout_s=BOUND_S)
    world = make_world(patient, limiter=limiter, tiers=TIERS)
    AccountStore(store=world.store).create("one", tier="one")
    client = world.client(account="one")
    world.worker.asleep = True
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(classify(client)))
    thread.start()
    wait_until(lambda: world.ledger.waiting("cpu.standard.tiny"))
    assert redis_client.zcard("ph:rates:calls:one") == 1
    refused = classify(client)
    world.worker.asleep = False
    world.worker.drain("cpu.standard.tiny")
    thread.join()

    assert refused.get_json()["code"] == "RATE_CONCURRENCY_LIMIT_EXCEEDED"
    assert "allows 1 concurrent calls" in refused.get_json()["detail"]
    assert first[0].status_code == 200
    assert classify(client).status_code == 200


def test_an_idempotent_replay_is_not_counted(world: World) -> None:
    client = world.client(account="small")
    for _ in range(6):
        answer = classify(client, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 200


def test_an_invalid_request_is_not_counted(world: World) -> None:
    client = world.client(account="small")
    for _ in range(6):
        assert classify(client, labels=["x"]).status_code == 400

    assert classify(client).headers["X-RateLimit-Remaining-Requests"] == "2"


def test_nothing_that_a_client_sends_changes_whom_the_limits_count(world: World) -> None:
    client = world.client(account="small")
    statuses = [
        classify(
            client,
            headers={
                "X-Forwarded-For": f"192.0.2.{n}",
                "Forwarded": f"for=192.0.2.{n}",
                "X-Real-IP": f"192.0.2.{n}",
                "X-Account": "free",
            },
        ).status_code
        for n in range(5)
    ]

    assert statuses == [200, 200, 200, 429, 429]


def test_all_keys_of_an_account_share_its_limits(world: World) -> None:
    statuses = [classify(world.client(account="small")).status_code for _ in range(5)]

    assert statuses == [200, 200, 200, 429, 429]


def test_limits_count_by_key_where_the_operator_says_so(limiter: CountingLimiter) -> None:
    world = make_world(limiter=limiter, tiers=TIERS.model_copy(update={"per": "key"}))
    AccountStore(store=world.store).create("small", tier="small")

    statuses = [classify(world.client(account="small")).status_code for _ in range(5)]

    assert statuses == [200] * 5


def test_a_key_with_a_tier_of_its_own_is_counted_by_itself(world: World) -> None:
    keys = {"name": "k", "account": "small", "scopes": (), "expires_at": None}
    secret, _ = create_key(world.store, **keys, created_at=NOW, tier="one")
    client = world.app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"

    statuses = [classify(client).status_code for _ in range(5)]

    assert statuses == [200] * 5
    assert "RateLimit" not in classify(client).headers


def test_without_redis_limits_refuse_and_never_open(redis_url: str) -> None:
    absent = connect(f"redis://{HOST}:{free_port()}/0", timeout_s=0.2)
    world = make_world(limiter=RedisRateLimiter(absent), tiers=TIERS)
    AccountStore(store=world.store).create("small", tier="small")

    refused = classify(world.client(account="small"))

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "2"
    assert classify(world.client(account="free")).status_code == 200


def test_two_processes_agree(redis_client: redis.Redis, clock: Clock) -> None:
    worlds = [
        make_world(limiter=RedisRateLimiter(redis_client, clock=clock), tiers=TIERS)
        for _ in range(2)
    ]
    clients = []
    for world in worlds:
        AccountStore(store=world.store).create("small", tier="small")
        clients.append(world.client(account="small"))

    statuses = [classify(clients[n % 2]).status_code for n in range(6)]

    assert statuses == [200] * 3 + [429] * 3


def test_a_tier_bounds_the_classifiers_of_an_account() -> None:
    tiers = TIERS.model_copy(update={"default": "few", "tiers": {"few": FEW}})
    client = make_world(tiers=tiers).client()
    made = [client.post("/v1/train", json={"input": EXAMPLES}) for _ in range(3)]

    assert [each.status_code for each in made] == [200, 200, 403]
    assert made[2].get_json()["code"] == "AUTHZ_RESOURCE_LIMIT_EXCEEDED"


def a_batch(world: World, client: FlaskClient) -> Any:
    rows = b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n'
    form = {"purpose": "batch", "file": (io.BytesIO(rows), "rows.jsonl")}
    file = client.post("/v1/files", data=form).get_json()["id"]
    body = {"input_file_id": file, "classify": {"labels": ["x", "y"]}}
    return client.post("/v1/batches", json=body)


def test_a_tier_bounds_the_rows_of_batches_that_have_not_ended() -> None:
    tiers = TIERS.model_copy(update={"default": "few", "tiers": {"few": FEW}})
    world = make_world(tiers=tiers)
    world.worker.asleep = True
    client = world.client()
    first = a_batch(world, client)
    assert first.status_code == 200
    submission = world.services.jobs.accepted("acme", ids.job_id_of(first.get_json()["id"]))
    assert isinstance(submission, BatchRequest)
    assert submission.max_rows == 3

    refused = a_batch(world, client)  # the rows of the first one are not counted yet

    assert refused.status_code == 429
    assert refused.get_json()["error"]["code"] == "RATE_CONCURRENCY_LIMIT_EXCEEDED".lower()
    assert client.post(f"/v1/batches/{first.get_json()['id']}/cancel").status_code == 200
    assert a_batch(world, world.client(account="other")).status_code == 200
