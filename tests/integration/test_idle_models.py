"""The two bundled models in one worker that offloads what is idle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_batches import batch, ended, start, table
from tests.stack import Stack, running_stack
from workers.process_memory import rss_bytes

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ENGLISH, WIDE = "all-MiniLM-L6-v2", "universal-sentence-encoder-multilingual-v3"
IDLE_S = 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("idle")
    with running_stack(
        folder,
        ready_s=200,
        catalogue="",
        default_model=ENGLISH,
        models=f"{ENGLISH},{WIDE}",
        model_idle_s=IDLE_S,
    ) as running:
        yield running


def models(stack: Stack) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in stack.call("GET", "/v1/models").json()["data"]}


def state(stack: Stack, name: str) -> str:
    return str(models(stack)[name]["state"])


def ready(stack: Stack) -> dict[str, Any]:
    return dict(stack.call("GET", "/health/ready").json())


@pytest.mark.timeout(400)
def test_idle_models_are_offloaded_and_loaded_again(stack: Stack):
    assert state(stack, WIDE) == "cold"
    assert models(stack)[WIDE]["available"]
    assert models(stack)[WIDE]["last_used"] is None

    # The first request waits and says for how long; the second one does not.
    first = stack.classify("Die Rose ist rot", model=WIDE)
    assert first.status == 200, first.body
    assert 0 < int(first.headers["x-model-warmup-ms"]) < 30_000
    stack.until("the report tells", lambda: state(stack, WIDE) == "loaded", timeout_s=60)
    second = stack.classify("Die Rose ist rot", model=WIDE)
    assert "x-model-warmup-ms" not in second.headers
    assert second.json()["data"] == first.json()["data"]
    assert models(stack)[WIDE]["last_used"] > 0

    # Probes of readiness keep no model in memory, and a cold one is no fault.
    used = stack.classify("The rose is red")
    assert used.status == 200
    stack.until(
        "both are offloaded",
        lambda: ready(stack)["models"] == {ENGLISH: "cold", WIDE: "cold"},
        timeout_s=IDLE_S + 20,
    )
    assert ready(stack)["ready"]
    assert len(stack.events("worker", "model.offloaded")) >= 3  # one of them at the start

    # A caller that does not wait is told when to come again, and finds the model loaded then.
    refused = stack.classify("The rose is red", headers={"Prefer": "wait=0"})
    assert refused.status == 503, refused.body
    assert int(refused.headers["retry-after"]) >= 1
    assert "is not in memory" in refused.json()["detail"]
    stack.until("it is loaded", lambda: state(stack, ENGLISH) == "loaded", timeout_s=120)
    again = stack.classify("The rose is red")
    assert again.json()["data"] == used.json()["data"]
    assert "x-model-warmup-ms" not in again.headers


@pytest.mark.timeout(300)
def test_a_job_and_a_batch_say_that_they_wait_for_their_model(stack: Stack):
    stack.until("it is cold", lambda: state(stack, WIDE) == "cold", timeout_s=IDLE_S + 30)
    job_id = stack.submit("Die Rose ist rot", model=WIDE)
    batch_id = start(stack, table(50), classify={"labels": ["red", "green"], "model": WIDE})
    waiting = {stack.job(job_id)["waiting_for"], batch(stack, batch_id)["progress"]["waiting_for"]}
    assert waiting == {f"the model {WIDE}, which a worker loads into memory"}
    final = ended(stack, batch_id, timeout_s=120)
    assert final["status"] == "completed"
    assert final["request_counts"]["completed"] == 50
    assert (stack.job(job_id)["status"], stack.job(job_id)["waiting_for"]) == ("succeeded", None)


def test_offloading_gives_memory_back(stack: Stack):
    def rss_mib() -> float:
        pages = Path(f"/proc/{stack.processes['worker'].pid}/statm").read_text().split()[1]
        return int(pages) * 4096 / 2**20

    assert rss_bytes() > 0
    stack.classify("The rose is red")
    stack.classify("Die Rose ist rot", model=WIDE)
    with_both = rss_mib()
    stack.until(
        "both are offloaded",
        lambda: state(stack, WIDE) == state(stack, ENGLISH) == "cold",
        timeout_s=IDLE_S + 30,
    )
    stack.until(
        f"memory falls from {with_both:.0f} MiB", lambda: rss_mib() < with_both - 80, timeout_s=30
    )
