"""The one table of statuses, and the one body in which an error leaves the service.

The body is RFC 9457 (`type` … `instance`) and holds beside it the fields that clients of other
services read: `code`, `request_id`, `errors` and `error`, `message`. The paths of the OpenAI API
have another body, which is theirs; an SDK of OpenAI gets an object in `error` on every path.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from flask import Flask, Response, request
from pydantic import BaseModel, Field
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from api.http import content_encoding, middleware
from api.schemas import body
from api.schemas.openai import error as openai
from shared import errors
from shared.errors import PigeonholeError
from shared.statuses import STATUS
from shared.telemetry import Log

log = Log("problems")

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One wrong field; `input` is always null, because values are not repeated."""

    field: str
    message: str
    type: str
    input: None = None


class Problem(BaseModel):
    """Every error of the service."""

    type: str = Field(description="Names the kind of error; resolves to a sentence about it.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
    instance: str = Field(description="The path that was called.")
    code: str
    request_id: str
    error: str | openai.OpenAIFault = Field(
        description="`code`, spelt as in `type`; an object for the SDKs of OpenAI, which send "
        f"`{openai.SDK_HEADER}`."
    )
    message: str = Field(description="The same as `detail`.")
    errors: list[FieldProblem]


# As RFC 9110 calls them; Python has these names from 3.13 on.
_RENAMED = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Range Not Satisfiable",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


def install(app: Flask) -> None:
    """Let every error of the app, Flask's own included, leave as a problem."""
    app.register_error_handler(PigeonholeError, answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, answer)


def answer(error: Exception, status: HTTPStatus | None = None) -> Response:
    """The HTTP answer of an error; `status` overrules the table."""
    known = error if isinstance(error, PigeonholeError) else PigeonholeError(str(error))
    status = status or STATUS[type(known)]
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", exc=error)
        known = PigeonholeError(
            f"something went wrong in the service; its log knows more of {middleware.request_id()}"
        )
    if openai.spoken_at(request.path):
        status = openai.status_of(known, status)
        said, media_type = body.dump(openai.render(known, status)), openai.MEDIA_TYPE
    else:
        said, media_type = body.dump(_problem(known, status)), _media_type()
    response = Response(said, status=status, content_type=media_type)
    response.vary.update(("Accept", openai.SDK_HEADER))
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pigeonhole"'
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        response.headers["Accept-Encoding"] = ", ".join(content_encoding.DECODED)
    if isinstance(known, errors.RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{known.size}"
    if known.retry_after_s is not None or status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }:
        response.headers["Retry-After"] = str(max(1, known.retry_after_s or 1))
    return response


def slug(code: str) -> str:
    """A code as it stands in a URL.

    >>> slug("VALIDATION_ERROR")
    'validation-error'
    """
    return code.lower().replace("_", "-")


def _problem(error: PigeonholeError, status: HTTPStatus) -> Problem:
    for_openai = openai.SDK_HEADER in request.headers
    return Problem(
        type=f"{middleware.root()}/errors/{slug(error.code)}",
        title=_RENAMED.get(status, status.phrase),
        status=status,
        detail=error.detail,
        instance=quote((middleware.root() + request.path)[:200], errors="replace"),
        code=error.code,
        request_id=middleware.request_id(),
        error=openai.fault_of(error, status) if for_openai else slug(error.code),
        message=error.detail,
        errors=[FieldProblem(field=f.field, message=f.message, type=f.type) for f in error.fields],
    )


def _answer_http(error: HTTPException) -> BaseResponse:
    """What Flask and Werkzeug raise: unknown paths, wrong methods, their redirects."""
    status = HTTPStatus(error.code or 500)
    if status < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    known: PigeonholeError
    if status == HTTPStatus.NOT_FOUND:
        known = errors.NotFound("there is nothing at this path")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        known = errors.MethodNotAllowed(f"this path answers to {allowed}")
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        known = errors.InvalidRequest("the request is not fit for HTTP as this path speaks it")
    else:
        known = PigeonholeError("")
    response = answer(known, status)
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _media_type() -> str:
    """`application/json` where Accept names only that, else the problem type."""
    accepted = {kind for kind, _ in request.accept_mimetypes}
    return "application/json" if accepted == {"application/json"} else MEDIA_TYPE
