"""The body of an error as clients of the OpenAI API read it, and the paths where they do."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel, Field

from shared.errors import PigeonholeError

MEDIA_TYPE = "application/json"
_PATHS = ("/v1/files", "/v1/uploads", "/v1/batches")
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class OpenAIFault(BaseModel):
    """What is wrong."""

    message: str
    type: str = Field(description="The kind of error, by its status.")
    param: str | None = Field(description="The field that is wrong.")
    code: str | None = Field(description="One of ours, in lower case.")


class OpenAIError(BaseModel):
    """Every error of the calls about files and batches."""

    error: OpenAIFault


def spoken_at(path: str) -> bool:
    """Whether a path speaks this dialect.

    >>> spoken_at("/v1/files/x"), spoken_at("/v1/filesystem")
    (True, False)
    """
    return any(path == known or path.startswith(f"{known}/") for known in _PATHS)


def status_of(status: HTTPStatus) -> HTTPStatus:
    """A status as this dialect has it: a wrong value is a bad request."""
    wrong = status == HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST if wrong else status


def render(error: PigeonholeError, status: HTTPStatus) -> OpenAIError:
    """The body of an error."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    fault = OpenAIFault(
        message=error.detail,
        type=_TYPES.get(status, kind),
        param=error.fields[0].field if error.fields else None,
        code=error.code.lower(),
    )
    return OpenAIError(error=fault)
