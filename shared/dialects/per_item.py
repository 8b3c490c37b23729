"""Invalid items of a body, separated from the valid ones if the request has `errors: per_item`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from shared.errors import FieldError
from shared.messages import failure_of
from shared.types import FailedItem
from shared.validation import faults_of, invalid


def set_aside(
    body: dict[str, Any], exc: ValidationError
) -> tuple[dict[str, Any], tuple[FailedItem, ...]]:
    """The body with an empty text at the place of each wrong item, and what is wrong with them.

    Args:
        body: A classify body that was refused.
        exc: Why it was.

    Raises:
        InvalidRequest: The body does not ask for errors per item, or something else is wrong.
    """
    faults = faults_of(exc)
    places = [each["loc"] for each in exc.errors(include_url=False, include_input=False)]
    items = body.get("input")
    if isinstance(items, dict):
        items = [items]
    if body.get("errors") != "per_item" or not isinstance(items, list):
        raise invalid(faults)
    wrong: dict[int, list[FieldError]] = {}
    for place, fault in zip(places, faults, strict=True):
        if len(place) < 2 or place[0] != "input" or not isinstance(place[1], int):
            raise invalid(faults)
        wrong.setdefault(place[1], []).append(fault)
    kept = ["" if index in wrong else item for index, item in enumerate(items)]
    refused = tuple(
        FailedItem(index=index, failure=failure_of(invalid(found)))
        for index, found in sorted(wrong.items())
    )
    return {**body, "input": kept}, refused
