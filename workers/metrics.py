"""Prometheus metrics of workers and the keeper, in the registry of the process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from shared import service_clock, telemetry
from shared.jobs import Job
from shared.types import Usage
from workers import byte_cache

WebhookOutcome = Literal["delivered", "retried", "failed"]
"""The outcome of a delivery attempt: delivered, to be retried, or given up."""

_BATCHES = Histogram(
    telemetry.FORWARD_PASS_SECONDS, "Duration of one forward pass, in seconds.", ["model"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)  # fmt: skip
_TOKENS = Counter(
    telemetry.FORWARD_PASS_TOKENS, "Tokens that a model has processed.", ["model", "kind"]
)

_JOBS = Counter(
    telemetry.JOBS_ENDED,
    "Jobs that this process has ended, by kind and final state.",
    ["kind", "state"],
)
_JOB_SECONDS = Histogram(
    telemetry.JOB_SECONDS, "Duration of a job from its start to its end, in seconds.", ["kind"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)  # fmt: skip
_ROWS = Counter(
    telemetry.ROWS,
    "Items processed: rows of batches, items of calls and of other jobs.",
    ["kind", "result"],
)
_USAGE = Counter(telemetry.USAGE_TOKENS, "Tokens charged.", ["kind", "of"])
_WEBHOOK_ATTEMPTS = Counter(
    telemetry.WEBHOOK_ATTEMPTS, "Webhook delivery attempts, by outcome.", ["outcome"]
)
_WEBHOOK_SECONDS = Histogram(
    telemetry.WEBHOOK_SECONDS, "Duration of one webhook delivery attempt, in seconds.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)  # fmt: skip
_CALL = "call"  # the kind of synchronous calls

DROPPED = Counter(
    telemetry.DROPPED, "Messages on the queues that are not doorbells and were discarded."
)
CHARGES = Counter(
    telemetry.CHARGES, "Charges of jobs and of synchronous calls that were added to statements."
)
REAPED = Counter(
    telemetry.REAPED, "Expired leases of unresponsive workers whose tasks were requeued."
)

_CACHE_BYTES = Gauge(telemetry.CACHE_BYTES, "Bytes that a cache of the worker holds.", ["cache"])
_CLOCK_OFFSET = Gauge(
    telemetry.CLOCK_OFFSET,
    "Seconds by which the clock of this machine is ahead of Redis.",
    ["role"],
)


def observer(model: str) -> Callable[[int, int, int, float], None]:
    """The microbatcher hook of a model: windows, tokens, padded tokens and seconds of each pass."""
    seconds = _BATCHES.labels(model)
    content, padding = _TOKENS.labels(model, "content"), _TOKENS.labels(model, "padding")

    def observe(windows: int, tokens: int, padded_tokens: int, duration_s: float) -> None:  # noqa: ARG001
        seconds.observe(duration_s)
        content.inc(tokens)
        padding.inc(padded_tokens - tokens)

    return observe


def job_ended(job: Job) -> None:
    """Count a job whose final record this process has written."""
    _JOBS.labels(job.kind, job.state).inc()
    if job.started_at is not None and job.finished_at is not None:
        seconds = (job.finished_at - job.started_at).total_seconds()
        _JOB_SECONDS.labels(job.kind).observe(max(0.0, seconds))
    _count(job.kind, job.progress.completed, job.progress.failed, job.usage)


def call_answered(completed: int, failed: int, usage: Usage) -> None:
    """Count the completed and the failed items of a synchronous call."""
    _count(_CALL, completed, failed, usage)


def webhook_tried(outcome: WebhookOutcome, *, seconds: float) -> None:
    """Count one webhook delivery attempt."""
    _WEBHOOK_ATTEMPTS.labels(outcome).inc()
    _WEBHOOK_SECONDS.observe(seconds)


def _count(kind: str, completed: int, failed: int, usage: Usage) -> None:
    _ROWS.labels(kind, "ok").inc(completed)
    _ROWS.labels(kind, "failed").inc(failed)
    _USAGE.labels(kind, "inputs").inc(usage.input_tokens)
    _USAGE.labels(kind, "training").inc(usage.train_tokens)
    _USAGE.labels(kind, "labels").inc(usage.label_tokens)


def serve(port: int, *, role: str) -> None:
    """Serve /metrics on a port; 0: do not serve it."""
    _CLOCK_OFFSET.labels(role).set_function(service_clock.CLOCK.offset_s)
    for name in byte_cache.NAMES:
        _CACHE_BYTES.labels(name).set_function(partial(byte_cache.total_bytes, name))
    if port:
        start_http_server(port)
