"""Batches in trouble: ended in the middle and retried, learning under kills, no room, no store."""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.chaos.test_batches import (
    ROWS,
    batch,
    check_all_answered,
    done,
    ended,
    expected,
    lines,
    start,
    table,
    upload,
)
from tests.servers import Server, moto_server
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.chaos
LESSONS = 80
_LIMIT_BYTES = 600_000  # of a file that a process may write: parts are smaller, results larger


def retry(stack: Stack, batch_id: str) -> str:
    answer = stack.call("POST", f"/v1/batches/{batch_id}/retry", {"rows": "all"})
    assert answer.status == 200, answer.body
    return str(answer.json()["id"])


@pytest.mark.timeout(300)
def test_a_retry_of_a_cancelled_batch_yields_every_id_once_over_both(tmp_path: Path):
    def bad(number: int) -> bytes | None:
        return b"no json" if number % 1000 == 999 else None

    with running_stack(tmp_path) as stack:
        first = start(stack, table(bad=bad))
        stack.until("it is under way", lambda: done(stack, first) > 1000)
        stack.call("POST", f"/v1/batches/{first}/cancel")
        old = ended(stack, first, timeout_s=60)
        second = retry(stack, first)
        stack.until("the retry is under way", lambda: done(stack, second) > 1000)
        stack.kill("worker")
        stack.start("worker")
        new = ended(stack, second)

        assert (old["status"], new["status"]) == ("cancelled", "completed")
        found = [line["id"] for each in (old, new) for line in lines(stack, each["output_file_id"])]
        assert sorted(found) == sorted(f"r{n}" for n in range(ROWS) if bad(n) is None)
        assert new["request_counts"]["total"] == ROWS - old["request_counts"]["completed"]
        assert [line["line"] for line in lines(stack, new["error_file_id"])] == [
            n + 1 for n in range(ROWS) if bad(n)
        ]


@pytest.mark.timeout(300)
def test_train_lines_killed_in_the_middle_are_learnt_once_and_in_order(tmp_path: Path):
    first = [{"text": "a rose", "label": "red"}, {"text": "grass", "label": "green"}]
    said: list[dict[str, Any]] = [{"name": "hunted", "input": first}]
    for number in range(1, LESSONS):
        pairs = [
            {"text": f"thing{number} {'word ' * 40}{n}", "label": f"l{number}"} for n in range(40)
        ]
        said.append({"classifier_id": "hunted", "input": pairs})
    data = b"\n".join(
        json.dumps({"custom_id": f"c{n}", "url": "/v1/train", "body": body}).encode()
        for n, body in enumerate(said)
    )
    with running_stack(tmp_path, lease_s=2, versions_kept=200, workers=2) as stack:
        body = {"input_file_id": upload(stack, data), "endpoint": "/v1/train"}
        answer = stack.call("POST", "/v1/batches", body)
        assert answer.status == 200, answer.body
        batch_id = str(answer.json()["id"])

        def version() -> int:
            found = stack.call("GET", "/v1/classifiers/hunted")
            return int(found.json()["version"]) if found.status == 200 else 0

        for number in range(4):
            seen = version()
            stack.until("it learns", lambda seen=seen: version() >= min(seen + 5, LESSONS))
            name = "worker" if number % 2 == 0 else "worker2"
            stack.kill(name)
            stack.start(name)
        final = ended(stack, batch_id)

        assert final["status"] == "completed", final
        assert final["request_counts"] == {"total": LESSONS, "completed": LESSONS, "failed": 0}
        made = [
            (line["custom_id"], line["response"]["body"]["version"])
            for line in lines(stack, final["output_file_id"])
        ]
        assert made == [(f"c{n}", n + 1) for n in range(LESSONS)]
        detail = stack.call("GET", "/v1/classifiers/hunted").json()
        counts = {entry["label"]: entry["count"] for entry in detail["labels"]}
        assert counts == {"red": 1, "green": 1, **{f"l{n}": 40 for n in range(1, LESSONS)}}


@pytest.mark.timeout(300)
def test_a_window_that_ends_with_no_worker_alive_is_told_and_its_work_kept(tmp_path: Path):
    with running_stack(tmp_path, audit_s=2) as stack:
        batch_id = start(stack, table(), completion_window="1m")
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        stack.kill("worker")
        stack.until(
            "it has expired", lambda: batch(stack, batch_id)["status"] == "expired", timeout_s=80
        )
        told = batch(stack, batch_id)
        assert told["expired_at"] == told["expires_at"]
        assert told["output_file_id"] is None
        completed = told["request_counts"]["completed"]
        assert 1000 <= completed < ROWS

        stack.start("worker")
        stack.until("it is put together", lambda: batch(stack, batch_id)["output_file_id"])

        final = batch(stack, batch_id)
        assert final["status"] == "expired"
        counts = final["request_counts"]
        assert counts["completed"] >= completed
        assert counts["completed"] + counts["failed"] == counts["total"] == ROWS
        output = lines(stack, final["output_file_id"])
        errors = lines(stack, final["error_file_id"])
        assert (len(output), len(errors)) == (counts["completed"], counts["failed"])
        assert {line["id"] for line in output + errors} == {f"r{n}" for n in range(ROWS)}
        assert {line["error"]["code"] for line in errors} == {"batch_expired"}


def limited(module: str) -> list[str]:
    """A process that may write no file larger than the limit, as on a disk that is nearly full."""
    code = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, "
        f"({_LIMIT_BYTES}, resource.RLIM_INFINITY)); "
        f"os.execv(sys.executable, [sys.executable, '-m', {module!r}])"
    )
    return [sys.executable, "-c", code]


@pytest.mark.timeout(300)
def test_a_store_without_room_loses_nothing_and_says_so(tmp_path: Path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with running_stack(tmp_path) as stack:
        right = expected(stack)
        plain = stack.commands["worker"]
        stack.kill("worker")
        stack.start("worker", *limited("workers.main"))
        stack.until_ready()
        batch_id = start(stack, table())
        stack.until(
            "it cannot be put together",
            lambda: len(stack.events("worker", "part.given_back")) > 3,
            timeout_s=120,
        )
        stuck = batch(stack, batch_id)
        assert stuck["status"] == "finalizing"
        assert stuck["request_counts"]["completed"] == ROWS
        assert stuck["output_file_id"] is None
        reasons = {event["reason"] for event in stack.events("worker", "part.given_back")}
        assert any("disk" in reason for reason in reasons), reasons

        stack.kill("worker")
        stack.start("worker", *plain)
        check_all_answered(stack, batch_id, right)


@pytest.mark.timeout(120)
def test_a_file_for_which_there_is_no_room_is_refused_and_leaves_nothing(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        stack.kill("api", signal.SIGTERM)
        stack.start("api", *limited("api.main"))
        stack.until_ready()
        with pytest.raises(AssertionError, match="disk"):
            upload(stack, b'{"text": "red"}\n' * 100_000)

        small = upload(stack, b'{"text": "red"}\n')
        listed = stack.call("GET", "/v1/files").json()["data"]
        assert [file["id"] for file in listed] == [small]
        left = [p for p in (tmp_path / "objects").rglob("*") if p.is_file()]
        assert sum(p.stat().st_size for p in left) < 100_000


@pytest.fixture
def s3() -> Iterator[Server]:
    with moto_server() as server:
        boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket="pigeonhole")
        yield server


@pytest.mark.timeout(300)
def test_a_store_that_freezes_in_the_middle_of_a_batch(tmp_path: Path, s3: Server):
    settings = {
        "object_store": "s3://pigeonhole/test",
        "s3_endpoint": s3.url,
        "s3_access_key": "id",
        "s3_secret_key": "secret",
        "store_timeout_s": 2,
        "max_attempts": 2,
    }
    with running_stack(tmp_path, **settings) as stack:
        right = expected(stack)
        batch_id = start(stack, table())
        stack.until("it is under way", lambda: done(stack, batch_id) > 1000)
        thaw = threading.Timer(20, s3.process.send_signal, [signal.SIGCONT])
        thaw.start()
        s3.process.send_signal(signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            answer = stack.call("GET", f"/v1/batches/{batch_id}", timeout_s=30)
            assert answer.status == 503, answer.body
            assert time.monotonic() - frozen < 15
            assert stack.processes["worker"].poll() is None
            thaw.join()
        finally:
            s3.process.send_signal(signal.SIGCONT)
        check_all_answered(stack, batch_id, right)
