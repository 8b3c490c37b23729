"""Error handlers: an error becomes a response with its status, in the dialect of the path."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote, urlsplit

from flask import Flask, Response, redirect, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from api.http import middleware
from api.schemas import body
from api.server.request import HOLD_S
from api.services import quotas
from shared import errors
from shared.dialects import registry
from shared.dialects.problem import SDK_HEADER
from shared.dialects.protocol import FailedCall
from shared.errors import PigeonholeError
from shared.statuses import STATUS
from shared.telemetry import Log

log = Log("problems")


def install(app: Flask) -> None:
    """Let every error of the app, Flask's own included, leave as a problem."""
    app.register_error_handler(PigeonholeError, answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, answer)
    app.after_request(_relative)


def answer(error: Exception, status: HTTPStatus | None = None) -> Response:
    """The HTTP answer of an error; `status` overrules the table."""
    known = error if isinstance(error, PigeonholeError) else PigeonholeError(str(error))
    status = status or STATUS[type(known)]
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", exc=error)
        known = PigeonholeError(
            f"internal error; the log of the service has the cause under {middleware.request_id()}"
        )
    call = FailedCall(
        status=status,
        path=request.path,
        root=middleware.root(),
        request_id=middleware.request_id(),
        headers=dict(request.headers),
        accepts=frozenset(kind for kind, _ in request.accept_mimetypes),
    )
    rendered = registry.at(call.path, call.headers).render_error(known, call)
    response = Response(
        body.dump(rendered.body), status=rendered.status, headers=dict(rendered.headers)
    )
    response.vary.update(("Accept", SDK_HEADER))
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pigeonhole"'
    if isinstance(known, errors.ContentEncodingNotSupported):
        response.headers["Accept-Encoding"] = ", ".join(known.supported) or "identity"
    if isinstance(known, errors.RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{known.size}"
    if isinstance(known, errors.TooManyWrongKeys):
        request.environ[HOLD_S] = quotas.HOLD_S
    may_pass = known.retryable and status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }
    if known.retry_after_s is not None or may_pass:
        response.headers["Retry-After"] = str(max(1, known.retry_after_s or 1))
    return response


def _answer_http(error: HTTPException) -> BaseResponse:
    """What Flask and Werkzeug raise: unknown paths, wrong methods, their redirects."""
    status = HTTPStatus(error.code or 500)
    if status < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    if status == HTTPStatus.NOT_FOUND and (other := _without_slash()) is not None:
        return redirect(other, HTTPStatus.PERMANENT_REDIRECT)
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    known: PigeonholeError
    if status == HTTPStatus.NOT_FOUND:
        known = errors.NotFound("this path does not exist")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        known = errors.MethodNotAllowed(f"this path supports {allowed}")
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        known = errors.InvalidRequest("the request is not valid HTTP for this path")
    else:
        known = PigeonholeError("")
    response = answer(known, status)
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _without_slash() -> str | None:
    """Where the path of a request exists without its slash at the end, relative to it.

    Calls that change something are not redirected: without the slash they may be of all objects.
    """
    head, slash, last = request.path[:-1].rpartition("/")
    adapter = request_ctx.url_adapter
    if request.method not in {"GET", "HEAD"} or not request.path.endswith("/") or adapter is None:
        return None
    if not adapter.test(f"{head}{slash}{last}", "GET"):
        return None
    query = request.query_string.decode("latin-1")
    return f"../{quote(last)}" + (f"?{query}" if query else "")


def _relative(response: Response) -> Response:
    """Take scheme and host out of a redirect of the routing: a proxy may not forward its own.

    Flask calls no error handler for such a redirect.
    """
    if response.status_code == HTTPStatus.PERMANENT_REDIRECT:
        location = urlsplit(response.headers["Location"])._replace(scheme="", netloc="").geturl()
        response.headers["Location"] = location
        response.set_data(b"")
    return response
