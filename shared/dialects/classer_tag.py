"""The dialect of tagging in the Classer API: one item in, the labels that apply out."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from shared.dialects import classer_response, problem
from shared.dialects.classer_request import (
    ClassifyTextBody,
    TagFields,
    item_of,
    own_error,
    read,
    request_of,
    threshold_of,
)
from shared.dialects.problem import Problem
from shared.dialects.requested import UnresolvedRequest

NAME = "classer_tag"
ERROR: type[BaseModel] = Problem
PATH = "/v1/tag"
render, render_error = classer_response.tagged, problem.render_error
__all__ = ["ERROR", "NAME", "matches", "own_error", "parse", "render", "render_error"]


class TagBody(ClassifyTextBody, TagFields):
    """One item, and the labels or the classifier to tag it with."""


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a call is one to tag."""
    del headers, body
    return path == PATH


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        PigeonholeError: A shape or value is wrong; names each place.
    """
    fields = read(TagBody, body)
    return request_of(
        fields,
        default_model=default_model,
        items=(item_of(fields),),
        threshold=threshold_of(fields),
    )
