"""The main dialect: `input` and `labels` in, `data[].predictions` in request label order out.

Shapes follow the classification endpoint of the Jina API; what it lacks (`multi_label`, `top_k`,
`threshold`, `scores`, `template`, `descriptions`) is off unless it is asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from api.wire.refusal import refuse, shown, translated
from shared.errors import LabelsRequired, NotFound
from shared.types import (
    Answer,
    ClassifyRequest,
    ClassifyResult,
    Item,
    Question,
    Scores,
    Threshold,
    Usage,
)

NAME = "jina"
_MOST_ENTRIES = 65_536  # of one list or object: bounds the memory that a hostile body can take
_KEYED = frozenset({"descriptions", "labels", "threshold"})
_V = TypeVar("_V", str, float)


class _Shape(BaseModel):
    """A shape of the wire: types as JSON has them, unknown keys ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class TextInput(_Shape):
    """One text to classify."""

    text: str


def _bounded(value: object) -> object:
    size = len(value) if isinstance(value, list | dict) else 0
    if isinstance(value, dict):
        size += sum(len(each) for each in value.values() if isinstance(each, list))
    if size > _MOST_ENTRIES:
        raise PydanticCustomError("value_error", f"at most {_MOST_ENTRIES} entries are read")
    return value


def _as_list(value: object) -> object:
    return _bounded([value] if isinstance(value, str | dict) else value)


def _as_text_input(value: object) -> object:
    if isinstance(value, str):
        return TextInput.model_construct(text=value)
    if not isinstance(value, dict):
        raise PydanticCustomError("value_error", "must be a text, or an object with a text")
    if value.get("image") is not None:
        raise PydanticCustomError(
            "value_error", "images are not available in this version; send a text"
        )
    return value


def _kind(value: object) -> str:
    return "<object>" if isinstance(value, dict) else "<plain>"


_Input = Annotated[
    TextInput, BeforeValidator(_as_text_input, json_schema_input_type=str | TextInput)
]
_Inputs = Annotated[
    list[_Input],
    BeforeValidator(_as_list, json_schema_input_type=str | TextInput | list[_Input]),
]
_Words = Annotated[list[str], BeforeValidator(_bounded)]
_Labels = Annotated[
    Annotated[_Words, Tag("<plain>")]
    | Annotated[dict[str, _Words], BeforeValidator(_bounded), Tag("<object>")],
    Discriminator(_kind),
]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Threshold = Annotated[
    Annotated[_Number, Tag("<plain>")]
    | Annotated[dict[str, _Number], BeforeValidator(_bounded), Tag("<object>")],
    Discriminator(_kind),
]
_Texts = Annotated[dict[str, str], BeforeValidator(_bounded)]


class ClassifyBody(_Shape):
    """A classify request. Optional fields may be null, which means what leaving them out does."""

    model: str | None = Field(None, description="Model or alias; the server's default if absent.")
    input: _Inputs = Field(description='One text or many, plain or as `{"text": …}`.')
    labels: _Labels | None = Field(
        None,
        description="At least two labels, or several groups of labels: one question for each.",
    )
    classifier_id: str | None = Field(None, description="A trained classifier; none exist yet.")
    multi_label: bool | None = Field(
        None, description="Judge each label by itself; any number of them may apply."
    )
    threshold: _Threshold | None = Field(
        None,
        description="Least score of a label in the answer; per label with `{label: number}`, where "
        "`default` stands for the others.",
    )
    top_k: int | None = Field(None, ge=1, le=_MOST_ENTRIES, description="Most labels answered.")
    scores: Scores | None = Field(
        None,
        description="`calibrated` probabilities (default), the bare softmax of `jina`, or the "
        "`raw` cosine.",
    )
    template: str | None = Field(
        None, description="What a label becomes before it is compared; holds `{label}`."
    )
    descriptions: _Texts | None = Field(None, description="What a label means, by label.")


class LabelScore(_Shape):
    """A label and how well it fits."""

    label: str
    score: float


class Classification(_Shape):
    """The answer for one input. With groups of labels, the three answers are objects by group."""

    object: Literal["classification"]
    index: int
    prediction: str | dict[str, str | None] | None = Field(
        description="The best label; null where a threshold left none."
    )
    score: float | dict[str, float | None] | None
    predictions: list[LabelScore] | dict[str, list[LabelScore]] = Field(
        description="Every label with its score, in the order of the request, but for those that "
        "`threshold` or `top_k` removed."
    )
    truncated: Literal[False] = Field(
        default=False,
        description="Present where the text is longer than the model's window: it was read whole, "
        "window by window.",
    )


class Tokens(_Shape):
    """What the request cost: tokens of inputs and labels."""

    total_tokens: int
    prompt_tokens: int


class ClassifyAnswer(_Shape):
    """Answers in the order of the inputs."""

    usage: Tokens
    data: list[Classification]


def parse(body: dict[str, object], *, default_model: str) -> ClassifyRequest:
    """The internal request of a body.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
        LabelsRequired: It names neither labels nor a classifier.
        NotFound: It names a classifier.
    """
    try:
        said = ClassifyBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc, keyed=_KEYED) from None
    if said.classifier_id is not None:
        raise NotFound("no such classifier; trained classifiers are not available in this version")
    if said.labels is None:
        refuse(
            "labels",
            'is missing: say what to choose from, as "labels": ["…", "…"]',
            LabelsRequired,
        )
    questions = _questions(said.labels)
    known = {label for question in questions for label in question.labels}
    if said.template is not None and "{label}" not in said.template:
        refuse("template", "must hold {label}, which stands for the label")
    return ClassifyRequest(
        model=default_model if said.model is None else said.model,
        items=tuple(Item(text=each.text) for each in said.input),
        questions=questions,
        descriptions=_of_labels("descriptions", said.descriptions or {}, known),
        template=said.template,
        scores=said.scores or "calibrated",
        multi_label=bool(said.multi_label),
        threshold=_threshold(said.threshold, known),
        top_k=said.top_k,
    )


def render(request: ClassifyRequest, result: ClassifyResult) -> dict[str, Any]:
    """The body of an answer: (N, L) scores as N rows of at most L predictions."""
    row = _plain_row if request.questions[0].group is None else _grouped_row
    data = [
        {"object": "classification", "index": i, **row(request.questions, answers)}
        for i, answers in enumerate(result.answers)
    ]
    for index in result.windowed:
        data[index]["truncated"] = False
    return {"usage": _tokens(result.usage), "data": data}


def _questions(labels: list[str] | dict[str, list[str]]) -> tuple[Question, ...]:
    """Questions with distinct labels: published examples of the vendor send some twice."""
    groups = labels if isinstance(labels, dict) else {None: labels}
    if not groups:
        refuse("labels", "must hold at least one group")
    return tuple(
        Question(group=group, labels=tuple(dict.fromkeys(each))) for group, each in groups.items()
    )


def _threshold(said: float | dict[str, float] | None, known: set[str]) -> Threshold | None:
    if not isinstance(said, dict):
        return None if said is None else Threshold(default=said)
    per_label = _of_labels("threshold", said, known | {"default"})
    return Threshold(
        default=said.get("default"),
        per_label={label: least for label, least in per_label.items() if label in known},
    )


def _of_labels(field: str, by_label: dict[str, _V], known: set[str]) -> dict[str, _V]:
    for label in by_label:
        if label not in known:
            refuse(f"{field}[{shown(label)}]", "is none of the labels")
    return by_label


def _tokens(usage: Usage) -> dict[str, int]:
    return {"total_tokens": usage.total_tokens, "prompt_tokens": usage.total_tokens}


class Scored(msgspec.Struct, gc=False):
    """A label and its score; an answer may hold 262,144, so they are lighter than dicts."""

    label: str
    score: float


def _plain_row(questions: tuple[Question, ...], answers: tuple[Answer, ...]) -> dict[str, Any]:
    labels, (answer,) = questions[0].labels, answers
    predictions = [
        Scored(label, score)
        for label, score in zip(labels, answer.scores, strict=True)
        if score is not None
    ]
    best = answer.best
    return {
        "prediction": None if best is None else labels[best],
        "score": None if best is None else answer.scores[best],
        "predictions": predictions,
    }


def _grouped_row(questions: tuple[Question, ...], answers: tuple[Answer, ...]) -> dict[str, Any]:
    rows = {
        question.group: _plain_row((question,), (answer,))
        for question, answer in zip(questions, answers, strict=True)
    }
    return {
        field: {group: row[field] for group, row in rows.items()}
        for field in ("prediction", "score", "predictions")
    }
