"""The dialect of the classification endpoint of the Jina API, and nothing beside it.

`input` and `labels` or `classifier_id` in, `data[].predictions` in request label order out. Bodies
with fields of ours speak the native dialect.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from shared.dialects import classify_response, problem
from shared.dialects.classify_request import ClassifyFields, request_of
from shared.dialects.problem import Problem
from shared.dialects.requested import UnresolvedRequest
from shared.validation import translated

NAME = "jina"
ERROR: type[BaseModel] = Problem
render, render_error = classify_response.render, problem.render_error
own_error = problem.own_error


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a body says `input`."""
    del path, headers
    return isinstance(body, dict) and "input" in body


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
        LabelsRequired: It names neither labels nor a classifier.
    """
    try:
        parsed = ClassifyFields.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    request = request_of(parsed, default_model=default_model)
    return UnresolvedRequest(request=request, classifier=parsed.classifier_id, model=parsed.model)
