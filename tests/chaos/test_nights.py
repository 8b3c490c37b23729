"""Processes are killed at each step of a night: one run, one promotion, each row learnt once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rounds import ROUNDS
from tests.paused_worker import STEPS
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.chaos

ROWS = 20
RETRAINING = "/v1/classifiers/kinds/retraining"
SETTINGS = {
    "sources": [{"feedback": True}],
    "minimum_new_examples": 5,
    "gate": {"minimum_gain": -1.0, "maximum_ece": None, "maximum_label_drop": None},
}
VICTIMS = ("worker", "keeper", "redis")


def bring(stack: Stack, night: int) -> None:
    items = [
        {"id": f"{night}.{i}", "input": f"{label} word{i} night{night}", "label": label}
        for i in range(ROWS)
        for label in [("animal", "place")[i % 2]]
    ]
    sent = stack.call("POST", "/v1/classifiers/kinds/feedback", {"items": items})
    assert sent.status == 201, sent.body


def night(stack: Stack, steps: Path, step: str, victim: str) -> dict[str, Any]:
    """A run whose victim is killed at a step, as it ended."""
    for file in steps.iterdir():
        file.unlink()
    (steps / "armed").write_text(step)
    answer = stack.call("POST", f"{RETRAINING}/runs")
    assert answer.status == 202, answer.body
    job = answer.json()["id"]
    stack.until(f"{step} is reached", (steps / step).exists, timeout_s=180)
    if victim == "redis":
        stack.wipe_redis()
    else:
        stack.kill(victim)
        stack.start(victim)
    (steps / f"{step}.go").touch()
    run = job.replace("job_", "run_")
    stack.until(
        "the run ends",
        lambda: stack.call("GET", f"/v1/jobs/{job}").json().get("finished_at"),
        timeout_s=180,
    )
    found: dict[str, Any] = stack.call("GET", f"{RETRAINING}/runs/{run}").json()
    return found


def trained(stack: Stack) -> None:
    """A classifier with a retraining, and a worker that waits at each step of a night."""
    stack.kill("worker")
    stack.start("worker", sys.executable, "-m", "tests.paused_worker")
    start = [{"text": "cat", "label": "animal"}, {"text": "rome", "label": "place"}]
    stack.until(
        "trained",
        lambda: (
            stack.call("POST", "/v1/train", {"name": "kinds", "input": start}).status in {200, 409}
        ),
    )
    assert stack.call("PUT", RETRAINING, SETTINGS).status == 200


@pytest.mark.timeout(600)
def test_kills_at_each_step_of_a_night_leave_one_run_and_one_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = tmp_path / "steps"
    steps.mkdir()
    monkeypatch.setitem(os.environ, "NIGHT_STEPS", str(steps))
    pairs = [(step, VICTIMS[(i + turn) % 3]) for turn in range(3) for i, step in enumerate(STEPS)]
    with running_stack(tmp_path, ready_s=180, lease_s=2, max_attempts=20, audit_s=2) as stack:
        trained(stack)
        stack.start_keeper("second keeper")
        learnt = read = 0
        chosen = pairs[: 5 * ROUNDS]
        for number, (step, victim) in enumerate(chosen):
            bring(stack, number)

            run = night(stack, steps, step, victim)

            assert run["status"] == "promoted", (step, victim, run)
            assert (run["champion"], run["challenger"]) == (number + 1, number + 2)
            assert None not in (run["finished_at"], run["metrics"], run["test"], run["decision"])
            read += run["counts"]["read"]
            learnt += run["counts"]["learnt"]

        runs = stack.call("GET", f"{RETRAINING}/runs").json()["data"]
        assert [each["status"] for each in runs] == ["promoted"] * len(chosen)
        assert read == ROWS * len(chosen)
        detail = stack.call("GET", "/v1/classifiers/kinds").json()
        assert sum(each["count"] for each in detail["labels"]) == 2 + learnt
        assert detail["aliases"] == {"champion": len(chosen) + 1, "previous": len(chosen)}


@pytest.mark.timeout(300)
def test_a_night_that_is_cancelled_after_its_worker_died_tells_one_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The worker dies after the alias has moved, or before; then the owner cancels the job."""
    steps = tmp_path / "steps"
    steps.mkdir()
    monkeypatch.setitem(os.environ, "NIGHT_STEPS", str(steps))
    with running_stack(tmp_path, ready_s=180, lease_s=2, max_attempts=20, audit_s=2) as stack:
        trained(stack)
        bring(stack, 0)
        for step in ("before_promotion", "after_promotion"):
            for file in steps.iterdir():
                file.unlink()
            (steps / "armed").write_text(step)
            job = stack.call("POST", f"{RETRAINING}/runs").json()["id"]
            stack.until(f"{step} is reached", (steps / step).exists, timeout_s=180)
            stack.kill("worker")
            assert stack.call("DELETE", f"/v1/jobs/{job}").status == 202
            (steps / "armed").write_text("none")
            stack.start("worker")
            stack.until(
                "the job ends",
                lambda job=job: stack.call("GET", f"/v1/jobs/{job}").json().get("finished_at"),
                timeout_s=180,
            )
            run = stack.call("GET", f"{RETRAINING}/runs/{job.replace('job_', 'run_')}").json()
            ends = (stack.call("GET", f"/v1/jobs/{job}").json()["status"], run["status"])
            aliases = stack.call("GET", "/v1/classifiers/kinds").json()["aliases"]
            if step == "before_promotion":
                assert (ends, aliases) == (("cancelled", "cancelled"), {})
            else:
                assert ends == ("succeeded", "promoted")
                assert aliases["champion"] == run["challenger"]
                assert run["counts"]["read"] == ROWS
        job = stack.call("POST", f"{RETRAINING}/runs").json()["id"]
        stack.until(
            "the next night ends",
            lambda: stack.call("GET", f"/v1/jobs/{job}").json().get("finished_at"),
            timeout_s=180,
        )
        run = stack.call("GET", f"{RETRAINING}/runs/{job.replace('job_', 'run_')}").json()
        assert (run["status"], run["counts"]["read"]) == ("skipped", 0)
