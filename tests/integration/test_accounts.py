"""Accounts on a real service of two API processes: limits, refusals, hostile clients, reports."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.services.keys import create_key
from shared.accounts import AccountStore
from shared.adapters.store_factory import store_of
from shared.types import JobKind
from tests.chaos.test_batches import upload
from tests.servers import HOST, free_port
from tests.stack import LABELS, Answer, Stack, running_stack

pytestmark = pytest.mark.integration
TIERS = """
default = "unlimited"
[tiers.unlimited]
[tiers.small]
zero_shot = { requests = 40, tokens = 1_000_000 }
[tiers.tokens]
zero_shot = { tokens = 200 }
"""
BODY = {"input": "a red rose", "labels": LABELS}


class Account:
    """One account; calls go to the two API processes in turn."""

    def __init__(self, stack: Stack, ports: list[int], name: str, tier: str) -> None:
        self.ports, self.turn, self.stack = ports, 0, stack
        store = store_of(stack.settings)
        created = AccountStore(store=store).create(name, tier=tier)
        assert created.created_at is not None
        self.secret, _ = create_key(
            store,
            name=name,
            account=name,
            scopes=(),
            created_at=created.created_at,
            expires_at=None,
        )

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        self.turn += 1
        connection = http.client.HTTPConnection(HOST, self.ports[self.turn % 2], timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"} | sent
        try:
            connection.request(method, path, json.dumps(body).encode() if body else None, sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=names, body=answer.read())
        finally:
            connection.close()

    def classify(self, **headers: str) -> Answer:
        return self.call("POST", "/v1/classify", BODY, **headers)


class Service:
    """The stack, and accounts of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ports = [stack.port, free_port()]

    def account(self, name: str, tier: str) -> Account:
        return Account(self.stack, self.ports, name, tier)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("accounts")
    (folder / "tiers.toml").write_text(TIERS)
    with running_stack(folder, ready_s=200, tiers=folder / "tiers.toml", key_cache_s=1) as stack:
        service = Service(stack)
        stack.start("api2", sys.executable, "-m", "api.main", port=service.ports[1])
        stack.until("both", lambda: is_up(service.ports[1]), timeout_s=120)
        yield service


def is_up(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=5):
        return True


def test_two_processes_share_one_limit_and_retry_after_works(service: Service) -> None:
    account = service.account("shared", "small")
    statuses: list[int] = []
    refusals: list[tuple[float, Answer]] = []

    def call() -> None:
        for _ in range(8):
            answer = account.classify(X_Forwarded_For=f"192.0.2.{len(statuses)}")
            statuses.append(answer.status)
            if answer.status == 429:
                refusals.append((time.monotonic(), answer))

    began = time.monotonic()
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < 60, "the machine is too slow for one minute's calls"

    assert Counter(statuses) == {200: 40, 429: 24}
    at, last = max(refusals, key=lambda each: each[0])
    assert last.json()["code"] == "RATE_REQUEST_LIMIT_EXCEEDED"
    assert last.headers["ratelimit"].startswith('"requests";r=0;t=')
    time.sleep(max(0.0, int(last.headers["retry-after"]) - (time.monotonic() - at)))
    assert account.classify().status == 200


def test_refusals_in_a_row_are_held_and_others_are_not(service: Service) -> None:
    account, other = service.account("hasty", "small"), service.account("calm", "unlimited")
    account.ports = service.ports[:1] * 2  # a process knows its own refusals
    while account.classify().status == 200:
        pass

    began = time.monotonic()
    statuses = [account.classify().status for _ in range(2)]
    took_s = time.monotonic() - began

    assert statuses == [429] * 2
    assert took_s > 3.9
    assert other.classify().status == 200


def test_the_end_of_a_job_corrects_its_estimate(service: Service) -> None:
    account = service.account("estimated", "tokens")
    body = {"input": "a" * 600, "labels": LABELS}  # 153 tokens by its bytes, few by the model
    job = account.call("POST", "/v1/classify", body, Prefer="respond-async").json()["id"]

    def ended() -> bool:
        return bool(account.call("GET", f"/v1/jobs/{job}").json()["status"] == "succeeded")

    def left() -> int:
        return int(account.call("GET", "/v1/account").json()["rates"][0]["remaining"])

    service.stack.until("the job has ended", ended)
    used = account.call("GET", f"/v1/jobs/{job}").json()["usage"]["total_tokens"]
    service.stack.until("it is corrected", lambda: left() == 200 - used)
    assert used < 153


def test_a_flood_of_wrong_keys_is_slowed_and_others_are_answered(service: Service) -> None:
    account = service.account("honest", "unlimited")
    over, answered = threading.Event(), Counter[int]()

    def guess(number: int) -> None:
        while not over.is_set():
            wrong = {"Authorization": f"Bearer ph_{number}_{time.monotonic()}"}
            answered[account.call("GET", "/v1/models", **wrong).status] += 1

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    before, began = answered.total(), time.monotonic()
    statuses = [account.classify().status for _ in range(10)]
    time.sleep(2)
    rate = (answered.total() - before) / (time.monotonic() - began)
    over.set()
    for thread in threads:
        thread.join(30)

    assert statuses == [200] * 10
    assert set(answered) == {401, 429}
    assert answered[401] <= 2 * 45  # of each process: 30, and one every two seconds
    assert rate <= 20  # 30 clients, each held for two seconds


def usage(account: Account, group_by: str) -> dict[str, Any]:
    return dict(account.call("GET", f"/v1/usage?group_by={group_by}").json())


def test_every_number_of_a_report_can_be_recomputed_from_the_jobs(service: Service) -> None:
    account = service.account("reported", "unlimited")
    examples = [{"text": f"{label} thing", "label": label} for label in LABELS]
    made = account.call("POST", "/v1/train", {"input": examples, "num_iters": 3}).json()
    classifier = made["classifier_id"]
    lines = b'{"id": "1", "text": "a red rose"}\n{"id": "2"}\n{"id": "3", "text": "grass"}\n'
    key, service.stack.key = service.stack.key, account.secret
    file_id = upload(service.stack, lines)
    service.stack.key = key
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/classify", {"input": ["a red rose", "grass"], "labels": LABELS}),
        ("/v1/classify", {"input": "a red rose", "classifier_id": classifier}),
        (
            "/v1/batches",
            {
                "input_file_id": file_id,
                "endpoint": "/v1/classify",
                "completion_window": "24h",
                "classify": {"labels": LABELS},
                "id_column": "id",
            },
        ),
    ]
    for path, body in bodies:
        answer = account.call("POST", path, body, Prefer="respond-async")
        assert answer.status in {200, 202}, answer.body

    def jobs() -> list[dict[str, Any]]:
        return list(account.call("GET", "/v1/jobs").json()["data"])

    ends = {"succeeded", "failed", "cancelled", "expired"}
    service.stack.until("all have ended", lambda: {job["status"] for job in jobs()} <= ends)
    found = jobs()
    assert {job["kind"] for job in found} == {JobKind.TRAIN, JobKind.CLASSIFY, JobKind.BATCH}

    total = usage(account, "day")["total"]
    assert total["requests"] == len(found) == 4
    assert total["tokens"] == sum(job["usage"]["total_tokens"] for job in found) > 0
    assert total["items"] == sum(job["progress"]["completed"] for job in found)
    assert total["failed_items"] == sum(job["progress"]["failed"] for job in found) == 1
    parts = ("input_tokens", "label_tokens", "visual_tokens", "train_tokens")
    assert total["tokens"] == sum(total[name] for name in parts)
    assert all(total[name] > 0 for name in parts if name != "visual_tokens")
    by_kind = Counter[str]()
    for job in found:
        by_kind[job["kind"]] += job["usage"]["total_tokens"]
    assert {row["group"]: row["tokens"] for row in usage(account, "endpoint")["data"]} == by_kind
    of_classifier = {row["group"]: row["requests"] for row in usage(account, "classifier")["data"]}
    assert of_classifier == {classifier: 2, "": 2}
    (key_row,) = usage(account, "key")["data"]
    assert key_row["tokens"] == total["tokens"]


def test_no_secret_is_in_logs_metrics_and_processes(service: Service) -> None:
    """The environment has the settings, which hold no API key; others cannot read it."""
    account = service.account("secret", "unlimited")
    made = account.call("POST", "/v1/keys", {"name": "second"}).json()
    secrets = [account.secret, made["secret"], "ph_wrong_but_private"]
    for secret in secrets:
        sent = {"Authorization": f"Bearer {secret}"}
        account.call("POST", "/v1/classify", BODY, **sent)
        account.call("GET", f"/v1/nowhere?key={secret}", **sent)
        account.call("POST", "/v1/classify", {"input": secret, "labels": [secret, secret]}, **sent)
        account.call("GET", "/v1/models", Authorization=f"Basic {secret}")

    texts = [path.read_text(errors="replace") for path in service.stack.folder.glob("*.log")]
    texts.append(account.call("GET", "/metrics").body.decode())
    for process in service.stack.processes.values():
        parent = psutil.Process(process.pid)
        for each in (parent, *parent.children(recursive=True)):
            texts += [*each.cmdline(), *each.environ().values()]
            assert Path(f"/proc/{each.pid}/environ").stat().st_mode & 0o077 == 0

    assert sum(map(len, texts)) > 10_000
    assert not [secret for secret in secrets for text in texts if secret in text]
