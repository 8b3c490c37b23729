"""The common parts of requests of the Classer API: labels or a classifier, and the input.

Facts about the API are from the vendor's documentation and SDK (version 0.0.6 on PyPI).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, ValidationError

from shared.dialects.label_texts import LabelExamples, of_labels
from shared.dialects.requested import UnresolvedRequest
from shared.errors import (
    FieldError,
    InsufficientBalance,
    InvalidRequest,
    LabelLimitExceeded,
    LabelsRequired,
    PaymentRequired,
    PigeonholeError,
)
from shared.normal_form import normal_form
from shared.schema_base import Images, Number, Schema, media_of
from shared.types import ClassifyRequest, Item, Priority, Question, Threshold
from shared.validation import refuse, translated

MAX_LABELS, MAX_LABEL_CHARS, MAX_TEXT_TYPE_CHARS = 200, 100, 100
DEFAULT_THRESHOLD = 0.5
_OWN_NAMES = (
    (re.compile(r"^input\[\d+\]\.(image|file)$"), r"\1"),
    (re.compile(r"^classifier_id$"), "classifier"),
    (re.compile(r"^template$"), "text_type"),
    (re.compile(r"^file_by$"), "file"),
)


class LabelsFields(Schema):
    """By what is classified. A field that is null means what leaving it out does."""

    labels: list[str] | None = Field(
        None,
        description=f"1 to {MAX_LABELS} distinct labels of at most {MAX_LABEL_CHARS} characters. "
        "Of a single label `confidence` says whether it applies.",
    )
    classifier: str | None = Field(
        None, description="A saved classifier instead of labels: `name`, `name@v2`, or its id."
    )
    descriptions: dict[str, str] | None = Field(None, description="What a label means, by label.")
    examples: LabelExamples | None = Field(
        None,
        description="A few texts of a label, by label: they raise accuracy, and are not stored.",
    )
    text_type: str | None = Field(
        None, description="What the text is, such as `support ticket`: a part of the prompt."
    )


Urgency = Literal["standard", "fast"]


class InputFields(LabelsFields):
    """What is classified beside a text, and how."""

    image: Images = Field(
        None,
        description="An image, or a list of images of one thing: URLs, base64 or data URIs.",
    )
    file: str | None = Field(None, description="A PDF or DOCX: a URL, base64 or a data URI.")
    model: str | None = Field(
        None,
        description="A model by name, such as one that reads images for a scan. By default, the "
        "service chooses one.",
    )
    priority: Urgency | None = Field(
        None, description="`fast` goes before the `standard` calls that wait (default)."
    )
    cache: bool | None = Field(
        None, description="Whether the answer to an equal request may be given again (default)."
    )

    @property
    def media(self) -> Item | None:
        """The images or the document."""
        if self.image is None and self.file is None:
            return None
        if self.image is not None and self.file is not None:
            refuse("file", "conflicts with image: send each with a request of its own")
        file = None if self.file is None else media_of(self.file)
        return Item(images=tuple(map(media_of, self.image or ())), file=file)


class ClassifyTextBody(InputFields):
    """One item, and the labels or the classifier to classify it by."""

    text: str | None = Field(None, description="A text.")


class TagFields(Schema):
    """What tagging has beside classification."""

    threshold: Number | None = Field(
        None,
        ge=0,
        le=1,
        description=f"Least confidence of a label in the answer; default {DEFAULT_THRESHOLD}.",
    )


def read(shape: type[Schema], body: dict[str, object]) -> Any:
    """The body as the shape has it.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    try:
        return shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None


def item_of(body: ClassifyTextBody) -> Item:
    """The item of a body.

    Raises:
        InvalidRequest: It has none, or both images and a document.
    """
    media = body.media
    if media is not None:
        return media.model_copy(update={"text": body.text or ""})
    if body.text is None:
        refuse("text", "is missing: send a text, an image or a file")
    return Item(text=body.text)


def threshold_of(fields: TagFields) -> float:
    """The threshold of a body."""
    return DEFAULT_THRESHOLD if fields.threshold is None else fields.threshold


def request_of(
    fields: LabelsFields,
    *,
    default_model: str,
    items: tuple[Item, ...],
    threshold: float | None = None,
    **more: Any,
) -> UnresolvedRequest:
    """The request for the items; with a `threshold` each label is judged by itself.

    Args:
        fields: The labels or the classifier.
        default_model: Runs requests with labels.
        items: What is classified.
        threshold: Of tags; None for one best label.
        more: Further fields of the request.

    Raises:
        InvalidRequest: It has both labels and a classifier, or labels that are wrong.
        LabelsRequired: It has neither.
        LabelLimitExceeded: It has too many labels.
    """
    labels = () if fields.classifier is not None else _labels(fields)
    model = fields.model if isinstance(fields, InputFields) else None
    request = ClassifyRequest(
        model=model or default_model,
        items=items,
        questions=(Question(labels=labels),) if labels else (),
        multi_label=threshold is not None or len(labels) == 1,
        threshold=None if threshold is None else Threshold(default=threshold),
        cache=isinstance(fields, InputFields) and fields.cache is not False,
        **(_meaning(fields, set(labels)) if labels else _learnt(fields)),
        **more,
    )
    priority = getattr(fields, "priority", None)
    return UnresolvedRequest(
        request=request,
        classifier=fields.classifier,
        model=model,
        priority=Priority.FAST if priority == "fast" else Priority.STANDARD,
    )


def own_error(error: PigeonholeError, *, texts: bool = False) -> PigeonholeError:
    """The error in the form of this API; with `texts` for a request of several texts.

    >>> fault = FieldError(field="input[2].text", message="must not be empty")
    >>> error = InvalidRequest("input[2].text: must not be empty", fields=(fault,))
    >>> own_error(error, texts=True).detail, own_error(error).detail
    ('texts[2]: must not be empty', 'text: must not be empty')
    """
    if isinstance(error, InsufficientBalance):
        return PaymentRequired(error.detail)
    if not error.fields:
        return error
    detail = error.detail
    fields = []
    for each in error.fields:
        own = _own_name(each.field, texts)
        fields.append(replace(each, field=own))
        if detail.startswith(each.field):
            detail = own + detail.removeprefix(each.field)
    return error.worded(detail, tuple(fields))


def _own_name(field: str, texts: bool) -> str:
    if texts:
        field = re.sub(r"^input(\[\d+\])?(\.text)?$", r"texts\1", field)
    else:
        field = re.sub(r"^input(\[\d+\])?(\.text)?$", "text", field)
    for pattern, own in _OWN_NAMES:
        field = pattern.sub(own, field)
    return field


def _labels(fields: LabelsFields) -> tuple[str, ...]:
    labels = fields.labels
    if labels is None:
        refuse("labels", "is missing: send labels, or the name of a classifier", LabelsRequired)
    if not labels:
        refuse("labels", f"must hold 1 to {MAX_LABELS} labels")
    if len(labels) > MAX_LABELS:
        refuse(
            "labels",
            f"at most {MAX_LABELS} labels are allowed, got {len(labels)}",
            LabelLimitExceeded,
        )
    for index, label in enumerate(labels):
        if len(label) > MAX_LABEL_CHARS:
            refuse(
                f"labels[{index}]",
                f"at most {MAX_LABEL_CHARS} characters are allowed, got {len(label)}: shorten it",
            )
    if len({normal_form(label) for label in labels}) < len(labels):
        message = "Labels must be unique"  # the vendor's own sentence
        raise InvalidRequest(message, fields=(FieldError(field="labels", message=message),))
    return tuple(labels)


def _meaning(fields: LabelsFields, known: set[str]) -> dict[str, Any]:
    """What labels mean."""
    return {
        "descriptions": of_labels("descriptions", fields.descriptions or {}, known),
        "examples": of_labels("examples", fields.examples or {}, known),
        "template": None if fields.text_type is None else _template(fields.text_type),
    }


def _learnt(fields: LabelsFields) -> dict[str, Any]:
    """Nothing: a classifier has learnt what its labels mean."""
    if fields.labels is not None:
        refuse("labels", "conflicts with classifier: send either labels or a classifier")
    for field in ("descriptions", "examples", "text_type"):
        if getattr(fields, field) is not None:
            refuse(field, "belongs to labels; a classifier has learnt what its labels mean")
    return {}


def _template(text_type: str) -> str:
    if not 0 < len(text_type.strip()) <= MAX_TEXT_TYPE_CHARS:
        refuse("text_type", f"must have 1 to {MAX_TEXT_TYPE_CHARS} characters")
    if "{" in text_type or "}" in text_type:
        refuse("text_type", "must not contain braces")
    return f"This {text_type.strip()} is about {{label}}."
