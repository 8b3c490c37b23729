"""POST /v1/train: the request with its examples, and the response with the new version.

The schema follows the vendor's endpoint. `name`, `description`, `keep_examples`, `closed_labels`,
`from`, `candidate`, `weight`, and the fields of the response beside `classifier_id`, `num_samples`
and `usage`, are Pigeonhole's. References to classifiers are resolved elsewhere; a worker reads
examples in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from shared.classifier_record import MAX_DESCRIPTION_CHARS, check_description, check_name
from shared.dialects.evaluation_report import (
    RemarkAnswer,
    TrainingMetrics,
    render_metrics,
    render_remark,
)
from shared.dialects.examples import LabelledInputs, example_of
from shared.dialects.metadata import Metadata
from shared.schema_base import Schema
from shared.training_results import TrainResult
from shared.types import Access, Example, ExampleFile, NewClassifier
from shared.validation import refuse, translated

_NUM_ITERS = 10  # the vendor's default
_NEW = (
    "name",
    "access",
    "description",
    "keep_examples",
    "closed_labels",
    "observe",
)  # of a classifier that is made


class TrainFields(Schema):
    """What a train call says beside its examples."""

    model: str | None = Field(
        None, description="Model or alias; the server's default, or the classifier's, if absent."
    )
    classifier_id: str | None = Field(
        None, description="A classifier of yours to train further: its id or name."
    )
    num_iters: int | None = Field(
        None, description=f"Iterations over each example; {_NUM_ITERS} if absent."
    )
    name: str | None = Field(None, description="What a new classifier may be called beside its id.")
    access: Access | None = Field(
        None, description="Who may classify with a new classifier; `private` if absent."
    )
    description: str | None = Field(
        None, description=f"Of a new classifier: up to {MAX_DESCRIPTION_CHARS} characters."
    )
    keep_examples: bool | None = Field(
        None,
        description="Keep the examples of a new classifier, so that it can be rebuilt with another "
        "model; none are kept if absent.",
    )
    closed_labels: bool | None = Field(
        None,
        description="Refuse labels in further train calls that this call does not have; new labels "
        "are accepted if absent.",
    )
    observe: bool | None = Field(
        None,
        description="Count what a new classifier classifies, without its texts, to detect drift; "
        "`true` if absent.",
    )
    from_: str | None = Field(
        None,
        alias="from",
        description="The version to train further, such as `spam@champion` or `spam@v3`; the "
        "latest if absent.",
    )
    candidate: bool | None = Field(
        None,
        description="Make a version that can be evaluated and named (`spam@v4`), but is not the "
        "latest; needs `from` or `classifier_id`.",
    )
    metadata: Metadata = None


class InlineTrainBody(TrainFields):
    """A train request. Optional fields may be null, which means what leaving them out does."""

    input: LabelledInputs = Field(
        description="Examples, learnt in this order; at least two labels for a new classifier."
    )


class TrainTokens(BaseModel):
    """What the call cost: the tokens of each example, once for each iteration."""

    total_tokens: int


class TrainAnswer(BaseModel):
    """A new version of a classifier."""

    classifier_id: str
    num_samples: int = Field(description="Examples of this call.")
    usage: TrainTokens
    version: int
    candidate: bool = Field(description="Whether the version is not the latest, as requested.")
    labels: list[str] = Field(description="All that the classifier knows by now.")
    metrics: TrainingMetrics | None
    remarks: list[RemarkAnswer]
    job_id: str


def place(index: int) -> str:
    """Names an example of a body, by its index."""
    return f"input[{index}]"


@dataclass(frozen=True, kw_only=True)
class UnresolvedTrainRequest:
    """What a train call says: `classifier` refers to one, or `create` describes a new one."""

    model: str | None
    classifier: str | None
    create: NewClassifier | None
    num_iters: int
    base: str | None = None  # the version to train further
    candidate: bool = False
    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None  # that holds them instead
    place: Callable[[int], str] = place  # of an example, for errors
    metadata: dict[str, str] = field(default_factory=dict)  # of the job


def parse(body: object) -> UnresolvedTrainRequest:
    """What a JSON body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        parsed = InlineTrainBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    return training(parsed, tuple(map(example_of, parsed.input)))


def render(result: TrainResult, *, job_id: str) -> dict[str, Any]:
    """The body of an answer."""
    report = result.report
    return {
        "classifier_id": result.classifier_id,
        "num_samples": result.num_samples,
        "usage": {"total_tokens": result.usage.total_tokens},
        "version": result.version,
        "candidate": result.candidate,
        "labels": report.labels,
        "metrics": render_metrics(report.progressive),
        "remarks": [render_remark(remark) for remark in report.remarks],
        "job_id": job_id,
    }


def training(
    fields: TrainFields,
    examples: tuple[Example, ...] = (),
    place: Callable[[int], str] = place,
    *,
    file: ExampleFile | None = None,
) -> UnresolvedTrainRequest:
    """What the fields say of the examples.

    Raises:
        InvalidRequest: Some belong to a new classifier only, or are wrong.
    """
    return UnresolvedTrainRequest(
        model=fields.model,
        classifier=fields.classifier_id,
        create=_new(fields),
        num_iters=_NUM_ITERS if fields.num_iters is None else fields.num_iters,
        base=fields.from_,
        candidate=bool(fields.candidate),
        examples=examples,
        file=file,
        place=place,
        metadata=fields.metadata or {},
    )


def _new(fields: TrainFields) -> NewClassifier | None:
    """What a new classifier is given; None where one is trained further."""
    if fields.classifier_id is not None or fields.from_ is not None:
        for field in _NEW:
            if getattr(fields, field) is not None:
                refuse(field, "is of a new classifier; change it by PATCH /v1/classifiers/{id}")
        return None
    if fields.candidate:
        refuse("candidate", "needs `from` or `classifier_id`: a new classifier has no version yet")
    if fields.name is not None:
        check_name(fields.name)
    check_description(fields.description or "")
    return NewClassifier(
        name=fields.name,
        description=fields.description or "",
        access=fields.access or "private",
        keep_examples=bool(fields.keep_examples),
        closed_labels=bool(fields.closed_labels),
        observe=fields.observe is not False,
    )
