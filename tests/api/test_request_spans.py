"""Spans of requests, by the conventions for HTTP."""

from __future__ import annotations

from flask import Flask, Response, stream_with_context
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from api.http import request_spans
from shared import tracing
from tests.spans import PARENT


def client_of_app() -> FlaskClient:
    app = Flask("test", static_folder=None)
    request_spans.install(app)

    @app.get("/things/<name>")
    def thing(name: str) -> str:
        return tracing.traceparent() or "none"

    @app.get("/broken")
    def broken() -> tuple[str, int]:
        return "sorry", 503

    @app.get("/streamed")
    def streamed() -> Response:
        return Response(stream_with_context(iter(["a", "b"])))

    return app.test_client()


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    tracing.stop()
    (span,) = exporter.get_finished_spans()
    return span


def test_a_request_is_a_server_span_of_its_route(exporter: InMemorySpanExporter) -> None:
    answer = client_of_app().get("/things/secret?query=secret", headers={"traceparent": PARENT})

    span = only(exporter)
    assert answer.text == answer.headers["traceparent"]
    assert answer.text.startswith(PARENT[:36])
    assert span.name == "GET /things/<name>"
    assert span.kind is SpanKind.SERVER
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/things/<name>",
        "url.scheme": "http",
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert "secret" not in span.to_json()


def test_a_failure_of_the_server_is_an_error(exporter: InMemorySpanExporter) -> None:
    client_of_app().get("/broken")

    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "503"


def test_unknown_paths_and_methods_make_no_names(exporter: InMemorySpanExporter) -> None:
    client_of_app().open("/secret", method="SECRET")

    span = only(exporter)
    assert span.name == "HTTP"
    assert span.attributes is not None
    assert span.attributes["http.request.method"] == "_OTHER"
    assert "http.route" not in span.attributes


def test_a_stream_is_traced_to_its_end(exporter: InMemorySpanExporter) -> None:
    answer = client_of_app().get("/streamed")

    assert answer.text == "ab"
    assert only(exporter).name == "GET /streamed"
    assert tracing.current() is None


def test_while_tracing_is_off_no_middleware_is_installed() -> None:
    answer = client_of_app().get("/things/a", headers={"traceparent": PARENT})

    assert answer.text == "none"
    assert "traceparent" not in answer.headers
