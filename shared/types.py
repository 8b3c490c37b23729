"""The values inside the service: what every dialect parses to and every handler answers with.

All are frozen and checked when made. Their JSON form is what messages and stored objects hold.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Scores = Literal["calibrated", "jina", "raw"]


class Value(BaseModel):
    """A frozen value. A field that is not known is passed over: a newer process wrote it, and what
    must not be passed over has a newer schema number (`shared.messages`).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Priority(IntEnum):
    """Who goes first when a model is wanted by several: lower numbers do."""

    FAST = 0
    STANDARD = 1
    BULK = 2


class JobKind(StrEnum):
    """What a job does; each kind has one handler."""

    CLASSIFY = "classify"


class Item(Value):
    """One thing to classify."""

    text: str


class Question(Value):
    """One choice between labels. `group` is None for the only question of a plain request."""

    group: str | None = None
    labels: tuple[str, ...]


class Threshold(Value):
    """The least score a label needs to stay in the answer, in the unit of `scores`."""

    default: float | None = None
    per_label: dict[str, float] = Field(default_factory=dict)

    def of(self, label: str) -> float | None:
        """The threshold of one label, or None where every score will do."""
        return self.per_label.get(label, self.default)


class ClassifyRequest(Value):
    """Items to sort into labels by one model, zero-shot."""

    model: str
    items: tuple[Item, ...]
    questions: tuple[Question, ...]
    descriptions: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    scores: Scores = "calibrated"
    multi_label: bool = False
    threshold: Threshold | None = None
    top_k: int | None = None


class Answer(Value):
    """The scores of one question for one item, aligned with the question's labels.

    A label removed by `threshold` or `top_k` has the score None. `best` is the index of the
    highest remaining score, or None when no label remains.
    """

    best: int | None
    scores: tuple[float | None, ...]


class Usage(Value):
    """What a request cost, counted by the model's own tokenizer, without special tokens."""

    input_tokens: int = 0
    label_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens charged."""
        return self.input_tokens + self.label_tokens


class ClassifyResult(Value):
    """Answers by item, each with one answer per question, in the order of the request."""

    answers: tuple[tuple[Answer, ...], ...]
    usage: Usage
    windowed: tuple[int, ...] = ()  # items longer than the model's window: read whole, in windows


class Failure(Value):
    """An error at rest: what `shared.errors` raises, in a message or in a job record."""

    code: str
    detail: str
    fields: tuple[tuple[str, str, str], ...] = ()
    retry_after_s: int | None = None


class WorkerReport(Value):
    """What a living worker says of itself: its device, the queues it takes, the models it holds."""

    device: str
    queues: tuple[str, ...]
    models: tuple[str, ...]
