"""What Prometheus reads of a worker and a keeper that have worked."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.test_batches import ended, start
from tests.ops.monitoring import QUERIES, labels_of, values_of
from tests.servers import HOST, free_port
from tests.stack import LABELS, Stack, running_stack
from tests.third_party_servers import stranger
from tests.webhook_receiver import Receiver

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> Samples:
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver("500 Internal Server Error", "200 OK")


@pytest.fixture
def measured(tmp_path: Path, receiver: Receiver) -> Iterator[tuple[Stack, int, int, str]]:
    """A service, the ports of the metrics of its worker and its keeper, and a receiver's URL."""
    worker, keeper = free_port(), free_port()
    with (
        stranger(receiver) as server,
        running_stack(
            tmp_path, fetch_networks="127.0.0.0/8", fetch_ports=server.port, audit_s=2
        ) as stack,
    ):
        for name, port in (("worker", worker), ("keeper", keeper)):
            stack.kill(name, signal.SIGTERM)
            stack.start(name, metrics_port=port)
        stack.until_ready()
        yield stack, worker, keeper, server.url("/hook")


def unanswered(samples: Samples) -> set[str]:
    """The queries of alerts and of the dashboard for which there is no series."""
    served = [(name, dict(labels)) for name, labels in samples]

    def has(metric: str, labels: set[str], equal: dict[str, str]) -> bool:
        return any(
            name == metric and labels <= found.keys() and equal.items() <= found.items()
            for name, found in served
        )

    return {
        f"{place}: {metric}"
        for place, query in QUERIES.items()
        for metric, labels in labels_of(query).items()
        if metric != "up"  # Prometheus makes it; and no call was refused yet
        and not has(
            metric,
            labels,
            {k: v for of, k, v in values_of(query) if of == metric and k != "status"},
        )
    }


def test_batches_rows_tokens_trainings_and_webhooks_are_counted(
    measured: tuple[Stack, int, int, str], receiver: Receiver
):
    stack, worker_port, keeper_port, url = measured
    stack.until("a call", lambda: stack.classify().status == 200)
    before = scrape(worker_port)

    made = stack.call("POST", "/v1/webhooks", {"url": url})
    assert made.status == 201, made.body
    call = stack.classify(["a red rose", ""], errors="per_item")
    lesson = [{"text": "a red rose", "label": "red"}, {"text": "green grass", "label": "green"}]
    trained = stack.call("POST", "/v1/train", {"input": lesson})
    assert trained.status == 200, trained.body
    rows = b'{"id": "1", "text": "a red rose"}\n{"id": "2", "text": ""}\n{"id": "3", "text": "x"}'
    batch = ended(stack, start(stack, rows, classify={"labels": LABELS}))
    stack.until("the webhook was told", lambda: len(receiver.messages) >= 3)

    after = scrape(worker_port)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("pigeonhole_jobs_ended_total", kind="batch", state="succeeded") == 1
    assert grown("pigeonhole_jobs_ended_total", kind="train", state="succeeded") == 1
    assert grown("pigeonhole_job_seconds_count", kind="train") == 1
    assert grown("pigeonhole_job_seconds_sum", kind="train") > 0
    for kind, ok, failed in (("batch", 2, 1), ("call", 1, 1), ("train", 2, 0)):
        assert grown("pigeonhole_rows_total", kind=kind, result="ok") == ok, kind
        assert grown("pigeonhole_rows_total", kind=kind, result="failed") == failed, kind
    charged = {
        "batch": batch["usage"]["total_tokens"],
        "call": call.json()["usage"]["total_tokens"],
        "train": trained.json()["usage"]["total_tokens"],
    }
    for kind, tokens in charged.items():
        parts = [
            grown("pigeonhole_usage_tokens_total", kind=kind, of=of)
            for of in ("inputs", "labels", "training")
        ]
        assert sum(parts) == tokens > 0, kind

    def tried(outcome: str) -> float:
        samples = scrape(keeper_port)
        return value(samples, "pigeonhole_webhook_attempts_total", outcome=outcome)

    stack.until("both are delivered", lambda: tried("delivered") == 2)
    told = scrape(keeper_port)
    assert (tried("retried"), tried("failed")) == (1, 0)
    assert value(told, "pigeonhole_webhook_attempt_seconds_count") == 3
    assert unanswered(after | told | scrape(stack.port)) == set()
