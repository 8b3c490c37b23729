"""The dialect of few-shot classification in the CN8 API: one text, and examples of each label.

A label is the mean of the embeddings of its examples; its name does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pydantic import BaseModel, Field

from shared.dialects import cn8_shapes
from shared.dialects.cn8_shapes import ProxyProblem, TextFields, read
from shared.dialects.label_texts import LabelExamples
from shared.dialects.protocol import Rendered
from shared.dialects.requested import UnresolvedRequest
from shared.normal_form import distinct_labels
from shared.schema_base import Schema
from shared.types import ClassifyRequest, ClassifyResult, Item, Question
from shared.validation import refuse

NAME = "cn8_few_shot"
ERROR: type[BaseModel] = ProxyProblem
PATH = "/v1/proxy/text-few-shot"
own_error = partial(cn8_shapes.own_error, labels="examples")
render_error = partial(cn8_shapes.render_error, labels="examples")


class ProxyFewShotBody(TextFields):
    """A text, and the examples to compare it with."""

    examples: LabelExamples = Field(description="Texts of each label, by label: at least 2 labels.")


class ProxyFewShotData(Schema):
    """The best label, and the probabilities of all."""

    label: str | None
    confidence: float | None
    all_scores: dict[str, float]


class ProxyFewShotAnswer(Schema):
    """The answer to one text."""

    status: str = Field(description="`success`.")
    data: ProxyFewShotData


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a call has the path of this dialect."""
    del headers, body
    return path == PATH


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    fields: ProxyFewShotBody = read(ProxyFewShotBody, body)
    if len(distinct_labels(fields.examples)) < len(fields.examples):
        refuse("examples", "has a label twice, in two spellings")
    request = ClassifyRequest(
        model=default_model,
        items=(Item(text=fields.text),),
        questions=(Question(labels=tuple(fields.examples)),),
        examples=fields.examples,
        examples_only=True,
    )
    return UnresolvedRequest(request=request)


def render(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a call that succeeded."""
    return cn8_shapes.render(request, result, score="confidence")
