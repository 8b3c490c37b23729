"""Filters of lists of jobs and batches, from the query of the current request."""

from __future__ import annotations

from collections.abc import Iterable

from flask import request
from pydantic import TypeAdapter, ValidationError

from shared.dialects.metadata import Metadata
from shared.validation import refuse, translated

METADATA = "metadata"
_ADAPTER: TypeAdapter[dict[str, str] | None] = TypeAdapter(Metadata)


def one_of(name: str, known: Iterable[str]) -> str | None:
    """The value of a parameter that has one of a few; None where it is not sent.

    Raises:
        InvalidRequest: It has none of them.
    """
    value = request.args.get(name)
    choices = list(known)
    if value is not None and value not in choices:
        refuse(name, f"must be one of {', '.join(choices)}")
    return value


def metadata() -> dict[str, str]:
    """What the metadata must hold: `metadata` is a JSON object, `metadata[key]` one value.

    Raises:
        InvalidRequest: The object is none of texts, or a key is in both.
    """
    found = _checked(request.args.get(METADATA))
    for name, value in request.args.items():
        if name.startswith(f"{METADATA}[") and name.endswith("]"):
            key = name[len(METADATA) + 1 : -1]
            if key in found:
                refuse(METADATA, "names a key twice; send it once")
            found[key] = value
    return _checked(found)


def _checked(value: object) -> dict[str, str]:
    try:
        return dict(_ADAPTER.validate_python(value) or {})
    except ValidationError as exc:
        raise translated(exc, at=METADATA) from None
