"""Workers are killed, stopped and poisoned; nothing that was accepted is lost or ended twice."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.rounds import ROUNDS
from tests.deadly_worker import FATAL, RAISING
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.chaos
ITEMS = [f"{'red' if n % 3 else 'green'} text number {n} " + "word " * 60 for n in range(400)]


def submit_many(stack: Stack, count: int, texts: object, *, callers: int = 8) -> list[str]:
    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(lambda _: stack.submit(texts), range(count)))


def unfinished(stack: Stack) -> int:
    """Open markers on the store: accepted and not ended."""
    return sum(1 for _ in (stack.folder / "objects" / "open.d").glob("*"))


def ends(stack: Stack, *names: str) -> Counter[str]:
    """How often each job was brought to its end."""
    return Counter(event["job_id"] for name in names for event in stack.events(name, "job.ended"))


@pytest.mark.timeout(400)
def test_ten_kills_in_the_middle_of_200_jobs_lose_nothing(tmp_path: Path):
    with running_stack(tmp_path, lease_s=10) as stack:
        expected = [item["prediction"] for item in stack.classify(ITEMS).json()["data"]]
        jobs = submit_many(stack, 200 * ROUNDS, ITEMS)

        killed_at = []
        for _ in range(10 * ROUNDS):
            seen = len(stack.events("worker", "part.started"))
            stack.until(
                "a part runs", lambda s=seen: len(stack.events("worker", "part.started")) > s + 2
            )
            stack.kill("worker")
            killed_at.append(time.time())
            stack.start("worker")
        stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=200 * ROUNDS)

        for job_id in jobs:
            job = stack.job(job_id)
            assert job["status"] == "succeeded", job
            assert job["progress"] == {"total": 400, "completed": 400, "failed": 0}
        result = stack.call("GET", f"/v1/jobs/{jobs[0]}/result").json()
        assert [item["prediction"] for item in result["data"]] == expected
        assert set(ends(stack, "worker").values()) == {1}
        again = [e for e in stack.events("worker", "part.started") if e["attempt"] > 1]
        first = min(datetime.fromisoformat(event["at"]).timestamp() for event in again)
        assert again, "no kill hit a running part"
        assert first - killed_at[0] < 15


@pytest.mark.timeout(600)
def test_kills_at_full_speed_over_10_000_jobs_lose_none_and_end_none_twice(tmp_path: Path):
    count, least = 10_000 * ROUNDS, 20 * ROUNDS
    with running_stack(tmp_path, workers=2, log_level="info") as stack:
        with ThreadPoolExecutor(1) as background:
            submitting = background.submit(submit_many, stack, count, "a red rose", callers=16)
            kills = 0
            while not submitting.done() or (kills < least and unfinished(stack)):
                time.sleep(0.7)
                name = ("worker", "worker2")[kills % 2]
                stack.kill(name)
                stack.start(name)
                kills += 1
            jobs = submitting.result()
        stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=200 * ROUNDS)

        assert kills >= least
        assert len(set(jobs)) == count
        account = stack.folder / "objects" / "jobs.d" / "acme.d"
        assert sum(1 for _ in account.glob("*/job.json")) == count
        finished = ends(stack, "worker", "worker2")
        assert max(finished.values()) == 1
        for job_id in jobs[::100]:
            assert stack.job(job_id)["status"] == "succeeded"


def test_a_deploy_finishes_or_gives_back_what_runs(tmp_path: Path):
    with running_stack(tmp_path, lease_s=60) as stack:
        jobs = submit_many(stack, 40, ITEMS)
        for _ in range(3):
            seen = len(stack.events("worker", "part.started"))
            stack.until(
                "a part runs", lambda s=seen: len(stack.events("worker", "part.started")) > s
            )
            assert stack.kill("worker", signal.SIGTERM) == 0
            stack.start("worker")
        # A lease that was left behind would block its job for 60 s.
        stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=50)

        assert {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"}
        assert set(ends(stack, "worker").values()) == {1}
        assert all(e["attempt"] == 1 for e in stack.events("worker", "part.started"))


def test_a_deploy_answers_the_calls_that_were_begun(tmp_path: Path):
    with running_stack(tmp_path, workers=2) as stack:
        stack.kill("worker2", signal.SIGTERM)
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(stack.classify, ITEMS * 2) for _ in range(6)]
            stack.until("calls run", lambda: len(stack.events("worker", "call.done")) > 2)
            stack.start("worker2")
            assert stack.kill("worker", signal.SIGTERM) == 0
            statuses = [call.result().status for call in calls]

        assert statuses == [200] * 6


def test_work_that_always_kills_its_worker_fails_alone_after_bounded_attempts(tmp_path: Path):
    with running_stack(tmp_path, lease_s=2, max_attempts=3) as stack:
        stack.kill("worker", signal.SIGTERM)
        stack.start("worker", sys.executable, "-m", "tests.deadly_worker")
        poison = stack.submit(["red", FATAL])
        deaths = 0
        while stack.job(poison)["status"] != "failed":
            assert deaths <= 3
            if stack.processes["worker"].poll() is not None:
                deaths += 1
                stack.start("worker")
            time.sleep(0.1)

        job = stack.job(poison)
        assert deaths == 3
        assert job["error"]["detail"].startswith("given up after 3 attempts")
        assert job["progress"] == {"total": 2, "completed": 0, "failed": 2}
        fine = stack.submit("red")
        stack.until("the next job ends", lambda: stack.job(fine)["status"] == "succeeded")


def test_work_that_always_raises_fails_after_bounded_attempts(tmp_path: Path):
    with running_stack(tmp_path, max_attempts=3) as stack:
        stack.kill("worker", signal.SIGTERM)
        stack.start("worker", sys.executable, "-m", "tests.deadly_worker")
        stack.until_ready()
        poison = stack.submit(["red", RAISING])

        stack.until("it fails", lambda: stack.job(poison)["status"] == "failed")

        assert "3 attempts: MemoryError" in stack.job(poison)["error"]["detail"]
        answer = stack.classify(RAISING)
        assert answer.status == 500
        assert "MemoryError" not in answer.body.decode()


def test_a_stored_request_that_cannot_be_decoded_fails_with_its_reason(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        stack.kill("worker", signal.SIGTERM)
        job_id = stack.submit("red")
        stored = stack.folder / "objects" / "jobs.d" / "acme.d" / f"{job_id}.d" / "request.json"
        stored.write_bytes(b'{"schema_number": 1, "garbage": true}')
        stack.start("worker")

        stack.until("it fails", lambda: stack.job(job_id)["status"] == "failed")

        assert "not a Submission" in stack.job(job_id)["error"]["detail"]


def test_a_message_that_is_no_message_of_ours_is_dropped_and_the_next_one_served(tmp_path: Path):
    from shared.adapters.redis.client import connect
    from shared.adapters.redis.ledger import RedisLedger

    with running_stack(tmp_path) as stack:
        ledger = RedisLedger(connect(stack.settings.redis_url, timeout_s=2))
        for garbage in (b"", b"\xff\xfe", b"[]", b'{"schema_number": 99}'):
            ledger.enqueue_call("cpu.standard.tiny", garbage, bound=100)

        assert stack.classify("red").status == 200
        assert len(stack.events("worker", "call.undecodable")) == 4


def test_a_cancelled_job_ends_cancelled_whether_it_waits_or_runs(tmp_path: Path):
    with running_stack(tmp_path) as stack:
        jobs = submit_many(stack, 30, ITEMS)
        stack.until("some run", lambda: stack.events("worker", "part.started"))

        answers = {job_id: stack.call("DELETE", f"/v1/jobs/{job_id}").status for job_id in jobs}
        stack.until("all have ended", lambda: unfinished(stack) == 0)

        states = {job_id: stack.job(job_id)["status"] for job_id in jobs}
        assert set(answers.values()) <= {202, 409}
        for job_id, status in answers.items():
            assert states[job_id] == ("cancelled" if status == 202 else "succeeded")
        assert "cancelled" in states.values()
