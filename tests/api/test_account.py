"""/v1/account and /v1/keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from api.app import OPERATIONS
from api.routes.keys import MAX_KEYS
from api.services.keys import create_key, list_keys
from shared.accounts import AccountStore
from shared.adapters.redis.rate_limiter import RedisRateLimiter
from shared.key_record import SERVICES
from shared.tiers import Tier, Tiers
from tests.api.conftest import World, make_world
from tests.problems import assert_problem

BODY = {"input": "a", "labels": ["x", "y"]}


def with_secret(world: World, secret: str) -> FlaskClient:
    client = world.app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


def test_an_account_without_limits(client: FlaskClient) -> None:
    account = client.get("/v1/account").get_json()

    assert (account["id"], account["tier"], account["rates"]) == ("acme", "unlimited", [])
    assert account["limits"]["zero_shot"] == {"requests": None, "tokens": None}
    assert account["limits"]["classifiers"] == 1000
    assert (account["balance"], account["used"]) == (None, {"today": 0, "month": 0})


def test_an_account_sees_what_remains_of_its_rates(redis_client: redis.Redis) -> None:
    world = make_world(limiter=RedisRateLimiter(redis_client))
    AccountStore(store=world.store).create("acme", name="Acme Ltd", tier="free")
    client = world.client()
    client.post("/v1/classify", json=BODY)

    account = client.get("/v1/account").get_json()

    assert (account["name"], account["tier"]) == ("Acme Ltd", "free")
    assert account["limits"]["classifiers"] == 16
    rates = {rate["policy"]: rate for rate in account["rates"]}
    requests = rates["zero_shot.requests"]
    assert (requests["limit"], requests["remaining"]) == (200, 199)
    assert 1 <= requests["reset"] <= 61
    assert rates["few_shot.tokens"] == {
        "policy": "few_shot.tokens",
        "limit": 200_000,
        "remaining": 200_000,
        "reset": 0,
    }


def test_an_account_sees_its_balance_and_what_it_used() -> None:
    metered = Tiers(default="metered", tiers={"metered": Tier(name="metered", free_tokens=100)})
    now = datetime(2026, 5, 2, 9, tzinfo=UTC)
    world = make_world(tiers=metered, clock=lambda: now.timestamp())
    client, counter = world.client(), world.services.submit.balances.counter
    assert (client.get("/v1/account").get_json()["balance"]) == 100
    tokens = client.post("/v1/classify", json=BODY).get_json()["usage"]["total_tokens"]
    counter.flush()
    now += timedelta(days=1)
    client.post("/v1/classify", json=BODY)
    counter.flush()

    account = client.get("/v1/account").get_json()
    now = datetime(2026, 6, 1, tzinfo=UTC)
    later = client.get("/v1/account").get_json()

    assert account["used"] == {"today": tokens, "month": 2 * tokens}
    assert account["balance"] == 100 - 2 * tokens == client.get("/v1/balance").get_json()["balance"]
    assert later["used"] == {"today": 0, "month": 0}


def test_a_new_key_works_and_is_listed_without_its_secret(world: World) -> None:
    made = world.client("admin").post("/v1/keys", json={"name": "tagging", "scopes": ["classify"]})
    assert made.status_code == 201
    key = made.get_json()

    assert with_secret(world, key["secret"]).post("/v1/classify", json=BODY).status_code == 200
    listed = world.client("admin").get("/v1/keys")
    assert key["secret"] not in listed.get_data(as_text=True)
    assert "tagging" in [each["name"] for each in listed.get_json()["data"]]


def test_the_keys_of_other_accounts_are_neither_listed_nor_revoked(world: World) -> None:
    world.key(account="other")
    (other,) = list_keys(world.store, "other")
    client = world.client("admin")

    assert other.id not in [each["id"] for each in client.get("/v1/keys").get_json()["data"]]
    assert_problem(client.delete(f"/v1/keys/{other.id}"), 404, "RESOURCE_NOT_FOUND")
    assert list_keys(world.store, "other")[0].revoked_at is None


def test_a_list_of_keys_reads_those_of_the_account_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = world.client("admin")
    for _ in range(20):
        world.key(account="other")
    client.get("/v1/keys")  # the first one on a store looks for keys without an index
    names: list[str] = []
    get = world.store.get
    monkeypatch.setattr(world.store, "get", lambda name: names.append(name) or get(name))

    assert len(client.get("/v1/keys").get_json()["data"]) == 1

    assert len({name for name in names if name.startswith("keys/")}) == 1


def test_keys_of_a_version_without_the_index_are_listed_and_revoked(world: World) -> None:
    client = world.client("admin")
    world.key()
    for name in [*world.store.list("key_index/")]:
        world.store.delete(name)

    listed = client.get("/v1/keys").get_json()["data"]

    assert len(listed) == 2
    assert client.delete(f"/v1/keys/{listed[1]['id']}").status_code == 200


def test_a_revoked_key_is_refused(world: World) -> None:
    client = world.client("admin")
    key = client.post("/v1/keys", json={"name": "tagging"}).get_json()

    assert client.delete(f"/v1/keys/{key['id']}").status_code == 200

    refused = with_secret(world, key["secret"]).get("/v1/models")
    assert_problem(refused, 401, "AUTH_INVALID_API_KEY")


def test_a_key_cannot_give_more_than_it_has(redis_client: redis.Redis) -> None:
    world = make_world(limiter=RedisRateLimiter(redis_client))
    secret, _ = create_key(
        world.store,
        name="partner",
        account="acme",
        scopes=(),
        services=("account", "classify"),
        tier="free",
        created_at=datetime.now(UTC),
        expires_at=None,
    )
    client = with_secret(world, secret)
    refused = client.post("/v1/keys", json={"name": "a", "allowed_services": ["train"]})
    made = client.post("/v1/keys", json={"name": "a"}).get_json()

    assert_problem(refused, 403, "AUTHZ_SERVICE_NOT_ALLOWED")
    assert made["allowed_services"] == ["account", "classify"]
    assert made["tier"] == "free"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "a", "allowed_services": ["classify", "x"]}, "allowed_services[1]"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "a", "expires_at": "2099-01-01"}, "expires_at"),
        ({"name": "a", "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"name": "a", "expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"name": "a", "expires_at": "4102444800"}, "expires_at"),
        ({"name": "a", "expires_at": 4102444800}, "expires_at"),
        ({"name": "a", "expires_at": 1e300}, "expires_at"),
        ({"name": "a", "expires_at": True}, "expires_at"),
        ({"name": 5}, "name"),
        ({"name": "a", "scopes": [["classify"]]}, "scopes[0]"),
        ({"name": "a", "allowed_services": {"a": 1}}, "allowed_services"),
        ({"name": "a", "tier": "premium"}, "tier"),
    ],
)
def test_a_wrong_key_is_refused_by_its_field(
    client: FlaskClient, body: dict[str, Any], field: str
) -> None:
    refused = client.post("/v1/keys", json=body)

    assert_problem(refused, 422, "VALIDATION_ERROR")
    assert refused.get_json()["errors"][0]["field"] == field
    assert "is not valid" not in refused.get_json()["detail"]  # says nothing of what would be


def test_a_key_expires(world: World, client: FlaskClient) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    made = client.post("/v1/keys", json={"name": "a", "expires_at": end.isoformat()}).get_json()

    assert datetime.fromisoformat(made["expires_at"]) == end


def test_an_account_has_a_bounded_number_of_keys(world: World, client: FlaskClient) -> None:
    for _ in range(MAX_KEYS):
        world.key()

    refused = client.post("/v1/keys", json={"name": "a"})

    assert_problem(refused, 403, "AUTHZ_RESOURCE_LIMIT_EXCEEDED", says="revoke")


def test_each_service_of_an_operation_can_be_allowed() -> None:
    assert {each.service for each in OPERATIONS} - {""} <= set(SERVICES)
