"""Middleware of every request: request id, authentication, one log line, and metrics.

Paths under `/v1/` need a key, including unknown ones; only a browser's preflight has none. The log
and the metrics contain the route, never the path or query, which hold client data; the log contains
a client address only if no key identifies the client.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from http import HTTPStatus

from flask import Flask, Response, g, request

from api.http import cors
from api.http.rate_headers import rate_headers
from api.server.request import HOLD_S, REFUSAL
from api.services import model_warmup, quotas
from api.services.auth import Authenticator
from api.services.caller import Caller
from api.services.metrics import ApiMetrics
from api.services.quotas import Quotas
from shared import ids
from shared.errors import PigeonholeError
from shared.telemetry import Log, bound

log = Log("http")

REQUEST_ID = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def install(
    app: Flask,
    *,
    authenticator: Authenticator,
    metrics: ApiMetrics,
    limits: Quotas,
) -> None:
    """Install the middleware."""

    @app.before_request
    def enter() -> None:
        own_id = request.headers.get(REQUEST_ID, "")
        g.began = time.perf_counter()
        g.request_id = own_id if _SANE.fullmatch(own_id) else ids.request_id()
        g.context = ExitStack()
        quotas.begin_request()
        model_warmup.begin_request()
        g.context.enter_context(bound(request_id=g.request_id))
        if request.path.startswith("/v1/") and not cors.is_preflight():
            g.caller = authenticator.caller(
                request.headers.get("Authorization"), address=request.remote_addr or ""
            )
            g.context.enter_context(bound(account=g.caller.account, key_id=g.caller.key_id))
        refusal: PigeonholeError | None = request.environ.get(REFUSAL)
        if refusal is not None:
            raise refusal  # what the server found; the view would not see a whole request

    @app.after_request
    def leave(response: Response) -> Response:
        response.headers[REQUEST_ID] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.update(model_warmup.headers())
        if (quota := quotas.current()) is not None:
            response.headers.update(rate_headers(quota))
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                quota.used_tokens = 0  # failed requests cost nothing
            if quota.hold_s:
                request.environ[HOLD_S] = quota.hold_s
            limits.end(quota)
        elif "caller" in g and (shown := limits.shown(g.caller)) is not None:
            response.headers.update(rate_headers(shown))
        route = request.url_rule.rule if request.url_rule else "none"
        seconds = time.perf_counter() - g.began
        metrics.count(
            method=request.method, route=route, status=response.status_code, seconds=seconds
        )
        if route == "/health/live" and response.status_code == HTTPStatus.OK:
            return response  # `api.server.liveness` asks every second
        log.info(
            "http.request",
            method=request.method,
            route=route,
            status=response.status_code,
            ms=round(seconds * 1000, 1),
            **({} if "caller" in g else {"client": request.remote_addr}),
        )
        return response

    @app.teardown_request
    def close(_: BaseException | None) -> None:
        g.context.close()


def request_id() -> str:
    """The id of the current request."""
    return str(g.request_id)


def root() -> str:
    """The prefix of URL paths in responses; usually empty."""
    return request.script_root


def caller() -> Caller:
    """The authenticated caller of the current request."""
    found: Caller = g.caller
    return found
