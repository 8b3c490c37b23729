"""Rates, prices, keys and suspension as clients of each dialect meet them, on a real service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.services.keys import create_key
from shared.accounts import AccountStore
from shared.adapters.store_factory import store_of
from tests.chaos.test_batches import upload
from tests.stack import LABELS, Answer, Stack, running_stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]
TIERS = """
default = "unlimited"
[tiers.unlimited]
[tiers.tight]
zero_shot = { requests = 2 }
few_shot = { requests = 1 }
[tiers.tokens]
zero_shot = { tokens = 60 }
[tiers.metered]
free_tokens = 100_000
"""
EXAMPLES = [{"text": f"a {label} thing", "label": label} for label in LABELS]
CLASSER = {"text": "a red rose", "labels": LABELS, "cache": False}
CN8 = {"text": "a red rose", "labels": LABELS}
JINA = {"input": "a red rose", "labels": LABELS}


class Client:
    """One key."""

    def __init__(self, stack: Stack, secret: str) -> None:
        self.stack, self.secret = stack, secret

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.secret}"} | headers
        return self.stack.call(method, path, body, **headers)

    def post(self, path: str, body: object, **headers: str) -> Any:
        """The body of an answer that succeeded."""
        answer = self.call("POST", path, body, **headers)
        assert answer.status in {200, 201, 202}, answer.body
        return answer.json()

    def used(self) -> int:
        """The tokens that the account was charged."""
        return int(self.call("GET", "/v1/balance").json()["used"])


def client_of(stack: Stack, account: str, tier: str, *, key_tier: str = "") -> Client:
    """A key of a new account."""
    store, now = store_of(stack.settings), datetime.now(UTC)
    AccountStore(store=store).create(account, tier=tier)
    fields = {"name": account, "account": account, "tier": key_tier, "created_at": now}
    secret, _ = create_key(store, scopes=(), expires_at=None, **fields)  # type: ignore[arg-type]
    return Client(stack, secret)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("metering")
    (folder / "tiers.toml").write_text(TIERS)
    with running_stack(folder, tiers=folder / "tiers.toml", key_cache_s=1) as running:
        yield running


@pytest.mark.timeout(200)
def test_a_refused_call_works_after_the_time_that_it_was_told(stack: Stack) -> None:
    long = {"input": "word " * 40, "labels": LABELS}  # 50 tokens by its bytes
    calls = [
        ("jina", "tight", "/v1/classify", JINA, 2, "REQUEST"),
        ("classer", "tight", "/v1/tag", CLASSER, 2, "REQUEST"),
        ("classer-texts", "tight", "/v1/tag/batch", {"texts": ["red"], **CLASSER}, 2, "REQUEST"),
        ("cn8", "tight", "/v1/proxy/text-classify", CN8, 2, "REQUEST"),
        ("train", "tight", "/v1/train", {"input": EXAMPLES, "num_iters": 1}, 1, "REQUEST"),
        ("tokens", "tokens", "/v1/classify", long, 1, "TOKEN"),
    ]

    def wait_as_told(name: str, tier: str, path: str, body: object, most: int, unit: str) -> None:
        client = client_of(stack, name, tier)
        admitted = [client.call("POST", path, body) for _ in range(most)]
        refused = client.call("POST", path, body)
        at = time.monotonic()

        assert [each.status for each in admitted] == [200] * most, admitted[-1].body
        assert refused.status == 429, refused.body
        problem = refused.json()
        assert problem["code"] == f"RATE_{unit}_LIMIT_EXCEEDED"
        if name == "cn8":
            assert problem["status"] == "error"
            assert problem["error"]["code"] == problem["code"]
        if name.startswith("classer"):
            assert problem["error"] == "rate-request-limit-exceeded"
            assert problem["message"] == problem["detail"]
        for answer in (*admitted, refused, client.call("GET", "/v1/jobs")):
            assert {"ratelimit", "ratelimit-policy", "x-ratelimit-reset"} <= answer.headers.keys()
        wait_s = int(refused.headers["retry-after"])
        assert 0 < wait_s <= 61
        assert refused.headers["x-ratelimit-reset"] == str(wait_s)
        time.sleep(max(0.0, wait_s - (time.monotonic() - at)))
        again = client.call("POST", path, body)
        assert again.status == 200, again.body

    with ThreadPoolExecutor(len(calls)) as pool:
        for ended in [pool.submit(wait_as_told, *each) for each in calls]:
            ended.result()


def test_what_fails_is_free_item_by_item(stack: Stack) -> None:
    client = client_of(stack, "careful", "metered")
    texts = ["a red rose", "", 7, "a \ud800", "the green grass"]
    per_item = {"input": ["a red rose", "", "grass"], "labels": LABELS, "errors": "per_item"}
    classer = client.post("/v1/classify/batch", {"texts": texts, "labels": LABELS, "cache": False})
    native = client.post("/v1/classify", per_item)
    job = client.post("/v1/classify", per_item, Prefer="respond-async")["id"]
    nothing = client.post("/v1/tag/batch", {"texts": ["", 7], "labels": LABELS, "cache": False})
    failed: list[tuple[str, dict[str, Any]]] = [
        ("/v1/classify", JINA | {"labels": ["red"]}),
        ("/v1/classify", CLASSER | {"file": "AAECAwQFBgcICQ=="}),
        ("/v1/tag", {"text": "red", "classifier": "nothing"}),
        ("/v1/proxy/text-classify", CN8 | {"text": ""}),
        ("/v1/train", {"input": EXAMPLES[:1]}),
    ]
    for path, body in failed:
        assert client.call("POST", path, body).status >= 400
    cached = [client.post("/v1/classify", CLASSER | {"cache": True}) for _ in range(2)]
    stack.until("the job", lambda: client.call("GET", f"/v1/jobs/{job}").json()["finished_at"])
    done = client.call("GET", f"/v1/jobs/{job}").json()

    assert ["error" in each for each in classer["results"]] == [False, True, True, True, False]
    assert nothing["total_tokens"] == 0
    assert done["usage"]["total_tokens"] == native["usage"]["total_tokens"] > 0
    assert cached[1]["tokens"] == 0
    expected = classer["total_tokens"] + 2 * native["usage"]["total_tokens"] + cached[0]["tokens"]
    stack.until("all is charged", lambda: client.used() == expected, timeout_s=90)
    time.sleep(6)  # charges are written every 5 s: nothing follows
    assert client.used() == expected


def test_who_uses_a_public_classifier_pays_and_not_its_owner(stack: Stack) -> None:
    owner, other = client_of(stack, "owner", "metered"), client_of(stack, "other", "metered")
    made = owner.post("/v1/train", {"input": EXAMPLES, "num_iters": 1, "access": "public"})
    public = made["classifier_id"]
    owner_paid = made["usage"]["total_tokens"]
    stack.until("the training is charged", lambda: owner.used() == owner_paid, timeout_s=90)

    text = {"text": "a red rose", "classifier": public, "cache": False}
    tokens = [
        other.post("/v1/classify", {"input": "a red rose", "classifier_id": public})["usage"][
            "total_tokens"
        ],
        other.post("/v1/classify", text)["tokens"],
        other.post("/v1/tag", text)["tokens"],
    ]

    assert all(each > 0 for each in tokens)
    stack.until("the calls are charged", lambda: other.used() == sum(tokens), timeout_s=90)
    assert owner.used() == owner_paid


def test_a_key_is_limited_to_its_services_and_its_time(stack: Stack) -> None:
    client = client_of(stack, "keeper-of-keys", "unlimited")
    end = datetime.now(UTC) + timedelta(seconds=6)
    params = {
        "name": "a",
        "allowed_services": ["text-classify"],
        "expires_at": end.isoformat(),
    }
    made = client.post("/v1/keys", params)
    limited = Client(stack, made["secret"])

    assert limited.call("POST", "/v1/proxy/text-classify", CN8).status == 200
    for path, body in (("/v1/classify", CLASSER), ("/v1/tag", CLASSER), ("/v1/batch", CN8)):
        refused = limited.call("POST", path, body)
        assert refused.status == 403, refused.body
        assert refused.json()["error"] == "authz-service-not-allowed"
    few_shot = limited.call("POST", "/v1/proxy/text-few-shot", {})
    assert (few_shot.status, few_shot.json()["status"]) == (403, "error")
    assert few_shot.json()["error"]["code"] == "AUTHZ_SERVICE_NOT_ALLOWED"
    assert limited.call("GET", "/v1/batches").json()["error"]["code"] == "authz_service_not_allowed"
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    expired = limited.call("POST", "/v1/proxy/text-classify", CN8)
    assert (expired.status, expired.json()["error"]["code"]) == (401, "AUTH_INVALID_API_KEY")
    assert client.call("POST", "/v1/classify", CLASSER).status == 200


def test_a_key_with_a_tier_of_its_own_is_limited_by_that(stack: Stack) -> None:
    limited = client_of(stack, "partners", "unlimited", key_tier="tight")
    made = limited.post("/v1/keys", {"name": "second"})

    assert limited.call("GET", "/v1/account").json()["tier"] == made["tier"] == "tight"
    statuses = [limited.call("POST", "/v1/classify", JINA).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    second = Client(stack, made["secret"]).call("POST", "/v1/classify", JINA)
    assert second.headers["x-ratelimit-remaining-requests"] == "1"


def test_a_suspended_account_is_refused_at_once_and_its_work_stops(
    stack: Stack, tmp_path: Path
) -> None:
    client, neighbour = client_of(stack, "late", "unlimited"), stack.key
    lines = b"".join(b'{"id": "%d", "text": "a red rose"}\n' % n for n in range(300_000))
    stack.key = client.secret
    try:
        file_id = upload(stack, lines)
    finally:
        stack.key = neighbour
    ask = {"input_file_id": file_id, "classify": {"labels": LABELS}, "id_column": "id"}
    batch = client.post("/v1/batches", ask | {"endpoint": "/v1/classify"})["id"]
    status = f"/v1/batches/{batch}"
    stack.until("it runs", lambda: client.call("GET", status).json()["request_counts"]["completed"])
    accounts = AccountStore(store=store_of(stack.settings))
    accounts.suspend("late")
    began = time.monotonic()

    stack.until("refused", lambda: client.call("GET", status).status == 403, timeout_s=30)
    for path, body in (("/v1/classify", CLASSER), ("/v1/proxy/text-classify", CN8)):
        refused = client.call("POST", path, body)
        assert (refused.status, refused.json()["code"]) == (403, "AUTHZ_ACCOUNT_SUSPENDED")
    assert stack.call("POST", "/v1/classify", CLASSER).status == 200
    stack.until(
        "its job is cancelled",
        lambda: stack.events("keeper", "suspension.cancelled"),
        timeout_s=60,
    )
    assert time.monotonic() - began < 60
    accounts.resume("late")
    stack.until("admitted", lambda: client.call("GET", status).status == 200, timeout_s=30)
    stack.until("it ends", lambda: client.call("GET", status).json()["status"] == "cancelled")
    counts = client.call("GET", status).json()["request_counts"]
    assert counts["completed"] < counts["total"] == counts["completed"] + counts["failed"]
