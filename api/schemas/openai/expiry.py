"""How long a file is kept, as a caller says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.schema_base import Schema
from shared.validation import refuse

LEAST_KEPT_S = 3600


class ExpiresAfter(Schema):
    """When a file is deleted, counted from when it was made."""

    anchor: Literal["created_at"]
    seconds: int = Field(description=f"At least {LEAST_KEPT_S}; the operator sets the most.")


def kept_s(said: ExpiresAfter | None, field: str, *, most_s: float) -> float:
    """How long a file is kept, `most_s` where nothing is said.

    Raises:
        InvalidRequest: Too short or too long.
    """
    if said is None:
        return most_s
    least_s = min(LEAST_KEPT_S, most_s)
    if not least_s <= said.seconds <= most_s:
        refuse(f"{field}.seconds", f"must be from {least_s:.0f} to {most_s:.0f}")
    return float(said.seconds)
