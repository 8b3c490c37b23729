"""What is known of a version of a classifier: how its examples fared, and what will hurt it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from shared.dialects.refusal import shown
from shared.types import Progressive, Remark, RemarkKind

_MOST_NAMED = 10  # items in one sentence; the list beside it has all


class LearningPoint(BaseModel):
    """How many of the examples so far were predicted right before they were learnt."""

    examples: int
    accuracy: float


class Metrics(BaseModel):
    """How the examples of this call were predicted, each before it was learnt."""

    accuracy: float
    log_loss: float
    label_strength: float = Field(
        description="How far the examples follow what the names of their labels mean, 0 to 1."
    )
    trust: dict[str, float] = Field(description="The share of each source in the scores.")
    learning_curve: list[LearningPoint]


class RemarkAnswer(BaseModel):
    """What in the examples or labels will hurt the classifier, and what to do."""

    kind: RemarkKind
    message: str
    labels: list[str]
    items: list[int] = Field(description="Indices of the examples of this call, from 0.")
    value: float = Field(description="A count of examples, or a cosine.")


def render_metrics(progressive: Progressive | None) -> dict[str, Any] | None:
    """How a call's examples were predicted; None for a version that no examples made."""
    if progressive is None:
        return None
    return {
        "accuracy": progressive.accuracy,
        "log_loss": progressive.log_loss,
        "label_strength": progressive.label_strength,
        "trust": progressive.trust,
        "learning_curve": [
            {"examples": examples, "accuracy": share} for examples, share in progressive.curve
        ],
    }


def render_remark(remark: Remark) -> dict[str, Any]:
    """A remark, with a sentence that says what to do."""
    return {
        "kind": remark.kind,
        "message": _message(remark),
        "labels": remark.labels,
        "items": remark.items,
        "value": remark.value,
    }


def _message(remark: Remark) -> str:
    labels = _and([repr(shown(label)) for label in remark.labels])
    match remark.kind:
        case "conflicting_duplicates":
            return (
                f"Items {_and([str(item) for item in remark.items])} say the same, but are "
                f"labelled {labels}: give them one label, or leave them out."
            )
        case "few_examples":
            count = f"{remark.value:g} example{'' if remark.value == 1 else 's'}"
            return f"Label {labels} has only {count}: send more of it."
        case "similar_labels":
            return (
                f"Labels {labels} mean nearly the same to the model: name them so that they "
                "differ, or make them one."
            )


def _and(words: list[str]) -> str:
    """Words as a list in a sentence, which ends where a reader would stop.

    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    if len(words) > _MOST_NAMED:
        words = [*words[:_MOST_NAMED], f"{len(words) - _MOST_NAMED} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
