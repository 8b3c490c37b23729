"""What a worker measures of itself, in the process's own Prometheus registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from shared import service_clock, telemetry

_BATCHES = Histogram(
    telemetry.BATCH_SECONDS, "Seconds of one forward pass.", ["model"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)  # fmt: skip
_TOKENS = Counter(telemetry.BATCH_TOKENS, "Tokens that went through a model.", ["model", "kind"])

DROPPED = Counter(telemetry.DROPPED, "Messages of queues that were no doorbells.")
REAPED = Counter(telemetry.REAPED, "Leases of silent workers that were given to others.")

_CLOCK_OFFSET = Gauge(
    telemetry.CLOCK_OFFSET, "Seconds that this machine's clock is ahead of Redis.", ["role"]
)


def observer(model: str) -> Callable[[int, int, int, float], None]:
    """The hook of a model's batcher: windows, tokens, padded tokens and seconds of each pass."""
    seconds = _BATCHES.labels(model)
    content, padding = _TOKENS.labels(model, "content"), _TOKENS.labels(model, "padding")

    def observe(windows: int, tokens: int, padded_tokens: int, took_s: float) -> None:  # noqa: ARG001
        seconds.observe(took_s)
        content.inc(tokens)
        padding.inc(padded_tokens - tokens)

    return observe


def serve(port: int, *, role: str) -> None:
    """Answer /metrics on the port; 0: nowhere."""
    _CLOCK_OFFSET.labels(role).set_function(service_clock.CLOCK.offset_s)
    if port:
        start_http_server(port)
