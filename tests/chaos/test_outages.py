"""Redis and the object store go away, freeze, and come back empty; callers are told in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import boto3
import pytest

from tests.chaos.test_workers import ITEMS, ends, submit_many, unfinished
from tests.servers import Proxy, moto_server
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.chaos
AWAY_S = 20.0


def supervise(stack: Stack, name: str, stop: threading.Event) -> threading.Thread:
    """Start a process again whenever it exits, as the launcher does."""

    def watch() -> None:
        while not stop.wait(0.5):
            if stack.processes[name].poll() is not None:
                stack.start(name)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.timeout(300)
def test_jobs_survive_a_redis_that_is_killed_and_comes_back_empty(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        stop = threading.Event()
        supervisors = [supervise(stack, name, stop) for name in ("worker", "keeper")]
        try:
            jobs = submit_many(stack, 60, ITEMS)
            stack.until("some run", lambda: stack.events("worker", "part.started"))
            stack.wipe_redis()
            stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=120)

            assert {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"}
            assert set(ends(stack, "worker").values()) == {1}
        finally:
            stop.set()
            for supervisor in supervisors:
                supervisor.join()


def test_a_frozen_redis_makes_nobody_wait_longer_than_5_seconds(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        stack.send("redis", signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(8) as pool:
                began = time.monotonic()
                sync = [pool.submit(stack.classify, "red", timeout_s=30) for _ in range(8)]
                answers = [future.result() for future in sync]
                took_s = time.monotonic() - began
            ready = stack.call("GET", "/health/ready", timeout_s=30)
        finally:
            stack.send("redis", signal.SIGCONT)

        assert [answer.status for answer in answers] == [503] * 8
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert took_s < 5
        assert ready.status == 503
        assert ready.json()["parts"]["redis"] != "ok"
        stack.until("it works again", lambda: stack.classify("red").status == 200, timeout_s=30)


@pytest.mark.timeout(300)
def test_everything_works_again_by_itself_after_the_broker_was_away(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        stop = threading.Event()
        supervisors = [supervise(stack, name, stop) for name in ("worker", "keeper")]
        try:
            jobs = submit_many(stack, 20, ITEMS)
            stack.kill("redis")
            until = time.monotonic() + AWAY_S
            while time.monotonic() < until:
                began = time.monotonic()
                answer = stack.classify("red", timeout_s=30)
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) >= 1
                assert time.monotonic() - began < 5
                assert stack.call("GET", "/health/live").status == 200
                assert stack.call("GET", f"/v1/jobs/{jobs[0]}").status == 200
                time.sleep(0.5)
            stack.start("redis")
            took_s = stack.until(
                "it works again", lambda: stack.classify("red").status == 200, timeout_s=60
            )
            stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=60)

            assert took_s < 30
            assert {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"}
            assert set(ends(stack, "worker").values()) == {1}
        finally:
            stop.set()
            for supervisor in supervisors:
                supervisor.join()


def test_what_a_killed_api_had_accepted_ends(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        accepted: list[str] = []

        def submit_until_it_is_gone() -> None:
            with suppress(OSError, HTTPException):
                for _ in range(500):
                    accepted.append(stack.submit("red"))

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(submit_until_it_is_gone) for _ in range(4)]
            stack.until("some are accepted", lambda: len(accepted) > 20)
            stack.kill("api")
            for caller in callers:
                caller.result()
        stack.start("api")
        stack.until_ready()
        stack.until("all have ended", lambda: unfinished(stack) == 0)

        assert {stack.job(job_id)["status"] for job_id in accepted} == {"succeeded"}
        assert set(ends(stack, "worker").values()) == {1}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with moto_server() as server:
        boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket="pigeonhole")
        proxy = Proxy(server.port)
        yield proxy
        proxy.cut()


@pytest.mark.timeout(300)
def test_jobs_outlive_an_object_store_that_is_away(tmp_path: Path, s3: Proxy):
    settings = {
        "object_store": "s3://pigeonhole/test",
        "s3_endpoint": s3.url,
        "s3_access_key": "id",
        "s3_secret_key": "secret",
        "store_timeout_s": 2,
    }
    with running_stack(tmp_path, **settings) as stack:
        jobs = submit_many(stack, 30, ITEMS, callers=4)
        s3.cut()
        refused = 0
        until = time.monotonic() + AWAY_S
        while time.monotonic() < until:
            answer = stack.classify("red", headers={"Prefer": "respond-async"}, timeout_s=30)
            assert answer.status == 503, answer.body
            refused += 1
            assert stack.classify("red").status == 200  # needs no store, and the key is known
            time.sleep(0.5)
        s3.mend()
        stack.until(
            "all have ended",
            lambda: all(stack.job(j)["status"] == "succeeded" for j in jobs),
            timeout_s=90,
        )

        assert refused > 3
        assert set(ends(stack, "worker").values()) == {1}
        listed = stack.call("GET", "/v1/jobs?limit=100").json()["data"]
        assert {job["id"] for job in listed} == set(jobs), "a refused submit left a job behind"
