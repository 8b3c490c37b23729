"""Validation errors of requests: the field path and a plain sentence, never the value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

from pydantic import ValidationError

from shared.errors import FieldError, InvalidRequest, NotFound, PigeonholeError

MAX_SHOWN = 20  # errors listed per request; the detail says how many more there are
KEYED = frozenset(
    {
        "aliases",
        "descriptions",
        "examples",
        "label_descriptions",
        "labels",
        "metadata",
        "threshold",
    }
)
"""Fields whose keys the client chooses; a field path has such keys in brackets."""
_SENTENCES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "extra_forbidden": "unknown field; check its spelling",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be an object",
    "string_type": "must be a string",
    "string_unicode": "has half of a surrogate pair; send complete characters",
    "too_long": "must hold at most {max_length}; send fewer",
    "too_short": "must hold at least {min_length}",
    "tuple_type": "must be a list",
}


def shown(text: str, most: int = 40) -> str:
    """A key or label for use in a sentence: truncated, and encodable as UTF-8.

    >>> shown("x" * 50, 4)
    'xxx…'
    """
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.encode("utf-8", "replace").decode()


def inner(path: str, step: int | str, *, keyed: bool = True) -> str:
    """The field path of an entry of a list or object; `keyed` if the client chooses the keys.

    >>> inner("labels", "topic"), inner("labels", ""), inner("input[0]", "text", keyed=False)
    ('labels[topic]', 'labels[""]', 'input[0].text')
    """
    if isinstance(step, str) and not keyed:
        return f"{path}.{shown(step)}"
    key = str(step) if isinstance(step, int) else shown(step) or '""'
    return f"{path}[{key}]"


def refuse(
    field: str, message: str, error: type[PigeonholeError] = InvalidRequest, **more: Any
) -> NoReturn:
    """Raise `error` about one field.

    Raises:
        PigeonholeError: Always.
    """
    fields = (FieldError(field=field, message=message),)
    raise error(f"{field}: {message}", fields=fields, **more)


@contextmanager
def found_by(field: str) -> Iterator[None]:
    """Let a NotFound of the block name the field that has the reference.

    Raises:
        NotFound: What the block looks up is not there.
    """
    try:
        yield
    except NotFound as exc:
        if exc.fields:
            raise
        refuse(field, exc.detail, NotFound)


def refuse_lone_surrogates(body: object, *, schema_checks: str | None = None) -> None:
    """Find, without recursion, the first string of a JSON value that is not valid Unicode text.

    Args:
        body: The value of a whole body.
        schema_checks: The field whose strings the schema checks instead, so that it can tell which
            item is wrong.

    Raises:
        InvalidRequest: There is one; the message names the place.
    """
    if isinstance(body, dict) and schema_checks:
        body = {**body, schema_checks: None}
    waiting = [("", body, False)]  # path, value, whether the client chooses the keys within
    while waiting:
        path, value, keyed = waiting.pop()
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                refuse(path or "body", "has half of a surrogate pair; send complete characters")
        elif isinstance(value, list):
            waiting += (
                (inner(path, i), each, keyed) for i, each in reversed(list(enumerate(value)))
            )
        elif isinstance(value, dict):
            for key, each in reversed(value.items()):
                place = inner(path, key, keyed=keyed) if path else shown(key)
                inside = keyed or (not path and key in KEYED)
                waiting += ((place, each, inside), (place, key, False))


def translated(exc: ValidationError, *, at: str = "") -> InvalidRequest:
    """A pydantic validation error as an `InvalidRequest`.

    Args:
        exc: The error of pydantic.
        at: The field path, if only one field was validated.
    """
    faults = faults_of(exc)
    return invalid([replace(each, field=at) for each in faults] if at else faults)


def faults_of(exc: ValidationError) -> list[FieldError]:
    """The errors of pydantic as field errors."""
    return [
        FieldError(
            field=_path(fault["loc"]),
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


def _path(loc: tuple[int | str, ...]) -> str:
    path = shown(str(loc[0])) if loc else "body"  # the client chose the name of an unknown field
    for depth, step in enumerate(loc[1:], start=1):
        if depth == 1 and str(step).startswith("<"):
            continue  # the tag of a union member is not a part of the request
        if step == "[key]":
            continue  # the key itself is wrong, and precedes this step
        path = inner(path, step, keyed=loc[0] in KEYED)
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
    return error.worded(detail, fields)
