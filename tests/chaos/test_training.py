"""Workers are killed while classifiers learn: the old version or the new one, and no call twice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.chaos.rounds import ROUNDS
from tests.stack import running_stack

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(300)
def test_kills_in_the_middle_of_trains_leave_the_old_version_or_the_new(tmp_path: Path):
    calls, kills = 20 * ROUNDS, 5 * ROUNDS
    with running_stack(
        tmp_path, lease_s=2, versions_kept=100 * ROUNDS, max_attempts=50, request_timeout_s=5
    ) as stack:
        start = {
            "name": "hunted",
            "input": [{"text": "a red rose", "label": "red"}, {"text": "grass", "label": "green"}],
        }
        assert stack.call("POST", "/v1/train", start).status == 200
        stop = threading.Event()
        broken: list[object] = []
        answered: list[int] = []

        def watch() -> None:
            """Whatever is killed, the classifier is whole: who is answered, is by some version.

            A plain call goes down with the worker that had claimed it, and is told to try again.
            """
            while not stop.wait(0.1):
                body = {"classifier_id": "hunted", "input": "a red rose"}
                answer = stack.call("POST", "/v1/classify", body, timeout_s=90)
                if answer.status == 200:
                    answered.append(len(answer.json()["data"][0]["predictions"]))
                elif answer.status not in {503, 504}:
                    broken.append((answer.status, answer.body))

        watcher = threading.Thread(target=watch)
        watcher.start()
        jobs = []
        for number in range(calls):
            pairs = [
                {"text": f"thing{number} {'word ' * 40}{n}", "label": f"label{number}"}
                for n in range(150)
            ]
            body = {"classifier_id": "hunted", "input": pairs}
            answer = stack.call("POST", "/v1/train", body, Prefer="respond-async")
            assert answer.status == 202, answer.body
            jobs.append(answer.json()["id"])
        for _ in range(kills):
            seen = len(stack.events("worker", "part.started"))
            stack.until(
                "a train runs",
                lambda s=seen: (
                    len(stack.events("worker", "part.started")) > s
                    or all(stack.job(j)["finished_at"] for j in jobs)
                ),
            )
            stack.kill("worker")
            stack.start("worker")
        stack.until(
            "all have ended",
            lambda: all(stack.job(j)["finished_at"] for j in jobs),
            timeout_s=120 * ROUNDS,
        )
        stop.set()
        watcher.join(60)

        assert broken == []
        assert answered == sorted(answered), "an older version after a newer one"
        assert answered[0] >= 2
        assert answered[-1] > 2
        states = [stack.job(job) for job in jobs]
        assert [s["status"] for s in states] == ["succeeded"] * calls, states
        versions = stack.call("GET", "/v1/classifiers/hunted/versions").json()["data"]
        assert [v["version"] for v in versions] == list(range(calls + 1, 0, -1))
        detail = stack.call("GET", "/v1/classifiers/hunted").json()
        counts = {entry["label"]: entry["count"] for entry in detail["labels"]}
        assert counts == {"red": 1, "green": 1, **{f"label{n}": 150 for n in range(calls)}}
        made = {stack.call("GET", f"/v1/jobs/{j}/result").json()["version"] for j in jobs}
        assert made == set(range(2, calls + 2))
