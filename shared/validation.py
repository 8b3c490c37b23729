"""Validation errors of requests: the field path and a plain sentence, never the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pydantic import ValidationError

from shared.errors import FieldError, InvalidRequest, PigeonholeError

MAX_SHOWN = 20  # errors listed per request; the detail says how many more there are
_SENTENCES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "extra_forbidden": "unknown field; check its spelling",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be an object",
    "string_type": "must be a string",
}


def shown(text: str, most: int = 40) -> str:
    """A key or label for use in a sentence: truncated, and encodable as UTF-8.

    >>> shown("x" * 50, 4)
    'xxx…'
    """
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.encode("utf-8", "replace").decode()


def refuse(
    field: str, message: str, error: type[PigeonholeError] = InvalidRequest, **more: Any
) -> NoReturn:
    """Raise `error` about one field.

    Raises:
        PigeonholeError: Always.
    """
    fields = (FieldError(field=field, message=message),)
    raise error(f"{field}: {message}", fields=fields, **more)


def translated(exc: ValidationError, *, keyed: frozenset[str], at: str = "") -> InvalidRequest:
    """A pydantic validation error as an `InvalidRequest`.

    Args:
        exc: The error of pydantic.
        keyed: Fields whose keys the client chooses; a path shows such keys in brackets.
        at: The field path, if only one field was validated.
    """
    faults = faults_of(exc, keyed=keyed)
    return invalid([replace(each, field=at) for each in faults] if at else faults)


def faults_of(exc: ValidationError, *, keyed: frozenset[str] = frozenset()) -> list[FieldError]:
    """The errors of pydantic as field errors; `keyed` as for `translated`."""
    return [
        FieldError(
            field=_path(fault["loc"], keyed),
            message=_sentence(fault["type"], fault["msg"], fault.get("ctx", {})),
            type=fault["type"],
        )
        for fault in exc.errors(include_url=False, include_input=False)
    ]


def invalid(faults: Sequence[FieldError]) -> InvalidRequest:
    """One error for several wrong fields: it tells the first, and lists the first `MAX_SHOWN`."""
    others = len(faults) - 1
    more = f" (and {others} more error{'s' * (others > 1)})" if others else ""
    detail = f"{faults[0].field}: {faults[0].message}{more}"
    return InvalidRequest(detail, fields=tuple(faults[:MAX_SHOWN]))


def _path(loc: tuple[int | str, ...], keyed: frozenset[str]) -> str:
    path = (
        shown(str(loc[0])) if loc else "body"
    )  # an unknown field has a name that the client chose
    for depth, step in enumerate(loc[1:], start=1):
        if depth == 1 and str(step).startswith("<"):
            continue  # the tag of a union member is not a part of the request
        if step == "[key]":
            continue  # the key itself is wrong, and precedes this step
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f"[{shown(step)}]" if loc[0] in {*keyed, "metadata"} else f".{step}"
    return path


def _sentence(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "value_error":
        return message  # from a validator of this code base
    return _SENTENCES.get(kind, "is not valid").format_map(context)


def within(place: str, error: PigeonholeError) -> PigeonholeError:
    """The same error for a field inside a larger request.

    >>> fault = FieldError(field="labels", message="is missing")
    >>> within("classify", InvalidRequest("labels: is missing", fields=(fault,))).detail
    'classify.labels: is missing'
    """
    fields = tuple(replace(each, field=f"{place}.{each.field}") for each in error.fields)
    named = bool(error.fields) and error.detail.startswith(error.fields[0].field)
    detail = f"{place}.{error.detail}" if named else error.detail
    return type(error)(detail, fields=fields, retry_after_s=error.retry_after_s)
