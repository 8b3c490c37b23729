"""The protocol of a dialect: how it matches, parses and answers calls, and renders errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import BaseModel

from shared.dialects.requested import UnresolvedRequest
from shared.errors import PigeonholeError
from shared.types import ClassifyRequest, ClassifyResult


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """An answer: a body that is dumped as JSON, and the headers and status that belong to it."""

    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, kw_only=True)
class FailedCall:
    """A call whose error is rendered.

    Attributes:
        status: Of the error, before a dialect changes it.
        path: As it was called, behind the root.
        root: What stands before the paths of URLs in the answer.
        request_id: The id of the request.
        headers: Of the request, with names in title case.
        accepts: Media types that `Accept` names.
    """

    status: HTTPStatus
    path: str
    root: str
    request_id: str
    headers: Mapping[str, str]
    accepts: frozenset[str]


@contextmanager
def own_fields(own_error: Callable[[PigeonholeError], PigeonholeError]) -> Iterator[None]:
    """Errors of the block leave it with their fields as a dialect calls them."""
    try:
        yield
    except PigeonholeError as exc:
        raise own_error(exc) from exc.__cause__


class ErrorDialect(Protocol):
    """The dialect of some paths, as far as every call of them needs it."""

    NAME: str
    ERROR: type[BaseModel]

    def matches(self, path: str, headers: Mapping[str, str], body: object) -> bool:
        """Whether a call speaks the dialect; the body is None where it is not read."""

    def render_error(self, error: PigeonholeError, call: FailedCall) -> Rendered:
        """The answer of a call that failed."""


class Dialect(ErrorDialect, Protocol):
    """A dialect of classify calls: a pure translation to the internal request and back."""

    def parse(self, body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
        """What a body says."""

    def own_error(self, error: PigeonholeError) -> PigeonholeError:
        """The error with its fields as the dialect calls them."""

    def render(self, request: ClassifyRequest, result: ClassifyResult) -> Rendered:
        """The answer of a call that succeeded."""
