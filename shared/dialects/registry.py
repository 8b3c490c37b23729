"""Which dialect a body speaks, and which one a stored job spoke."""

from __future__ import annotations

from typing import Any, Protocol, cast

from shared.dialects import jina
from shared.dialects.requested import UnresolvedRequest
from shared.errors import MessageUndecodable
from shared.types import ClassifyRequest, ClassifyResult
from shared.validation import refuse

_OTHERS = ("text", "texts", "file", "image")  # what further dialects call their input


class Dialect(Protocol):
    """A pure translation: a body to what it asks for, the internal result to a body."""

    NAME: str

    def parse(self, body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
        """What a body says."""

    def render(self, request: ClassifyRequest, result: ClassifyResult) -> dict[str, Any]:
        """The body of an answer."""


_DIALECTS: dict[str, Dialect] = {jina.NAME: jina}


def pick(body: object) -> tuple[Dialect, dict[str, object]]:
    """The dialect of a body, and the body as the object that it is.

    Raises:
        InvalidRequest: It is no object, or speaks no dialect of this version.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    if "input" not in body and (other := next((key for key in _OTHERS if key in body), None)):
        refuse("input", f'is missing: send what to classify as "input", not as "{other}"')
    return jina, cast("dict[str, object]", body)


def named(name: str) -> Dialect:
    """The dialect of a stored job.

    Raises:
        MessageUndecodable: A newer version of the service wrote it.
    """
    try:
        return _DIALECTS[name]
    except KeyError:
        raise MessageUndecodable("the job speaks a dialect of a newer version") from None
