"""The dialect of classification in the Classer API: one item in, its best label out.

The body has `text`, `image` or `file` where other dialects have `input`. A text with images or a
document is one item, scored by both.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from shared.dialects import classer_response, problem
from shared.dialects.classer_request import ClassifyTextBody, item_of, own_error, read, request_of
from shared.dialects.problem import Problem
from shared.dialects.requested import UnresolvedRequest

NAME = "classer"
ERROR: type[BaseModel] = Problem
PATH = "/v1/classify"
INPUTS = ("text", "image", "file")
render, render_error = classer_response.classified, problem.render_error
__all__ = ["ERROR", "NAME", "matches", "own_error", "parse", "render", "render_error"]


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a body of the path has an input of this dialect, and none of the others."""
    del headers
    return (
        path == PATH
        and isinstance(body, dict)
        and "input" not in body
        and any(field in body for field in INPUTS)
    )


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        PigeonholeError: A shape or value is wrong; names each place.
    """
    fields = read(ClassifyTextBody, body)
    return request_of(fields, default_model=default_model, items=(item_of(fields),))
