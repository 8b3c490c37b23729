"""The path of a request, on real processes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.keys import secret_of
from tests.stack import LABELS, Stack

pytestmark = pytest.mark.integration


def test_a_text_is_classified_through_the_queue(stack: Stack):
    answer = stack.classify("a red red rose")

    assert answer.status == 200
    body = answer.json()
    (item,) = body["data"]
    assert item["object"] == "classification"
    assert [p["label"] for p in item["predictions"]] == LABELS
    assert item["prediction"] == "red"
    assert sum(p["score"] for p in item["predictions"]) == pytest.approx(1, abs=1e-5)
    assert body["usage"] == {"total_tokens": 6, "prompt_tokens": 6}


def test_many_callers_at_once_each_get_their_own_answer(stack: Stack):
    words = [LABELS[n % 2] for n in range(200)]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda word: stack.classify(f"a {word} thing").json(), words))

    assert [answer["data"][0]["prediction"] for answer in answers] == words


def test_a_long_list_comes_back_in_its_order(stack: Stack):
    texts = [f"{LABELS[n % 2]} number {n}" for n in range(1024)]

    body = stack.classify(texts).json()

    assert [item["index"] for item in body["data"]] == list(range(1024))
    assert [item["prediction"] for item in body["data"]] == [LABELS[n % 2] for n in range(1024)]


def test_a_wrong_input_that_only_the_worker_can_see_names_its_place(stack: Stack):
    answer = stack.classify(["short", "word " * 8193])

    assert answer.status == 400
    problem = answer.json()
    assert problem["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"
    assert problem["errors"][0]["field"] == "input[1]"
    assert "8192" in problem["detail"]


def test_a_job_is_submitted_polled_and_its_result_kept(stack: Stack):
    answer = stack.classify(["red", "green"], headers={"Prefer": "respond-async"})
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert int(answer.headers["retry-after"]) >= 1
    path = answer.headers["location"]

    stack.until("ended", lambda: stack.call("GET", path).json()["status"] == "succeeded")

    job = stack.call("GET", path).json()
    assert job["progress"] == {"total": 2, "completed": 2, "failed": 0}
    assert [item["prediction"] for item in job["result"]["data"]] == ["red", "green"]
    assert stack.call("GET", f"{path}/result").json() == job["result"]


def test_a_caller_may_wait_a_while_for_a_job(stack: Stack):
    answer = stack.classify("red", headers={"Prefer": "respond-async, wait=10"})

    assert answer.status == 200
    assert answer.json()["data"][0]["prediction"] == "red"


def test_jobs_are_listed_newest_first_page_by_page(stack: Stack):
    submitted = [stack.submit() for _ in range(5)]

    first = stack.call("GET", "/v1/jobs?limit=3").json()
    rest = stack.call("GET", f"/v1/jobs?limit=100&after={first['last_id']}").json()

    listed = [job["id"] for job in first["data"] + rest["data"]]
    assert first["has_more"] is True
    assert sorted(listed) == listed
    assert set(submitted) <= set(listed)


def test_a_job_of_another_account_is_not_found(stack: Stack):
    from shared.adapters.store_factory import store_of

    job_id = stack.submit()
    other = secret_of(store_of(stack.settings), "other")

    answer = stack.call("GET", f"/v1/jobs/{job_id}", Authorization=f"Bearer {other}")

    assert answer.status == 404


def test_the_same_idempotency_key_does_the_work_once(stack: Stack):
    headers = {"Prefer": "respond-async", "Idempotency-Key": "once"}

    first = stack.classify("red", headers=headers)
    again = stack.classify("red", headers=headers)
    other = stack.classify("green", headers=headers)

    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status == 422


def test_the_request_id_follows_the_request_into_the_worker(stack: Stack):
    stack.classify("red", headers={"X-Request-ID": "follow-me"})

    stack.until(
        "logged",
        lambda: any(
            event["request_id"] == "follow-me" for event in stack.events("worker", "call.done")
        ),
    )


def test_no_text_of_a_user_and_no_key_is_logged(stack: Stack):
    stack.classify("a secret confession", headers={"X-Request-ID": "quiet"})
    stack.submit("a secret confession")

    for log in stack.folder.glob("*.log"):
        text = log.read_text(errors="replace")
        assert "secret confession" not in text
        assert stack.key not in text


def test_the_metrics_count_requests_and_name_the_living(stack: Stack):
    stack.classify()

    text = stack.call("GET", "/metrics").body.decode()

    assert 'pigeonhole_live_processes{role="worker"} 1.0' in text
    assert "pigeonhole_http_requests_total" in text


def test_ready_says_every_part_is_there(stack: Stack):
    parts = stack.call("GET", "/health/ready").json()

    assert json.dumps(parts).count('"ok"') >= 5
