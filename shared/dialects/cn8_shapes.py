"""The common parts of both calls of the CN8 API: labels, scores and errors.

Facts about the API are from the vendor's documentation. Its service ignores `multi_label`,
`threshold` and `label_descriptions`; here they work.
"""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from shared.dialects import problem
from shared.dialects.problem import Problem
from shared.dialects.protocol import FailedCall, Rendered
from shared.errors import IdempotencyKeyReused, PigeonholeError
from shared.schema_base import Schema
from shared.types import ClassifyRequest, ClassifyResult
from shared.validation import translated

_DECIMALS = 4
_ITEM = re.compile(r"^input(\[0\])?(\.text)?")
_LABELS = re.compile(r"^labels")
_DESCRIPTIONS = re.compile(r"^descriptions")


class TextFields(Schema):
    """What is classified."""

    text: str = Field(description="The text.")


class ProxyFault(BaseModel):
    """What is wrong."""

    code: str
    message: str


class ProxyProblem(Problem):
    """An error in the form of the CN8 API, with the fields of the other errors of the service."""

    status: Literal["error"]  # type: ignore[assignment]  # a number in the other errors
    error: ProxyFault  # type: ignore[assignment]  # a text in the other errors


def read(shape: type[Schema], body: dict[str, object]) -> Any:
    """The body as the shape has it.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    try:
        return shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None


def render(request: ClassifyRequest, result: ClassifyResult, *, score: str) -> Rendered:
    """The answer to the one text of a request; `score` is the field of the best score."""
    (question,), ((answer,),) = request.questions, result.answers
    scores = {
        label: round(each, _DECIMALS)
        for label, each in zip(question.labels, answer.scores, strict=True)
        if each is not None
    }
    label = None if answer.best is None else question.labels[answer.best]
    best = None if label is None else scores[label]
    data = {"label": label, score: best, "all_scores": scores}
    return Rendered(body={"status": "success", "data": data})


def render_error(error: PigeonholeError, call: FailedCall, *, labels: str = "labels") -> Rendered:
    """The error in the form of this API: a request that is wrong is 400.

    An `Idempotency-Key` that is used for another request is 422, as on every other path.
    """
    wrong = call.status == HTTPStatus.UNPROCESSABLE_ENTITY
    if wrong and not isinstance(error, IdempotencyKeyReused):
        call = replace(call, status=HTTPStatus.BAD_REQUEST)
    rendered = problem.render_error(own_error(error, labels=labels), call)
    fault = {"code": error.code, "message": rendered.body.detail}
    fields = {**rendered.body.model_dump(), "status": "error", "error": fault}
    return replace(rendered, body=ProxyProblem.model_validate(fields))


def own_error(error: PigeonholeError, *, labels: str = "labels") -> PigeonholeError:
    """The error with the fields of this API; `labels` is the field that has the labels.

    >>> from shared.errors import FieldError, InvalidRequest
    >>> fault = FieldError(field="input[0].text", message="must not be empty")
    >>> own_error(InvalidRequest("input[0].text: must not be empty", fields=(fault,))).detail
    'text: must not be empty'
    """
    if not error.fields:
        return error
    first = error.fields[0].field
    fields = tuple(replace(each, field=_own_name(each.field, labels)) for each in error.fields)
    detail = error.detail
    if detail.startswith(first):
        detail = fields[0].field + detail.removeprefix(first)
    return error.worded(detail, fields)


def _own_name(field: str, labels: str) -> str:
    field = _LABELS.sub(labels, _ITEM.sub("text", field))
    return _DESCRIPTIONS.sub("label_descriptions", field)
