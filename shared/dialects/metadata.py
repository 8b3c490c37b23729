"""`metadata`: key-value pairs of the caller on a job or batch, for filters of lists.

The limits are those of OpenAI's batches.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

MAX_KEYS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512


def _decoded(value: object) -> object:
    """A JSON object as text, as forms and queries have it, is read."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise PydanticCustomError("value_error", "must be a JSON object of texts")
    return found


def _checked(value: dict[str, str] | None) -> dict[str, str] | None:
    if value is not None and len(value) > MAX_KEYS:
        raise PydanticCustomError(
            "value_error", f"at most {MAX_KEYS} keys are kept, got {len(value)}"
        )
    return value


def _key(key: str) -> str:
    if len(key) > MAX_KEY_CHARS:
        raise PydanticCustomError("value_error", f"a key may have {MAX_KEY_CHARS} characters")
    return key


def _text(value: str) -> str:
    if len(value) > MAX_VALUE_CHARS:
        raise PydanticCustomError("value_error", f"may have {MAX_VALUE_CHARS} characters")
    return value


Metadata = Annotated[
    dict[Annotated[str, AfterValidator(_key)], Annotated[str, AfterValidator(_text)]] | None,
    BeforeValidator(_decoded),
    AfterValidator(_checked),
    Field(
        description=f"Yours: up to {MAX_KEYS} keys of {MAX_KEY_CHARS} characters, values of "
        f"{MAX_VALUE_CHARS}. Kept with the job, which lists can be filtered by."
    ),
]
