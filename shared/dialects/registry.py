"""The dialects, in the order in which they are matched; the native one is the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from shared.dialects import classer, classer_tag, cn8, cn8_few_shot, jina, native, openai
from shared.dialects.protocol import Dialect, ErrorDialect
from shared.errors import MessageUndecodable, PigeonholeError
from shared.validation import refuse

CLASSIFY = "/v1/classify"
_CLASSIFY: tuple[Dialect, ...] = (cn8_few_shot, cn8, classer_tag, classer, native, jina)
_ALL: tuple[ErrorDialect, ...] = (openai, *_CLASSIFY)


def pick(
    body: object, *, path: str = CLASSIFY, headers: Mapping[str, str] | None = None
) -> tuple[Dialect, dict[str, object]]:
    """The dialect of a classify body, and the body as the object that it is.

    Raises:
        InvalidRequest: It is no object, or speaks no dialect of this version.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    if path == CLASSIFY and "texts" in body and not {"input", *classer.INPUTS} & body.keys():
        refuse(
            "input",
            'is missing: send what to classify as "input", or "texts" to /v1/classify/batch',
        )
    matching = (each for each in _CLASSIFY if each.matches(path, headers or {}, body))
    return next(matching, native), cast("dict[str, object]", body)


def at(path: str, headers: Mapping[str, str]) -> ErrorDialect:
    """The dialect of the errors of a path."""
    return next((each for each in _ALL if each.matches(path, headers, None)), native)


def own_error_of(name: str) -> Callable[[PigeonholeError], PigeonholeError]:
    """How the dialect of a stored job calls the fields of its errors."""
    found = (each for each in _CLASSIFY if name == each.NAME)
    return next(found, native).own_error


def named(name: str) -> Dialect:
    """The dialect of a stored job.

    Raises:
        MessageUndecodable: A newer version of the service wrote it.
    """
    found = next((each for each in _CLASSIFY if name == each.NAME), None)
    if found is None:
        raise MessageUndecodable("the job speaks a dialect of a newer version")
    return found
