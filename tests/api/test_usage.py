"""Usage reports and balances of accounts over HTTP."""

from __future__ import annotations

import csv
import io

import pytest
from werkzeug.test import TestResponse

from shared import tiers
from shared.errors import StoreUnavailable
from shared.statements import Grant
from shared.tiers import Tier, Tiers
from tests.api.conftest import World, make_world
from tests.problems import assert_problem

TIERS = Tiers(
    default="metered",
    tiers={"metered": Tier(name="metered", free_tokens=20), "open": Tier(name="open")},
)
BODY = {"input": ["one two", "three"], "labels": ["x", "y"]}  # 5 tokens
TOKENS = 5
NOW_S = 1_800_000_000.0  # the end of an hour splits no report


@pytest.fixture
def world() -> World:
    return make_world(clock=lambda: NOW_S)


@pytest.fixture
def metered() -> World:
    return make_world(tiers=TIERS, clock=lambda: NOW_S)


@pytest.fixture
def seen(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are read and written."""
    names: list[str] = []
    check = world.store._check

    def spy(name: str = "any") -> None:
        names.append(name)
        check(name)

    monkeypatch.setattr(world.store, "_check", spy)
    return names


def flush(world: World) -> None:
    world.services.submit.balances.counter.flush()


def report(world: World, query: str = "", **headers: str) -> TestResponse:
    answer = world.client().get(f"/v1/usage{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_calls_are_reported_with_their_items_and_tokens(world: World):
    client = world.client()
    for _ in range(3):
        usage = client.post("/v1/classify", json=BODY).json["usage"]
    flush(world)

    (day,) = report(world).json["data"]

    assert (day["requests"], day["items"], day["failed_items"]) == (3, 6, 0)
    assert day["tokens"] == 3 * usage["total_tokens"] == day["input_tokens"] + day["label_tokens"]
    assert report(world).json["total"] == {k: v for k, v in day.items() if k != "group"}


def test_a_refused_call_is_free_and_counts_nothing(world: World):
    assert world.client().post("/v1/classify", json={**BODY, "labels": ["x"]}).status_code == 400
    flush(world)

    assert report(world).json["data"] == []


def test_a_replay_of_an_idempotent_call_is_free(world: World):
    client = world.client()
    for _ in range(2):
        client.post("/v1/classify", json=BODY, headers={"Idempotency-Key": "a"})
    flush(world)

    assert report(world).json["total"]["requests"] == 1


@pytest.mark.parametrize("group_by", ["hour", "day", "model", "endpoint", "key", "classifier"])
def test_every_grouping_sums_up_to_the_same_total(world: World, group_by: str):
    for _ in range(2):
        world.client().post("/v1/classify", json=BODY)
    world.client().post("/v1/classify", json=BODY, headers={"Prefer": "respond-async"})
    flush(world)

    found = report(world, f"?group_by={group_by}").json

    assert found["total"]["requests"] >= 2
    assert sum(row["tokens"] for row in found["data"]) == found["total"]["tokens"]
    groups = {row["group"] for row in found["data"]}
    assert len(groups) == (2 if group_by == "key" else 1) or group_by == "key"
    if group_by == "model":
        assert groups == {"tiny"}


def test_a_report_is_a_table_where_csv_is_accepted(world: World):
    world.client().post("/v1/classify", json=BODY)
    flush(world)

    answer = report(world, "?group_by=endpoint", Accept="text/csv")

    assert answer.content_type == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["endpoint"], row["requests"], row["items"]) == ("classify", "1", "2")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?from=yesterday", "from"),
        ("?to=2026-13-01", "to"),
        ("?from=2026-02-01&to=2026-01-01", "from"),
        ("?from=2020-01-01&to=2026-01-01", "from"),
        ("?group_by=week", "group_by"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_name(world: World, query: str, field: str):
    assert_problem(world.client().get(f"/v1/usage{query}"), 422, "VALIDATION_ERROR", field=field)


def test_a_new_account_has_the_free_tokens_of_its_tier_and_is_refused_after_them(metered: World):
    client = metered.client()
    assert client.get("/v1/balance").json["balance"] == 20
    answers = [client.post("/v1/classify", json=BODY).status_code for _ in range(5)]

    assert answers == [200] * 4 + [403]
    refused = client.post("/v1/classify", json=BODY)
    assert_problem(refused, 403, "AUTHZ_INSUFFICIENT_BALANCE", says="balance of the account is 0")
    later = client.post("/v1/classify", json=BODY, headers={"Prefer": "respond-async"})
    assert later.status_code == 403
    flush(metered)
    assert client.get("/v1/balance").json == {
        "object": "balance",
        "unlimited": False,
        "balance": 0,
        "granted": 20,
        "used": 20,
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/classify", {"text": "one", "labels": ["x", "y"]}),
        ("/v1/tag", {"text": "one", "labels": ["x", "y"]}),
        ("/v1/classify/batch", {"texts": ["one"], "labels": ["x", "y"]}),
        ("/v1/tag/batch", {"texts": ["one"], "labels": ["x", "y"]}),
    ],
)
def test_an_empty_balance_is_402_in_the_classer_api(path: str, body: dict[str, object]):
    empty = Tiers(default="empty", tiers={"empty": Tier(name="empty", free_tokens=0)})
    client = make_world(tiers=empty).client()

    assert_problem(client.post(path, json=body), 402, "AUTHZ_INSUFFICIENT_BALANCE", says="grant")


def test_a_batch_of_texts_is_not_started_with_an_empty_balance():
    empty = Tiers(default="empty", tiers={"empty": Tier(name="empty", free_tokens=0)})
    client = make_world(tiers=empty).client()
    made = client.post("/v1/batch", json={"labels": ["x", "y"]}).get_json()
    form = {**made["upload_fields"], "file": (io.BytesIO(b'{"text": "one"}\n'), "texts.jsonl")}
    assert client.post(made["upload_url"], data=form).status_code == 204

    refused = client.post(f"/v1/batch/{made['job_id']}/start")

    assert_problem(refused, 402, "AUTHZ_INSUFFICIENT_BALANCE")
    assert client.get(f"/v1/batch/{made['job_id']}").get_json()["status"] == "pending"


def test_a_grant_lets_calls_through_again_within_seconds():
    now = 1e9
    world = make_world(tiers=TIERS, clock=lambda: now)
    client = world.client()
    while client.post("/v1/classify", json=BODY).status_code == 200:
        pass
    world.services.statements.grant("acme", Grant(id="grant_1", tokens=TOKENS, at=now))
    now += 3

    assert client.post("/v1/classify", json=BODY).status_code == 200
    assert client.post("/v1/classify", json=BODY).status_code == 403


def test_open_jobs_lower_what_calls_may_use(metered: World):
    metered.services.submit.balances.running.add("acme", "job_a", 20)

    assert metered.client().post("/v1/classify", json=BODY).status_code == 403


def test_counts_that_cannot_be_written_are_kept_and_written_once(world: World):
    world.client().post("/v1/classify", json=BODY)
    put, lost = world.store.put, [True]

    def put_and_lose_the_answer(name: str, data: bytes, **how: object) -> str:
        etag = put(name, data, **how)
        if name.startswith("charges/") and lost.pop():
            lost.append(False)
            raise StoreUnavailable("the answer was lost")
        return etag

    world.store.put = put_and_lose_the_answer  # type: ignore[method-assign,assignment]
    flush(world)
    flush(world)
    flush(world)

    assert report(world).json["total"]["requests"] == 1


def test_an_unlimited_account_costs_no_look_at_a_balance(
    world: World, seen: list[str], monkeypatch: pytest.MonkeyPatch
):
    assert tiers.load().of("").free_tokens is None
    client = world.client()
    del seen[:]
    monkeypatch.setattr(world.services.submit.balances, "running", None)

    assert client.post("/v1/classify", json=BODY).status_code == 200

    assert not [name for name in seen if name.startswith(("charges/", "statements/"))]
    assert client.get("/v1/balance").json["balance"] is None
