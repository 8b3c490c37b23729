"""The main dialect: `input` and `labels` in, `data[].predictions` in request label order out.

Shapes follow the classification endpoint of the Jina API; what it lacks (`multi_label`, `top_k`,
`threshold`, `scores`, `template`, `descriptions`, `return_uncertainty`) is off unless it is asked
for. A classifier stands where labels would; which one is meant is not decided here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from shared.dialects import classify_response
from shared.dialects.evaluation_report import render_alike
from shared.dialects.metadata import Metadata
from shared.dialects.per_item import set_aside
from shared.dialects.requested import UnresolvedRequest
from shared.errors import LabelsRequired
from shared.normal_form import LabelSpellings, normal_form
from shared.schema_base import (
    MAX_ENTRIES,
    ItemInput,
    Number,
    Schema,
    as_list,
    bounded,
    one_kind,
)
from shared.types import (
    DEFAULT_KEY,
    OTHERS_KEY,
    ClassifyRequest,
    ClassifyResult,
    FailedItem,
    FileBy,
    FileReading,
    ItemErrors,
    Priority,
    Question,
    Scores,
    Threshold,
    Usage,
)
from shared.validation import refuse, shown

NAME = "jina"
_KEYED = frozenset({"descriptions", "labels", "threshold"})
_V = TypeVar("_V", str, float)


def _as_input(value: object) -> object:
    if isinstance(value, str):
        return ItemInput.model_construct(text=value)
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "value_error", "must be a text, or an object with a text, an image or a file"
        )
    return one_kind(value)


def _kind(value: object) -> str:
    return "<object>" if isinstance(value, dict) else "<plain>"


_Input = Annotated[ItemInput, BeforeValidator(_as_input, json_schema_input_type=str | ItemInput)]
_Inputs = Annotated[
    list[_Input],
    BeforeValidator(as_list, json_schema_input_type=str | ItemInput | list[_Input]),
]
_Words = Annotated[list[str], BeforeValidator(bounded)]
_Labels = Annotated[
    Annotated[_Words, Tag("<plain>")]
    | Annotated[dict[str, _Words], BeforeValidator(bounded), Tag("<object>")],
    Discriminator(_kind),
]
_Threshold = Annotated[
    Annotated[Number, Tag("<plain>")]
    | Annotated[dict[str, Number], BeforeValidator(bounded), Tag("<object>")],
    Discriminator(_kind),
]
_Texts = Annotated[dict[str, str], BeforeValidator(bounded)]


class ClassifyBody(Schema):
    """A classify request. Optional fields may be null, which means what leaving them out does."""

    model: str | None = Field(None, description="Model or alias; the server's default if absent.")
    input: _Inputs = Field(
        description='One item or many: a plain text, `{"text": …}`, `{"image": …}` or '
        '`{"file": …}`.'
    )
    labels: _Labels | None = Field(
        None,
        description="At least two labels, or several groups of labels: one question for each.",
    )
    classifier_id: str | None = Field(
        None,
        description="A classifier instead of labels: its id, `name`, `name@v3` or `name@alias`.",
    )
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
    descriptions: _Texts | None = Field(None, description="What a label means, by label.")
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
    priority: Literal["standard", "fast"] | None = Field(
        None, description="`fast` goes before the `standard` calls that wait (default)."
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
        description="What a bad item does. `per_item`: it has an `error` instead of an answer, "
        "costs nothing, and the others are answered. `fail`: it refuses the call. If absent, an "
        "image or document that cannot be read fails alone unless none can be read, and any other "
        "bad item refuses the call.",
    )


def parse(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
        LabelsRequired: It names neither labels nor a classifier.
    """
    refused: tuple[FailedItem, ...] = ()
    try:
        said = ClassifyBody.model_validate(body)
    except ValidationError as exc:
        body, refused = set_aside(body, exc, keyed=_KEYED)
        said = ClassifyBody.model_validate(body)
    request = ClassifyRequest(
        model=default_model if said.model is None else said.model,
        items=tuple(each.item() for each in said.input),
        scores=said.scores or "calibrated",
        multi_label=bool(said.multi_label),
        top_k=said.top_k,
        return_uncertainty=bool(said.return_uncertainty),
        return_fit=bool(said.return_fit),
        unknown_below=said.unknown_below,
        files=_files(said),
        errors=said.errors,
        refused=refused,
    )
    added = _zero_shot(said) if said.classifier_id is None else _few_shot(said)
    return UnresolvedRequest(
        request=request.model_copy(update=added),
        classifier=said.classifier_id,
        model=said.model,
        priority=Priority.FAST if said.priority == "fast" else Priority.STANDARD,
        metadata=said.metadata or {},
    )


def render(request: ClassifyRequest, result: ClassifyResult) -> dict[str, Any]:
    """The body of an answer: (N, L) scores as N rows of at most L predictions."""
    questions = request.questions
    if result.labels is not None:
        questions = (Question(labels=result.labels),)
    failed = {each.index: each.failure for each in result.failed}
    data: list[dict[str, Any]] = [
        {
            "object": "classification",
            "index": i,
            **(
                classify_response.unread(questions, failed[i])
                if i in failed
                else classify_response.found(questions, answers)
            ),
        }
        for i, answers in enumerate(result.answers)
    ]
    for index in result.windowed:
        data[index]["truncated"] = False
    for file in result.files:
        data[file.index]["file"] = classify_response.read(questions, file)
        if file.pages < file.total_pages:
            data[file.index]["truncated"] = True
    body = {"usage": _tokens(result.usage), "data": data}
    if result.alike:
        body["warnings"] = [render_alike(alike) for alike in result.alike]
    return body


def _zero_shot(said: ClassifyBody) -> dict[str, Any]:
    """What a request with labels has beside the rest."""
    if said.labels is None:
        refuse(
            "labels",
            'is missing: say what to choose from, as "labels": ["…", "…"], or name a trained '
            'classifier as "classifier_id"',
            LabelsRequired,
        )
    questions = _questions(said.labels)
    known = {label for question in questions for label in question.labels}
    if said.template is not None and "{label}" not in said.template:
        refuse("template", "must hold {label}, which stands for the label")
    return {
        "questions": questions,
        "descriptions": _of_labels("descriptions", said.descriptions or {}, known),
        "template": said.template,
        "threshold": _threshold(said.threshold, known),
    }


def _few_shot(said: ClassifyBody) -> dict[str, Any]:
    """What a request with a classifier has beside the rest."""
    if said.labels is not None:
        refuse("labels", "the classifier has its own: send either labels or a classifier_id")
    for field in ("descriptions", "template"):
        if getattr(said, field) is not None:
            refuse(field, "belongs to labels; a classifier has learnt what its labels mean")
    threshold = said.threshold
    if isinstance(threshold, dict):
        per_label = {label: least for label, least in threshold.items() if label != OTHERS_KEY}
        return {"threshold": Threshold(default=threshold.get(OTHERS_KEY), per_label=per_label)}
    return {"threshold": None if threshold is None else Threshold(default=threshold)}


def _questions(labels: list[str] | dict[str, list[str]]) -> tuple[Question, ...]:
    """Questions with distinct labels: published examples of the vendor send some twice.

    A further spelling of a label is that label again (`shared.normal_form`).
    """
    groups = labels if isinstance(labels, dict) else {None: labels}
    if not groups:
        refuse("labels", "must hold at least one group")
    return tuple(Question(group=group, labels=_distinct(each)) for group, each in groups.items())


def _distinct(labels: list[str]) -> tuple[str, ...]:
    spellings = LabelSpellings()
    for label in labels:
        spellings.add(label)
    return tuple(spellings)


def _threshold(said: float | dict[str, float] | None, known: set[str]) -> Threshold | None:
    if not isinstance(said, dict):
        return None if said is None else Threshold(default=said)
    by_label, default = dict(said), None
    if OTHERS_KEY not in known:
        default = by_label.pop(OTHERS_KEY, None)
    if DEFAULT_KEY not in known:
        least = by_label.pop(DEFAULT_KEY, None)
        default = least if default is None else default
    return Threshold(default=default, per_label=_of_labels("threshold", by_label, known))


def _of_labels(field: str, by_label: dict[str, _V], known: set[str]) -> dict[str, _V]:
    """The values by the labels' own spellings: groups may spell one label in several ways."""
    spelt: dict[str, list[str]] = {}
    for label in known:
        spelt.setdefault(normal_form(label), []).append(label)
    found: dict[str, _V] = {}
    for label, value in by_label.items():
        form = normal_form(label)
        if form not in spelt:
            refuse(f"{field}[{shown(label)}]", "is none of the labels")
        if found.keys() & spelt[form]:
            refuse(f"{field}[{shown(label)}]", "stands twice, in two spellings of one label")
        found |= dict.fromkeys(spelt[form], value)
    return found


def _tokens(usage: Usage) -> dict[str, int]:
    return {"total_tokens": usage.total_tokens, "prompt_tokens": usage.total_tokens}


def _files(said: ClassifyBody) -> FileReading:
    return FileReading(
        by=said.file_by or "auto", max_pages=said.max_pages, per_page=bool(said.per_page)
    )
