"""Drift on real processes: two workers count, one is killed, the keeper detects it and runs."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration

WORDS = {
    "delivery": ["parcel", "courier", "package", "shipment", "van", "tracking"],
    "billing": ["invoice", "refund", "charge", "payment", "receipt", "debit"],
}
OTHER = ["striker", "goal", "referee", "league", "keeper", "penalty", "coach", "stadium"]


def texts(words: list[str], count: int, seed: int) -> list[str]:
    """Texts of random words, each different."""
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(words, k=6))} {seed}{n}" for n in range(count)]


def get(stack: Stack, path: str) -> Any:
    answer = stack.call("GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


def classify(stack: Stack, sent: list[str]) -> None:
    for first in range(0, len(sent), 20):
        body = {"classifier_id": "desk", "input": sent[first : first + 20]}
        answer = stack.call("POST", "/v1/classify", body)
        assert answer.status == 200, answer.body


def counted(stack: Stack) -> int:
    return int(get(stack, "/v1/classifiers/desk/drift")["observed"]["items"])


def test_counts_survive_a_killed_worker_and_drift_starts_one_run(tmp_path: Path):
    with running_stack(tmp_path, workers=2, ready_s=240) as stack:
        examples = [
            {"text": text, "label": label}
            for label, words in WORDS.items()
            for text in texts(words, 100, seed=1)
        ]
        answer = stack.call("POST", "/v1/train", {"name": "desk", "input": examples})
        assert answer.status == 200, answer.body
        stack.call("PUT", "/v1/classifiers/desk/retraining", {"on_drift": True})

        usual = [text for words in WORDS.values() for text in texts(words, 50, seed=2)]
        classify(stack, usual)
        stack.until("all is counted", lambda: counted(stack) == 100, timeout_s=120)
        assert get(stack, "/v1/classifiers/desk/drift")["drifted"] is False
        stack.kill("worker", signal.SIGKILL)
        assert counted(stack) == 100
        stack.start_worker("worker")

        classify(stack, texts(OTHER, 100, seed=3))
        stack.until("all is counted again", lambda: counted(stack) == 200, timeout_s=120)
        found = get(stack, "/v1/classifiers/desk/drift?window=24h")
        assert found["drifted"] is True
        assert found["measures"]["embedding"]["drifted"] is True
        assert found["reference"]["items"] == 200
        runs = "/v1/classifiers/desk/retraining/runs"
        stack.until("a run", lambda: get(stack, runs)["data"], timeout_s=200)
        (run,) = get(stack, runs)["data"]
        assert run["trigger"] == "drift"
