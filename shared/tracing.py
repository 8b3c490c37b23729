"""Distributed traces by OpenTelemetry, off unless `PIGEONHOLE_OTLP_ENDPOINT` is set.

The only module that imports OpenTelemetry, and only in `start`. While tracing is off, nothing is
sent, and each function returns after one comparison.

Spans hold names of routes, models and kinds, ids of jobs, counts and times. They never hold a text,
key or label, nor the messages of exceptions, which may quote one. A trace travels between
processes as a `traceparent` (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as Span
    from opentelemetry.trace import Tracer

HEADER = "traceparent"
QUEUE_WAIT = "pigeonhole.queue.wait_s"
"""The attribute with the time that a call or a task waited on its queue, in seconds."""
Kind = Literal["internal", "server", "producer", "consumer"]
Attributes = Mapping[str, str | int | float]

_EXPORT_TIMEOUT_S = 2.0  # an unreachable collector delays the end of a process by no more
_OFF: AbstractContextManager[None] = nullcontext()
_provider: TracerProvider | None = None
_tracer: Tracer | None = None
_current: ContextVar[Span | None] = ContextVar("span", default=None)


def check(endpoint: str) -> None:
    """Check that traces can be sent to an endpoint; empty: none are sent.

    Raises:
        ConfigurationError: It is not an HTTP URL, or the extra `tracing` is not installed.
    """
    if not endpoint:
        return
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"PIGEONHOLE_OTLP_ENDPOINT is {endpoint!r}; it must be the HTTP URL of a collector, "
            "such as http://collector:4318"
        )
    try:
        installed = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        installed = False
    if not installed or find_spec("opentelemetry.sdk") is None:
        raise ConfigurationError(
            "PIGEONHOLE_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: "
            "pip install 'pigeonhole-server[tracing]'"
        )


def start(process: str, endpoint: str) -> None:
    """Trace in this process, as the service `pigeonhole-<process>`; only mains call it.

    Raises:
        ConfigurationError: As for `check`.
    """
    check(endpoint)
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = f"{endpoint.rstrip('/')}/v1/traces"
    export_to(OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT_S), process=process)


def export_to(exporter: SpanExporter, *, process: str) -> None:
    """Trace in this process, and give the spans to an exporter."""
    global _provider, _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"pigeonhole-{process}"})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("pigeonhole")


def stop() -> None:
    """Send the spans that have ended, and trace no more."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def current() -> Span | None:
    """The span of the work that this thread does."""
    return None if _tracer is None else _current.get()


def traceparent() -> str | None:
    """What continues the trace of the current span in another process."""
    span = current()
    if span is None:
        return None
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def begin(
    name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes
) -> Span | None:
    """Begin a span, which any thread may `end`.

    Args:
        name: one of few.
        kind: its role among the processes.
        parent: the `traceparent` that another process or a client sent; a malformed one counts as
            none. Without one, the current span is the parent, or a new trace begins.
        attributes: known at the start.
    """
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind

    context = _context_of(_current.get()) if parent is None else _remote(parent)
    return _tracer.start_span(
        name, context, kind=SpanKind[kind.upper()], attributes=dict(attributes)
    )


def end(span: Span | None, *, error: str | None = None) -> None:
    """End a span, with the `error` as for `fail`, if there is one."""
    if span is None:
        return
    if error is not None:
        fail(span, error)
    span.end()


def fail(span: Span, error: str) -> None:
    """Mark a span as failed; the error is a class or code of few, never a message."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def using(span: Span | None) -> AbstractContextManager[None]:
    """Make a span the current one of this thread, inside."""
    return _OFF if span is None else _using(span)


def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes
) -> AbstractContextManager[None]:
    """A current span of what runs inside, as `begin`; an exception is its error."""
    if _tracer is None:
        return _OFF
    return _spanning(begin(name, kind=kind, parent=parent, attributes=attributes))


def forward_pass(
    model: str, served: Iterable[Span | None], *, windows: int
) -> AbstractContextManager[None]:
    """A span of the forward pass that runs inside, unless it serves no traced work.

    It is a child of the first span that it serves, and linked to each further one.
    """
    if _tracer is None:
        return _OFF
    from opentelemetry.trace import Link

    spans = list({id(span): span for span in served if span and span.is_recording()}.values())
    if not spans:
        return _OFF
    attributes: dict[str, str | int] = {"pigeonhole.model": model, "pigeonhole.windows": windows}
    links = [Link(span.get_span_context()) for span in spans[1:]]
    context = _context_of(spans[0])
    return _spanning(
        _tracer.start_span("forward pass", context, attributes=attributes, links=links)
    )


def _context_of(span: Span | None) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import set_span_in_context

    return Context() if span is None else set_span_in_context(span, Context())


def _remote(parent: str) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent}, Context())


@contextmanager
def _using(span: Span) -> Iterator[None]:
    mark = _current.set(span)
    try:
        yield
    finally:
        _current.reset(mark)


@contextmanager
def _spanning(span: Span | None) -> Iterator[None]:
    try:
        with using(span):
            yield
    except BaseException as exc:
        end(span, error=type(exc).__name__)
        raise
    end(span)
