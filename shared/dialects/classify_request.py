"""The common fields of classify bodies: model, input, labels or classifier.

They follow the classification endpoint of the Jina API; further dialects with `input` share them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from shared.errors import LabelsRequired
from shared.normal_form import distinct_labels
from shared.schema_base import BoundedWords, ItemInput, Schema, as_list, bounded, complete, one_kind
from shared.types import ClassifyRequest, Question
from shared.validation import refuse


def _as_input(value: object) -> object:
    if isinstance(value, str):
        return ItemInput.model_construct(text=complete(value))
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "value_error", "must be a text, or an object with a text, an image or a file"
        )
    return one_kind(value)


def kind(value: object) -> str:
    """The tag of a value that is an object or else plain."""
    return "<object>" if isinstance(value, dict) else "<plain>"


_Input = Annotated[ItemInput, BeforeValidator(_as_input, json_schema_input_type=str | ItemInput)]
Inputs = Annotated[
    list[_Input],
    BeforeValidator(as_list, json_schema_input_type=str | ItemInput | list[_Input]),
]
Labels = Annotated[
    Annotated[BoundedWords, Tag("<plain>")]
    | Annotated[dict[str, BoundedWords], BeforeValidator(bounded), Tag("<object>")],
    Discriminator(kind),
]


class ClassifyFields(Schema):
    """What to classify, and by what. A field that is null means what leaving it out does."""

    model: str | None = Field(None, description="Model or alias; the server's default if absent.")
    input: Inputs = Field(
        description='One item or many: a plain text, `{"text": …}`, `{"image": …}` or '
        '`{"file": …}`.'
    )
    labels: Labels | None = Field(
        None,
        description="At least two labels, or several groups of labels: one question for each.",
    )
    classifier_id: str | None = Field(
        None,
        description="A classifier instead of labels: its id, `name`, `name@v3` or `name@alias`.",
    )


def request_of(fields: ClassifyFields, *, default_model: str) -> ClassifyRequest:
    """The internal request, without a classifier.

    Raises:
        InvalidRequest: It has both labels and a classifier, or no group of labels.
        LabelsRequired: It has neither.
    """
    questions: tuple[Question, ...] = ()
    if fields.classifier_id is None:
        if fields.labels is None:
            refuse(
                "labels",
                'is missing: say what to choose from, as "labels": ["…", "…"], or name a trained '
                'classifier as "classifier_id"',
                LabelsRequired,
            )
        questions = _questions(fields.labels)
    elif fields.labels is not None:
        refuse("labels", "the classifier has its own: send either labels or a classifier_id")
    return ClassifyRequest(
        model=default_model if fields.model is None else fields.model,
        items=tuple(each.item() for each in fields.input),
        questions=questions,
    )


def _questions(labels: list[str] | dict[str, list[str]]) -> tuple[Question, ...]:
    """Questions with distinct labels: published examples of the vendor send some twice.

    A further spelling of a label is that label again (`shared.normal_form`).
    """
    groups = labels if isinstance(labels, dict) else {None: labels}
    if not groups:
        refuse("labels", "must hold at least one group")
    return tuple(Question(group=g, labels=distinct_labels(each)) for g, each in groups.items())
