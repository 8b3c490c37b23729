"""A service that was down over three ticks of a schedule: real processes start one run, the latest.

The clock of a machine cannot be moved here. While nothing runs, the store is given what it would
hold: a next tick four hours ago.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.adapters.store_factory import store_of
from shared.retraining_store import RetrainingStore
from tests.stack import running_stack

pytestmark = pytest.mark.integration

RETRAINING = "/v1/classifiers/kinds/retraining"
SETTINGS = {"schedule": "0 * * * *", "gate": {"maximum_ece": None, "minimum_gain": -1.0}}
DOWN = timedelta(hours=4)


def test_a_service_that_was_down_over_three_ticks_makes_one_run_the_latest(tmp_path: Path):
    with running_stack(tmp_path, ready_s=240, audit_s=1) as stack:
        start = [{"text": "cat", "label": "animal"}, {"text": "rome", "label": "place"}]
        made = stack.call("POST", "/v1/train", {"name": "kinds", "input": start}).json()
        assert stack.call("PUT", RETRAINING, SETTINGS).status == 200
        items = [
            {"input": f"{label} word{n}", "label": label}
            for n in range(20)
            for label in ("animal", "place")
        ]
        assert stack.call("POST", "/v1/classifiers/kinds/feedback", {"items": items}).status == 201
        for name in ("api", "worker", "keeper"):
            stack.kill(name, signal.SIGKILL)

        now = datetime.now(UTC)
        records = RetrainingStore(store=store_of(stack.settings))
        record, etag = records.load("acme", made["classifier_id"])
        records.reschedule(record, etag, after=now - DOWN)
        for name in ("api", "worker", "keeper"):
            stack.start(name)
        stack.start_keeper("second keeper")
        stack.until_ready(timeout_s=240)
        stack.until(
            "the run has ended",
            lambda: (
                [
                    each["finished_at"]
                    for each in stack.call("GET", f"{RETRAINING}/runs").json()["data"]
                ]
                not in ([], [None])
            ),
            timeout_s=120,
        )

        (run,) = stack.call("GET", f"{RETRAINING}/runs").json()["data"]
        hour = now.replace(minute=0, second=0, microsecond=0)
        assert run["trigger"] == "schedule"
        assert run["status"] == "promoted", run
        assert datetime.fromisoformat(run["tick"]) in {hour, hour + timedelta(hours=1)}
        after = stack.call("GET", RETRAINING).json()
        assert datetime.fromisoformat(after["next_run_at"]) > now
        assert (after["active_run"], run["counts"]["read"]) == (None, len(items))
        started = [
            e for keeper in ("keeper", "second keeper") for e in stack.events(keeper, "run.started")
        ]
        assert len({each["job_id"] for each in started}) == 1
