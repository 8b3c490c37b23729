"""Workers of two devices and of different models, on real processes.

The hashing model needs no GPU, so a worker of it can stand for one that has a GPU.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.store_factory import store_of
from tests.keys import secret_of
from tests.stack import Stack

pytestmark = pytest.mark.integration
MODELS = """
[[model]]
name = "tiny"
engine = "hashing"
device = "gpu-preferred"

[[model]]
name = "gpu-alone"
engine = "hashing"
device = "gpu-only"

[[model]]
name = "other"
engine = "hashing"
device = "gpu-preferred"
"""
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A service without workers."""
    stack = Stack(tmp_path, models="tiny,gpu-alone,other", lease_s=2)
    (tmp_path / "catalogue.toml").write_text(MODELS)
    try:
        stack.start_redis()
        stack.key = secret_of(store_of(stack.settings))
        stack.start_api()
        stack.start_keeper()
        stack.until("answers", lambda: stack.call("GET", "/health/live").status == 200)
        yield stack
    finally:
        stack.stop()


def start(stack: Stack, name: str, device: str, models: str = "tiny,gpu-alone,other") -> None:
    stack.start(name, sys.executable, "-m", "workers.main", device=device, models=models)
    stack.until(f"{name} is ready", lambda: stack.events(name, "worker.ready"))


def succeeded(stack: Stack, job_id: str) -> bool:
    return stack.job(job_id)["status"] == "succeeded"


def finished_by(stack: Stack, job_id: str) -> set[str]:
    """The processes that began a part of the job."""
    return {
        name
        for name in stack.processes
        if any(e["job_id"] == job_id for e in stack.events(name, "part.started"))
    }


def test_jobs_and_calls_for_a_gpu_are_done_on_the_cpu_once_no_gpu_worker_lives(stack: Stack):
    start(stack, "gpu", "cuda")
    start(stack, "cpu", "cpu")
    assert stack.classify().status == 200
    stack.freeze("gpu")  # it is believed to live, and does nothing
    waiting = [stack.submit(f"red {n}") for n in range(5)]
    call = stack.classify("red", timeout_s=60)
    stack.kill("gpu")

    assert call.status == 200
    for job_id in waiting:
        stack.until("ended", lambda job_id=job_id: succeeded(stack, job_id))
    assert all(finished_by(stack, job_id) >= {"cpu"} for job_id in waiting)
    assert stack.events("keeper", "queue.moved")


def test_a_job_that_runs_when_its_gpu_dies_ends_on_the_cpu(stack: Stack):
    start(stack, "gpu", "cuda")
    text = "red " * 4000
    job_id = stack.submit([text] * 1024)
    stack.until("it runs", lambda: finished_by(stack, job_id) == {"gpu"})
    assert not succeeded(stack, job_id)
    stack.kill("gpu", signal.SIGKILL)

    start(stack, "cpu", "cpu")

    stack.until("ended", lambda: succeeded(stack, job_id), timeout_s=90)
    assert finished_by(stack, job_id) == {"gpu", "cpu"}


def test_gpu_only_work_waits_for_a_gpu_and_calls_are_told_why(stack: Stack):
    start(stack, "cpu", "cpu")

    refused = stack.classify(model="gpu-alone")
    job_id = stack.submit("red", model="gpu-alone")
    later = stack.submit("red")
    stack.until("another job ended", lambda: succeeded(stack, later))

    assert refused.status == 503
    assert "no running gpu worker offers gpu-alone" in refused.json()["detail"]
    assert "pigeonhole-server models pull gpu-alone" in refused.json()["detail"]
    assert stack.job(job_id)["status"] == "queued"
    start(stack, "gpu", "cuda")
    stack.until("ended", lambda: succeeded(stack, job_id))
    assert finished_by(stack, job_id) == {"gpu"}


def test_workers_of_one_device_with_different_models_take_what_they_can_run(stack: Stack):
    start(stack, "one", "cpu", models="tiny")
    start(stack, "two", "cpu", models="other")

    jobs = {stack.submit(f"red {n}", model=m): m for n in range(20) for m in ("tiny", "other")}
    calls = [stack.classify(f"red {n}", model=m) for n in range(20) for m in ("tiny", "other")]
    for job_id in jobs:
        stack.until("ended", lambda job_id=job_id: succeeded(stack, job_id))

    assert {call.status for call in calls} == {200}
    for job_id, model in jobs.items():
        assert finished_by(stack, job_id) == {"one" if model == "tiny" else "two"}
    assert not any(stack.events(name, "part.given_back") for name in ("one", "two"))
