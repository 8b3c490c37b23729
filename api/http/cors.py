"""CORS: which pages of other origins may call the API from a browser.

A browser first sends an OPTIONS request without a key (a preflight), which is answered before
authentication. It grants nothing: the call that follows needs its key. The API uses no cookies, so
`Access-Control-Allow-Credentials` is never sent.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re

from flask import Flask, Response, request

from api.http import rate_headers
from shared.cors_origins import ANY

# Those that a page may read without being told are not listed (Content-Type, Content-Length, …).
EXPOSED_HEADERS = (
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Range",
    "Date",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Vary",
    "WWW-Authenticate",
    "X-Cache",
    "X-Cache-Age",
    "X-Cache-Key",
    "X-Model",
    "X-Model-Warmup-Ms",
    "X-Engine",
    "X-Request-ID",
    "X-Tokens-Used",
    *rate_headers.NAMES,
)
_METHODS = "DELETE, GET, HEAD, PATCH, POST, PUT"
_MAX_AGE_S = 7200  # no browser remembers a preflight for longer
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,4096}")


def is_preflight() -> bool:
    """Whether the request being answered is a browser's question before a call."""
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def install(app: Flask, *, origins: frozenset[str]) -> None:
    """Answer preflights, and let pages of the origins read the answers."""

    @app.before_request
    def answer_preflight() -> Response | None:
        return Response(status=204) if is_preflight() else None

    @app.after_request
    def allow(response: Response) -> Response:
        if not origins:
            return response
        if ANY not in origins:
            response.vary.add("Origin")  # also without one: a cache must not serve it to a page
        origin = request.headers.get("Origin", "")
        if not origin or origins.isdisjoint({origin, ANY}):
            return response
        headers = response.headers
        headers["Access-Control-Allow-Origin"] = ANY if ANY in origins else origin
        if is_preflight():
            headers["Access-Control-Allow-Methods"] = _METHODS
            wanted = request.headers.get("Access-Control-Request-Headers", "")
            response.vary.add("Access-Control-Request-Headers")
            if _HEADER_NAMES.fullmatch(wanted):
                headers["Access-Control-Allow-Headers"] = wanted
            headers["Access-Control-Max-Age"] = str(_MAX_AGE_S)
        else:
            headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)
        return response
