"""Batches of 20,000 rows while things are killed: every id exactly once, in exactly one file."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rounds import ROUNDS
from tests.deadly_worker import FATAL
from tests.stack import LABELS, Stack, running_stack

pytestmark = pytest.mark.chaos
ROWS = 20_000 * ROUNDS
COLOURS = ("red", "green", "blue")


def text_of(number: int) -> str:
    """One of 60 texts of which the tiny model is sure, whatever else is in the batch."""
    colour = COLOURS[number % 3]
    return f"{colour} {colour} thing of kind {number % 20}"


def table(count: int = ROWS, bad: Callable[[int], bytes | None] = lambda _: None) -> bytes:
    lines = []
    for number in range(count):
        spoilt = bad(number)
        row = json.dumps({"id": f"r{number}", "text": text_of(number)}).encode()
        lines.append(row if spoilt is None else spoilt)
    return b"\n".join(lines)


def upload(stack: Stack, data: bytes, filename: str = "rows.jsonl") -> str:
    edge = b"edge7134"
    body = b"\r\n".join(
        (
            b"--" + edge,
            b'Content-Disposition: form-data; name="purpose"',
            b"",
            b"batch",
            b"--" + edge,
            f'Content-Disposition: form-data; name="file"; filename="{filename}"'.encode(),
            b"",
            data,
            b"--" + edge + b"--",
            b"",
        )
    )
    kind = f"multipart/form-data; boundary={edge.decode()}"
    answer = stack.call("POST", "/v1/files", body, Content_Type=kind)
    assert answer.status == 200, answer.body
    return str(answer.json()["id"])


def start(stack: Stack, data: bytes, **said: Any) -> str:
    body = {
        "input_file_id": upload(stack, data),
        "endpoint": "/v1/classify",
        "completion_window": "24h",
        "classify": {"labels": LABELS},
        "id_column": "id",
        **said,
    }
    answer = stack.call("POST", "/v1/batches", body)
    assert answer.status == 200, answer.body
    return str(answer.json()["id"])


def batch(stack: Stack, batch_id: str) -> dict[str, Any]:
    answer = stack.call("GET", f"/v1/batches/{batch_id}")
    assert answer.status == 200, answer.body
    return dict(answer.json())


def done(stack: Stack, batch_id: str) -> int:
    counts = batch(stack, batch_id)["request_counts"]
    return int(counts["completed"]) + int(counts["failed"])


def ended(stack: Stack, batch_id: str, *, timeout_s: float = 200 * ROUNDS) -> dict[str, Any]:
    final = ("completed", "failed", "expired", "cancelled")
    stack.until(
        "the batch ends", lambda: batch(stack, batch_id)["status"] in final, timeout_s=timeout_s
    )
    return batch(stack, batch_id)


def lines(stack: Stack, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    answer = stack.call("GET", f"/v1/files/{file_id}/content")
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def expected(stack: Stack) -> dict[str, str]:
    """What each text is, asked one by one beforehand."""
    texts = [text_of(number) for number in range(60)]
    answers = stack.classify(texts).json()["data"]
    return {text: answer["prediction"] for text, answer in zip(texts, answers, strict=True)}


def check_all_answered(stack: Stack, batch_id: str, right: dict[str, str]) -> None:
    final = ended(stack, batch_id)
    assert final["status"] == "completed", final
    assert final["request_counts"] == {"total": ROWS, "completed": ROWS, "failed": 0}
    assert final["error_file_id"] is None
    found = lines(stack, final["output_file_id"])
    assert [line["id"] for line in found] == [f"r{n}" for n in range(ROWS)]
    wrong = [line for line in found if line["prediction"] != right[line["row"]["text"]]]
    assert wrong == []


@pytest.mark.timeout(300)
def test_workers_killed_every_few_seconds(tmp_path: Path):
    with running_stack(tmp_path, lease_s=2) as stack:
        right = expected(stack)
        batch_id = start(stack, table())
        kills = 0
        while done(stack, batch_id) < ROWS - 4000:
            seen = done(stack, batch_id)
            stack.until("it goes on", lambda seen=seen: done(stack, batch_id) > seen + 1500)
            stack.kill("worker")
            stack.start("worker")
            kills += 1
        assert kills >= 4
        check_all_answered(stack, batch_id, right)


@pytest.mark.timeout(300)
def test_redis_wiped_the_keeper_killed_and_the_api_killed_in_the_middle(tmp_path: Path):
    with running_stack(tmp_path, lease_s=2, audit_s=2) as stack:
        right = expected(stack)
        batch_id = start(stack, table())
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        stack.wipe_redis()
        stack.kill("keeper")
        stack.kill("api")
        stack.start("keeper")
        stack.start("api")
        stack.until_ready()
        check_all_answered(stack, batch_id, right)


@pytest.mark.timeout(300)
def test_what_a_batch_reads_is_deleted_and_redis_wiped_in_the_middle(tmp_path: Path):
    with running_stack(tmp_path, lease_s=2, audit_s=2) as stack:
        examples = [{"text": text_of(n), "label": COLOURS[n % 3]} for n in range(60)]
        trained = stack.call("POST", "/v1/train", {"name": "colours", "input": examples})
        assert trained.status == 200, trained.body
        batch_id = start(stack, table(), classify={"classifier": "colours"})
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        file_id = batch(stack, batch_id)["input_file_id"]
        for path in (f"/v1/files/{file_id}", "/v1/classifiers/colours"):
            assert stack.call("DELETE", path).status == 200
            assert stack.call("GET", path).status == 404
        assert done(stack, batch_id) < ROWS
        stack.wipe_redis()
        stack.kill("worker")
        stack.start("worker")
        right = {text_of(n): COLOURS[n % 3] for n in range(60)}
        check_all_answered(stack, batch_id, right)
        content = tmp_path / "objects" / "files" / "acme" / file_id
        stack.until("the bytes are gone", lambda: not content.exists(), timeout_s=150)


@pytest.mark.timed  # a lease of a second ends while a worker lives, if it waits for a core
@pytest.mark.timeout(300)
def test_rows_that_end_their_worker_are_given_up_alone(tmp_path: Path):
    deadly = {777: FATAL, 1500: FATAL}

    def bad(number: int) -> bytes | None:
        if number not in deadly:
            return None
        return json.dumps({"id": f"r{number}", "text": f"about {FATAL}"}).encode()

    stop = threading.Event()
    with running_stack(tmp_path, lease_s=1) as stack:
        stack.kill("worker")
        stack.start("worker", sys.executable, "-m", "tests.deadly_worker")

        def restart() -> None:
            while not stop.wait(0.2):
                if stack.processes["worker"].poll() is not None:
                    stack.start("worker")

        keeper = threading.Thread(target=restart)
        keeper.start()
        try:
            stack.until_ready()
            batch_id = start(stack, table(3000, bad))
            final = ended(stack, batch_id, timeout_s=240)
        finally:
            stop.set()
            keeper.join()
        assert final["request_counts"] == {"total": 3000, "completed": 2998, "failed": 2}
        errors = {line["id"]: line["error"] for line in lines(stack, final["error_file_id"])}
        assert set(errors) == {"r777", "r1500"}
        assert {error["code"] for error in errors.values()} == {"worker_died"}
        found = [line["id"] for line in lines(stack, final["output_file_id"])]
        assert found == [f"r{n}" for n in range(3000) if n not in deadly]


@pytest.mark.timeout(300)
def test_cancelling_takes_effect_at_once_and_keeps_what_is_finished(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        batch_id = start(stack, table())
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        began = time.monotonic()
        answer = stack.call("POST", f"/v1/batches/{batch_id}/cancel")
        assert answer.status == 200, answer.body
        assert answer.json()["status"] in ("cancelling", "cancelled")
        final = ended(stack, batch_id, timeout_s=20)
        assert time.monotonic() - began < 4
        assert final["status"] == "cancelled"
        counts = final["request_counts"]
        assert counts["total"] == counts["completed"] + counts["failed"] == ROWS
        assert 1000 <= counts["completed"] < ROWS
        output = lines(stack, final["output_file_id"])
        errors = lines(stack, final["error_file_id"])
        assert (len(output), len(errors)) == (counts["completed"], counts["failed"])
        assert {line["id"] for line in output + errors} == {f"r{n}" for n in range(ROWS)}
        assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}


@pytest.mark.timeout(300)
def test_a_worker_told_to_stop_hands_its_parts_to_the_next(tmp_path: Path):
    with running_stack(tmp_path, workers=2) as stack:
        right = expected(stack)
        batch_id = start(stack, table())
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        stack.kill("worker", signal.SIGTERM)
        check_all_answered(stack, batch_id, right)
