"""How long a file is kept, as a caller says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.schema_base import Schema
from shared.validation import refuse

MIN_KEPT_S = 3600


class ExpiresAfter(Schema):
    """When a file is deleted, counted from when it was made."""

    anchor: Literal["created_at"]
    seconds: int = Field(description=f"At least {MIN_KEPT_S}; the operator sets the maximum.")


def kept_s(said: ExpiresAfter | None, field: str, *, max_s: float) -> float:
    """How long a file is kept, `max_s` where nothing is said.

    Raises:
        InvalidRequest: Too short or too long.
    """
    if said is None:
        return max_s
    min_s = min(MIN_KEPT_S, max_s)
    if not min_s <= said.seconds <= max_s:
        refuse(f"{field}.seconds", f"must be from {min_s:.0f} to {max_s:.0f}")
    return float(said.seconds)
