"""The dialect of zero-shot classification in the CN8 API: one text and labels in, scores out.

Scores are independent entailment probabilities of an NLI model; where no running worker holds one,
the embedding engine answers, and the header `X-Engine` says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from shared.dialects import cn8_shapes
from shared.dialects.cn8_shapes import ProxyProblem, TextFields, own_error, read, render_error
from shared.dialects.label_texts import of_labels
from shared.dialects.protocol import Rendered
from shared.dialects.requested import UnresolvedRequest
from shared.normal_form import distinct_labels
from shared.schema_base import BoundedTexts, BoundedWords, Number, Schema
from shared.types import ClassifyRequest, ClassifyResult, Item, Question, Threshold

NAME = "cn8"
ERROR: type[BaseModel] = ProxyProblem
PREFIX = "/v1/proxy/"
PATH = f"{PREFIX}text-classify"
__all__ = ["ERROR", "NAME", "matches", "own_error", "parse", "render", "render_error"]


class ProxyClassifyBody(TextFields):
    """A text and the labels that may apply to it."""

    labels: BoundedWords = Field(description="The labels; of several that are equal, one counts.")
    multi_label: bool | None = Field(
        None,
        description="`true` (default): each label is judged by itself. `false`: one label applies, "
        "and the scores sum to 1.",
    )
    threshold: Number | None = Field(
        None,
        ge=0,
        le=1,
        description="Minimum score of a label in `all_scores`; `label` is null if none is left.",
    )
    label_descriptions: BoundedTexts | None = Field(
        None, description="What a label means, by label."
    )


class ProxyClassifyData(Schema):
    """The best label, and the scores of all labels that reach the threshold."""

    label: str | None
    score: float | None
    all_scores: dict[str, float]


class ProxyClassifyAnswer(Schema):
    """The answer to one text."""

    status: str = Field(description="`success`.")
    data: ProxyClassifyData


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a call has a path of the CN8 API; `cn8_few_shot` is asked first for its own."""
    del headers, body
    return path.startswith(PREFIX)


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    fields: ProxyClassifyBody = read(ProxyClassifyBody, body)
    labels = distinct_labels(fields.labels)
    descriptions = of_labels("label_descriptions", fields.label_descriptions or {}, set(labels))
    request = ClassifyRequest(
        model=default_model,
        items=(Item(text=fields.text),),
        questions=(Question(labels=labels),),
        descriptions=descriptions,
        multi_label=fields.multi_label is not False,
        threshold=None if fields.threshold is None else Threshold(default=fields.threshold),
        engine="nli",
        engine_fallback=True,
    )
    return UnresolvedRequest(request=request)


def render(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of a call that succeeded."""
    return cn8_shapes.render(request, result, score="score")
