"""The native dialect: the classify endpoint of the Jina API, with the options of Pigeonhole.

Options that the vendor's endpoint lacks (`multi_label`, `top_k`, `threshold`, `scores`, `errors`,
`file_by` and others) are off by default. References to classifiers are resolved elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, ValidationError

from shared.dialects import classify_response, problem
from shared.dialects.classify_request import ClassifyFields, kind, request_of
from shared.dialects.label_texts import LabelExamples, of_labels
from shared.dialects.metadata import Metadata
from shared.dialects.per_item import set_aside
from shared.dialects.problem import Problem
from shared.dialects.protocol import Rendered
from shared.dialects.requested import UnresolvedRequest
from shared.schema_base import (
    MAX_ENTRIES,
    BoundedTexts,
    Number,
    bounded,
)
from shared.types import (
    DEFAULT_KEY,
    OTHERS_KEY,
    ClassifyRequest,
    ClassifyResult,
    Engine,
    FailedItem,
    FileBy,
    FileReading,
    ItemErrors,
    Priority,
    Question,
    Scores,
    Threshold,
)
from shared.validation import refuse

NAME = "native"
ERROR: type[BaseModel] = Problem
render_error = problem.render_error
own_error = problem.own_error


_Threshold = Annotated[
    Annotated[Number, Tag("<plain>")]
    | Annotated[dict[str, Number], BeforeValidator(bounded), Tag("<object>")],
    Discriminator(kind),
]


class ClassifyBody(ClassifyFields):
    """A classify request. Optional fields may be null, which means what leaving them out does."""

    multi_label: bool | None = Field(
        None, description="Judge each label by itself; any number of them may apply."
    )
    threshold: _Threshold | None = Field(
        None,
        description="Least score of a label in the answer; per label with `{label: number}`, where "
        "`default` stands for the others, or `*` where a label is called `default`.",
    )
    top_k: int | None = Field(None, ge=1, le=MAX_ENTRIES, description="Most labels answered.")
    scores: Scores | None = Field(
        None,
        description="`calibrated` probabilities (default), the bare softmax of `jina`, or the "
        "`raw` cosine.",
    )
    template: str | None = Field(
        None, description="What a label becomes before it is compared; holds `{label}`."
    )
    descriptions: BoundedTexts | None = Field(None, description="What a label means, by label.")
    examples: LabelExamples | None = Field(
        None,
        description="A few texts of a label, by label: they raise accuracy, and are not stored.",
    )
    return_uncertainty: bool | None = Field(
        None, description="Say of each answer how far the best label leads: `margin`, `uncertain`."
    )
    return_fit: bool | None = Field(
        None,
        description="Say of each answer how likely it is that the item is one of what the labels, "
        "or the examples of the classifier, describe: `fit`.",
    )
    unknown_below: Number | None = Field(
        None,
        ge=0,
        le=1,
        description="The `prediction` of an answer with a `fit` below this is null; its `score` "
        "stays. Answers have `fit` then.",
    )
    engine: Engine | None = Field(
        None,
        description="What scores the labels. `embedding` (default) compares vectors. `nli` asks an "
        "NLI model of each text and label whether the text entails it: slower, and better on "
        "moods and questions. `hybrid` asks it of the best labels of `embedding` only, and mixes "
        "both. `auto` is `hybrid` for at most 32 labels where a worker holds an NLI model. The "
        "answer then has `engine`, as has the header `X-Engine`.",
    )
    priority: Literal["standard", "fast"] | None = Field(
        None, description="`fast` goes before the `standard` calls that wait (default)."
    )
    cache: bool | None = Field(
        None,
        description="Answer items from the cache, where it has equal ones of this account, and "
        "keep the other answers there. A cached item costs no tokens; `cached` tells which are.",
    )
    file_by: FileBy | None = Field(
        None,
        description="What documents are judged by: their `text`, their `pages` as images, `both` "
        "(the mean of the scores; of one that lacks either, the other), or `auto` (default): the "
        "text where there is some.",
    )
    per_page: bool | None = Field(
        None,
        description="Answer for each page of a document as well, as far as `max_pages`: "
        "`file.pages`.",
    )
    max_pages: int | None = Field(
        None,
        ge=1,
        description="Most pages read of a PDF, and images of a DOCX; its text and plain text are "
        "read whole. The operator's limit if absent.",
    )

    metadata: Metadata = None
    errors: ItemErrors | None = Field(
        None,
        description="What a bad item does. `fail` (default): it refuses the call. `per_item`: it "
        "has an `error` instead of an answer, costs nothing, and the others are answered.",
    )


def render(request: ClassifyRequest, result: ClassifyResult) -> Rendered:
    """The answer of dialects of `input`, and of each item the models, where others answer it."""
    rendered = classify_response.render(request, result)
    for row, models in zip(
        rendered.body["data"], classify_response.models_of(request, result), strict=True
    ):
        if models not in ((), (request.model,)):
            row["model"] = ", ".join(models)
    for index in result.unsupported:
        rendered.body["data"][index]["warnings"] = ["language_not_supported"]
    return rendered


_OWN = frozenset(ClassifyBody.model_fields) - frozenset(ClassifyFields.model_fields)


def matches(path: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a body has a field of ours, or an item that the vendor's endpoint does not read."""
    del path, headers
    if not isinstance(body, dict):
        return False
    items = body.get("input")
    items = items if isinstance(items, list) else [items]
    return not _OWN.isdisjoint(body) or any(map(_is_ours, items))


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and ("file" in item or isinstance(item.get("image"), list))


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
        LabelsRequired: It names neither labels nor a classifier.
    """
    refused: tuple[FailedItem, ...] = ()
    try:
        parsed = ClassifyBody.model_validate(body)
    except ValidationError as exc:
        body, refused = set_aside(body, exc)
        parsed = ClassifyBody.model_validate(body)
    request = request_of(parsed, default_model=default_model)
    own: dict[str, Any] = {
        "scores": parsed.scores or "calibrated",
        "multi_label": bool(parsed.multi_label),
        "top_k": parsed.top_k,
        "return_uncertainty": bool(parsed.return_uncertainty),
        "return_fit": bool(parsed.return_fit),
        "unknown_below": parsed.unknown_below,
        "files": FileReading(
            by=parsed.file_by or "auto", max_pages=parsed.max_pages, per_page=bool(parsed.per_page)
        ),
        "errors": parsed.errors or "fail",
        "engine": parsed.engine,
        "refused": refused,
        "cache": bool(parsed.cache),
        **(
            _zero_shot(parsed, request.questions)
            if parsed.classifier_id is None
            else _few_shot(parsed)
        ),
    }
    return UnresolvedRequest(
        request=request.model_copy(update=own),
        classifier=parsed.classifier_id,
        model=parsed.model,
        priority=Priority.FAST if parsed.priority == "fast" else Priority.STANDARD,
        metadata=parsed.metadata or {},
    )


def _zero_shot(body: ClassifyBody, questions: tuple[Question, ...]) -> dict[str, Any]:
    """What a request with labels has beside the rest."""
    known = {label for question in questions for label in question.labels}
    if body.template is not None and "{label}" not in body.template:
        refuse("template", "must hold {label}, which stands for the label")
    return {
        "descriptions": of_labels("descriptions", body.descriptions or {}, known),
        "examples": of_labels("examples", body.examples or {}, known),
        "template": body.template,
        "threshold": _threshold(body.threshold, known),
    }


def _few_shot(body: ClassifyBody) -> dict[str, Any]:
    """What a request with a classifier has beside the rest."""
    for field in ("descriptions", "examples", "template"):
        if getattr(body, field) is not None:
            refuse(field, "belongs to labels; a classifier has learnt what its labels mean")
    threshold = body.threshold
    if isinstance(threshold, dict):
        per_label = {label: least for label, least in threshold.items() if label != OTHERS_KEY}
        return {"threshold": Threshold(default=threshold.get(OTHERS_KEY), per_label=per_label)}
    return {"threshold": None if threshold is None else Threshold(default=threshold)}


def _threshold(fields: float | dict[str, float] | None, known: set[str]) -> Threshold | None:
    if not isinstance(fields, dict):
        return None if fields is None else Threshold(default=fields)
    by_label, default = dict(fields), None
    if OTHERS_KEY not in known:
        default = by_label.pop(OTHERS_KEY, None)
    if DEFAULT_KEY not in known:
        least = by_label.pop(DEFAULT_KEY, None)
        default = least if default is None else default
    return Threshold(default=default, per_label=of_labels("threshold", by_label, known))
