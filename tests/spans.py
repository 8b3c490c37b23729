"""Spans in memory, for tests of traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@contextmanager
def exporting() -> Iterator[InMemorySpanExporter]:
    """Trace into memory during the block."""
    made = InMemorySpanExporter()
    tracing.export_to(made, process="test")
    yield made
    tracing.stop()


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def ended(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """The spans by name, once they have been handed over."""
    tracing.stop()
    return {span.name: span for span in exporter.get_finished_spans()}
