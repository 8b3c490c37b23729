"""Retention of a file, as requests specify it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.schema_base import Schema
from shared.validation import refuse

MIN_KEPT_S = 3600


class ExpiresAfter(Schema):
    """Time of deletion, relative to the creation of the file."""

    anchor: Literal["created_at"]
    seconds: int = Field(description=f"At least {MIN_KEPT_S}; the operator sets the maximum.")


def kept_s(expiry: ExpiresAfter | None, field: str, *, max_s: float) -> float:
    """Retention of a file in seconds; `max_s` by default.

    Raises:
        InvalidRequest: Too short or too long.
    """
    if expiry is None:
        return max_s
    min_s = min(MIN_KEPT_S, max_s)
    if not min_s <= expiry.seconds <= max_s:
        refuse(f"{field}.seconds", f"must be from {min_s:.0f} to {max_s:.0f}")
    return float(expiry.seconds)
