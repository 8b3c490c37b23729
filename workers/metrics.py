"""Prometheus metrics of workers and the keeper, in the registry of the process, and their server.

Beside `/metrics` it serves `/healthz`, for probes: 200 while the loop of the process goes round,
else 503. It says nothing of Redis or the object store, for a restart repairs neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from shared import byte_cache, service_clock, telemetry
from shared.errors import ConfigurationError
from shared.jobs import Job
from shared.types import Usage

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
    amounts = completed, failed, usage.input_tokens, usage.train_tokens, usage.label_tokens
    for counter, amount in zip(_counters(kind), amounts, strict=True):
        if amount:
            counter.inc(amount)


@cache
def _counters(kind: str) -> tuple[Counter, ...]:
    """Of items with and without a result, and of the tokens of inputs, training and labels."""
    tokens = (_USAGE.labels(kind, of) for of in ("inputs", "training", "labels"))
    return (_ROWS.labels(kind, "ok"), _ROWS.labels(kind, "failed"), *tokens)


def serve(port: int, *, role: str, healthy: Callable[[], bool]) -> None:
    """Serve /metrics and /healthz on a port of every address; 0: do not serve them.

    Raises:
        ConfigurationError: The port is taken.
    """
    _CLOCK_OFFSET.labels(role).set_function(service_clock.CLOCK.offset_s)
    for name in byte_cache.NAMES:
        _CACHE_BYTES.labels(name).set_function(partial(byte_cache.total_bytes, name))
    if not port:
        return

    class Handler(_Handler):
        is_healthy = staticmethod(healthy)

    try:
        server = _Server(("", port), Handler)
    except OSError as exc:
        raise ConfigurationError(
            f"cannot serve metrics on port {port}: {exc.strerror}; set PIGEONHOLE_METRICS_PORT to "
            "a free port"
        ) from exc
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingTCPServer):  # not HTTPServer, which looks its own name up in the DNS
    allow_reuse_address = True
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    is_healthy: Callable[[], bool]
    timeout = 10  # of a client that sends nothing, in seconds

    def do_GET(self) -> None:
        """Serve one of the two paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(HTTPStatus.OK, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
        elif path == "/healthz":
            healthy = self.is_healthy()
            status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, b"ok\n" if healthy else b"starting, or its loop stands still\n")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"here are /metrics and /healthz\n")

    def _send(self, status: HTTPStatus, body: bytes, media_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the lines of probes and scrapes out of the log."""
