"""Processes on machines whose wall clocks are wrong delete, expire and refuse nothing for it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.services.keys import create_key
from shared.adapters.store_factory import store_of
from tests.chaos.test_workers import submit_many
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.chaos
DAY_S = 86400
JOBS = 120


def start_shifted(stack: Stack, name: str, offset_s: float, module: str) -> None:
    """Start a process whose wall clock is so far ahead."""
    stack.start(name, sys.executable, "-m", "tests.shifted_main", str(offset_s), module)


def clocks(stack: Stack) -> dict[str, str]:
    return dict(stack.call("GET", "/health/ready").json()["clocks"])


def all_end(stack: Stack, jobs: list[str]) -> None:
    stack.until(
        "all have ended",
        lambda: {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"},
        timeout_s=120,
    )


@pytest.mark.timeout(900)
def test_a_keeper_that_is_days_ahead_deletes_nothing_and_says_so(tmp_path: Path):
    with running_stack(tmp_path, ready_s=180) as stack:
        jobs = submit_many(stack, JOBS, "a red rose")
        all_end(stack, jobs)
        objects = {path for path in (tmp_path / "objects").rglob("*") if "jobs.d" in path.parts}

        start_shifted(stack, "second", 8 * DAY_S, "workers.keeper.main")

        for event in ("clock.off", "retention.put_off"):
            stack.until(
                f"it says {event}", lambda e=event: stack.events("second", e), timeout_s=180
            )
        stack.until(
            "readiness names it",
            lambda: clocks(stack)["keeper"].startswith("691200.0 s ahead"),
            timeout_s=180,
        )
        assert stack.call("GET", "/health/ready").status == 200
        assert {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"}
        assert objects <= set((tmp_path / "objects").rglob("*"))

        # It is a keeper all the same: jobs that the ledger lost are adopted, and not as too old.
        stack.kill("keeper")
        later = submit_many(stack, 5, "a red rose")
        all_end(stack, later)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("offset_s", [90, -8 * DAY_S])
def test_a_worker_whose_clock_is_off_answers_calls_and_hears_bells(tmp_path: Path, offset_s: float):
    with running_stack(tmp_path, ready_s=180) as stack:
        stack.kill("worker")
        start_shifted(stack, "worker", offset_s, "workers.main")
        stack.until(  # the readiness of the first one is remembered for a moment
            "it is ready", lambda: len(stack.events("worker", "worker.ready")) == 2, timeout_s=180
        )

        for _ in range(3):
            time.sleep(1.5)  # it attends its queues no more: a bell has to be heard
            assert stack.classify().status == 200
        all_end(stack, submit_many(stack, 5, "a red rose"))
        words = "s ahead of Redis" if offset_s > 0 else "s behind Redis"
        stack.until("readiness names it", lambda: words in clocks(stack)["worker"], timeout_s=180)
        assert clocks(stack)["keeper"] == "ok"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("offset_s", [8 * DAY_S, -8 * DAY_S])
def test_an_api_whose_clock_is_off_accepts_keys_calls_and_jobs(tmp_path: Path, offset_s: float):
    with running_stack(tmp_path, ready_s=180) as stack:
        stack.kill("api")
        start_shifted(stack, "api", offset_s, "api.main")
        stack.until_ready(timeout_s=180)
        now = datetime.now(UTC)
        stack.key, _ = create_key(
            store_of(stack.settings),
            name="of one day",
            account="acme",
            scopes=(),
            created_at=now,
            expires_at=now + timedelta(days=1),
        )

        assert stack.classify().status == 200
        jobs = submit_many(stack, 5, "a red rose")
        all_end(stack, jobs)
        made_at = datetime.fromisoformat(stack.job(jobs[0])["created_at"])
        assert abs((made_at - datetime.now(UTC)).total_seconds()) < 60
        stack.kill("keeper")
        stack.start("keeper")  # it looks at once for what has expired
        stack.until("it is back", lambda: clocks(stack)["keeper"] == "ok", timeout_s=180)
        all_end(stack, jobs)
        assert "Redis" in clocks(stack)["api"]
