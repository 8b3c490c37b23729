"""The request to retry a batch, as a caller sends it."""

from __future__ import annotations

from pydantic import ConfigDict, Field, ValidationError

from api.schemas import body as json_body
from shared.batches import RetryRows
from shared.schema_base import Schema
from shared.validation import refuse, translated

DEFAULT: RetryRows = "retryable"


class RetryBody(Schema):
    """Which rows of a batch are run again."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    rows: RetryRows = Field(
        DEFAULT,
        description="`retryable` (default): rows that did not begin, and rows whose error a retry "
        "can cure. `all`: every row without a result.",
    )


def parse(data: bytes) -> RetryRows:
    """Which rows a body asks for; an empty body asks for what an empty object does.

    Raises:
        InvalidRequest: It is no JSON object of that shape.
    """
    if not data:
        return DEFAULT
    said = json_body.parse(data)
    if not isinstance(said, dict):
        refuse("body", "must be a JSON object, or empty")
    try:
        return RetryBody.model_validate(said).rows
    except ValidationError as exc:
        raise translated(exc, keyed=frozenset()) from None
