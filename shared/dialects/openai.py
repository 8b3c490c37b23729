"""The dialect of the OpenAI API: its paths, and its errors.

`api.schemas.openai` has its files, uploads and batches. It has no classify call, so it neither
parses nor renders one.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel

from shared.dialects.problem import OpenAIFault, fault_of
from shared.dialects.protocol import FailedCall, Rendered
from shared.errors import IdempotencyKeyReused, PigeonholeError

NAME = "openai"
_PATHS = ("/v1/files", "/v1/uploads", "/v1/batches")


class OpenAIError(BaseModel):
    """Every error of the calls about files and batches."""

    error: OpenAIFault


ERROR: type[BaseModel] = OpenAIError


def matches(path: str, headers: Mapping[str, str], body: object = None) -> bool:
    """Whether a path is of this API.

    >>> matches("/v1/files/x", {}), matches("/v1/filesystem", {})
    (True, False)
    """
    del headers, body
    return any(path == known or path.startswith(f"{known}/") for known in _PATHS)


def render_error(error: PigeonholeError, call: FailedCall) -> Rendered:
    """The answer of a call that failed: a wrong value is a bad request here.

    An `Idempotency-Key` that is used for another request is 422 here too, as its draft standard has
    it.
    """
    status, wrong = call.status, call.status == HTTPStatus.UNPROCESSABLE_ENTITY
    if wrong and not isinstance(error, IdempotencyKeyReused):
        status = HTTPStatus.BAD_REQUEST
    body = OpenAIError(error=fault_of(error, status))
    return Rendered(body=body, headers={"Content-Type": "application/json"}, status=status)
