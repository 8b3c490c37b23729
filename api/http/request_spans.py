"""A span of each request, by OpenTelemetry's conventions for HTTP servers.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/. It continues the `traceparent` of the
client, and the response carries that of the span. The path and the query are left out, for they
hold client data; the route stands for them.
"""

from __future__ import annotations

from contextlib import ExitStack
from http import HTTPMethod, HTTPStatus

from flask import Flask, Response, g, request

from shared import tracing

_UNTRACED = "/health/live"  # `api.server.liveness` asks every second


def install(app: Flask) -> None:
    """Trace requests, if this process traces; before any other middleware."""
    if not tracing.on():
        return

    @app.before_request
    def begin() -> None:
        g.span = ExitStack()
        if request.path == _UNTRACED:
            return
        known = request.method in HTTPMethod.__members__
        method = request.method if known else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": request.scheme}
        name = method if known else "HTTP"
        if request.url_rule is not None:
            attributes["http.route"] = request.url_rule.rule
            name = f"{name} {request.url_rule.rule}"
        parent = request.headers.get(tracing.HEADER)
        g.span.enter_context(
            tracing.span(name, kind="server", parent=parent, attributes=attributes)
        )

    @app.after_request
    def show(response: Response) -> Response:
        span = tracing.current()
        if span is not None:
            response.headers[tracing.HEADER] = tracing.traceparent()
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                tracing.fail(span, str(response.status_code))
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        g.span.close()
