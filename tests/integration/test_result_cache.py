"""The result cache between real processes: who shares an answer, for how long, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from shared.adapters.redis.client import connect
from shared.adapters.store_factory import store_of
from tests.keys import secret_of
from tests.stack import Answer, Stack

pytestmark = pytest.mark.integration
TEXT = "a red zebra crossing"
LABELS = ["red", "zebra", "crossing"]


def key_of(stack: Stack, account: str) -> str:
    """A key of another account."""
    return secret_of(store_of(stack.settings), account)


def classify(stack: Stack, text: str, **body: Any) -> Answer:
    asked = {"input": text, "labels": LABELS, "cache": True} | body
    asked = {name: value for name, value in asked.items() if value is not None}
    answer = stack.call("POST", "/v1/classify", asked)
    assert answer.status == 200, answer.body
    return answer


def test_an_account_never_gets_the_answer_of_another(stack: Stack):
    def ask(key: str) -> httpx.Response:
        body = {"text": f"{TEXT} of two accounts", "labels": LABELS}
        url = f"http://127.0.0.1:{stack.port}/v1/classify"
        return httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"})

    keys = stack.key, stack.key, key_of(stack, "umbrella")
    answers = [ask(key) for key in keys]

    assert [each.headers["x-cache"] for each in answers] == ["MISS", "HIT", "MISS"]
    assert [each.json()["cached"] for each in answers] == [False, True, False]
    assert [each.json()["tokens"] > 0 for each in answers] == [True, False, True]
    assert answers[0].headers["x-cache-key"] != answers[2].headers["x-cache-key"]


def test_a_new_version_of_a_classifier_misses(stack: Stack):
    examples = [{"text": text, "label": text.split()[1]} for text in ("a zebra", "a lion")]
    body = {"name": "animals", "input": examples, "num_iters": 1}
    assert stack.call("POST", "/v1/train", body).status == 200
    asked = {"labels": None, "classifier_id": "animals"}

    lookups = [classify(stack, TEXT, **asked).headers["x-cache"] for _ in range(2)]
    more = {"classifier_id": "animals", "input": [{"text": "a tiger", "label": "tiger"}]}
    assert stack.call("POST", "/v1/train", more).status == 200
    after = classify(stack, TEXT, **asked)
    pinned = classify(stack, TEXT, **{**asked, "classifier_id": "animals@v1"})

    assert [*lookups, after.headers["x-cache"]] == ["MISS", "HIT", "MISS"]
    assert len(after.json()["data"][0]["predictions"]) == 3
    assert pinned.headers["x-cache"] == "HIT"


def test_jobs_and_batches_share_the_answers_of_calls(stack: Stack):
    text = f"{TEXT} of a batch"
    classify(stack, text)
    asked = {"input": [text, f"{text}, and another"], "labels": LABELS, "cache": True}
    job = stack.call("POST", "/v1/classify", asked, Prefer="respond-async, wait=30").json()
    assert [row["cached"] for row in job["data"]] == [True, False]

    made = stack.call("POST", "/v1/batch", {"labels": LABELS, "cache": True}).json()
    lines = b"".join(json.dumps({"text": each}).encode() + b"\n" for each in (text, "a lion"))
    form = {"data": made["upload_fields"], "files": {"file": ("texts.jsonl", lines)}}
    assert httpx.post(made["upload_url"], **form).status_code == 204
    path = f"/v1/batch/{made['job_id']}"
    assert stack.call("POST", f"{path}/start").status == 202
    stack.until("completed", lambda: stack.call("GET", path).json()["status"] == "completed")
    url = stack.call("GET", f"{path}/results").json()["download_url"]
    tokens = [json.loads(line)["tokens"] for line in httpx.get(url).text.splitlines()]

    assert tokens == [0, 2]


def test_nothing_of_a_request_can_be_read_in_redis(stack: Stack):
    text, label = "the quagga of the cache", "okapi"
    assert classify(stack, text, labels=[label, "lion"]).headers["x-cache"] == "MISS"
    assert classify(stack, text, labels=[label, "lion"]).headers["x-cache"] == "HIT"

    with connect(stack.settings.redis_url, timeout_s=5) as client:
        kept: dict[bytes, bytes] = {}
        for key in client.scan_iter("*:cache:*"):
            kept[key] = client.dump(key)
            if client.type(key) == b"hash":
                kept[key] += b"".join(b"".join(pair) for pair in client.hgetall(key).items())

    assert any(b"entries" in key for key in kept)
    for word in ("quagga", label, "lion"):
        assert not [key for key, data in kept.items() if word.encode() in key + data], word
