"""The request to retry a batch."""

from __future__ import annotations

from pydantic import ConfigDict, Field, ValidationError

from api.schemas import body as json_body
from shared.batches import RetryRows
from shared.schema_base import Schema
from shared.validation import refuse, translated

DEFAULT: RetryRows = "retryable"


class RetryBody(Schema):
    """Rows of a batch to run again."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    rows: RetryRows = Field(
        DEFAULT,
        description="`retryable` (default): rows that did not begin, and rows whose error a retry "
        "can cure. `all`: every row without a result.",
    )


def parse(data: bytes) -> RetryRows:
    """The rows that a body requests; an empty body is the same as an empty object.

    Raises:
        InvalidRequest: It is no JSON object of that shape.
    """
    if not data:
        return DEFAULT
    fields = json_body.parse(data)
    if not isinstance(fields, dict):
        refuse("body", "must be a JSON object, or empty")
    try:
        return RetryBody.model_validate(fields).rows
    except ValidationError as exc:
        raise translated(exc) from None
