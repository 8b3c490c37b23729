"""The report of a version of a classifier: metrics of its examples, and data warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from shared.training_results import (
    ProgressiveEvaluation,
    RemarkKind,
    TrainingWarning,
)
from shared.types import LabelsAlike
from shared.validation import shown

_MAX_NAMED = 10  # items in one sentence; the list beside it has all


class LearningPoint(BaseModel):
    """How many of a call's examples were predicted right by what had learnt so many examples."""

    examples: int
    accuracy: float


class TrainingMetrics(BaseModel):
    """How the examples of this call were predicted, each before it was learnt."""

    accuracy: float
    log_loss: float
    label_strength: float = Field(
        description="How far the examples follow what the names of their labels mean, 0 to 1."
    )
    trust: dict[str, float] = Field(description="The share of each source in the scores.")
    learning_curve: list[LearningPoint] = Field(
        description="Of this call; of a version, over all calls that led to it and whose versions "
        "are kept, by the number of examples: whether more examples help."
    )


class RemarkAnswer(BaseModel):
    """What in the examples or labels will hurt the classifier, and what to do."""

    kind: RemarkKind
    message: str
    labels: list[str]
    items: list[int] = Field(description="Indices of the examples of this call, from 0.")
    value: float = Field(description="A count of examples, or a cosine.")


def render_metrics(
    progressive: ProgressiveEvaluation | None, *, before: Iterable[ProgressiveEvaluation] = ()
) -> dict[str, Any] | None:
    """How a call's examples were predicted; None for a version that no examples made.

    Args:
        progressive: Of the call.
        before: Of the calls before it, in order, where the curve is to show them, too.
    """
    if progressive is None:
        return None
    # Of a number of examples the last share: the call that came later knows better.
    curve = {examples: share for each in (*before, progressive) for examples, share in each.curve}
    return {
        "accuracy": progressive.accuracy,
        "log_loss": progressive.log_loss,
        "label_strength": progressive.label_strength,
        "trust": progressive.trust,
        "learning_curve": [
            {"examples": examples, "accuracy": curve[examples]} for examples in sorted(curve)
        ],
    }


def render_remark(remark: TrainingWarning) -> dict[str, Any]:
    """A remark, with a sentence that says what to do."""
    return {
        "kind": remark.kind,
        "message": _message(remark),
        "labels": remark.labels,
        "items": remark.items,
        "value": remark.value,
    }


def render_alike(alike: LabelsAlike) -> dict[str, Any]:
    """A warning of a classify call, with the sentence that the same labels get in training."""
    fields: dict[str, Any] = {
        "code": "labels_alike",
        "message": _mean_the_same(_named(alike.labels)),
        "labels": list(alike.labels),
    }
    return fields if alike.group is None else {**fields, "group": alike.group}


def _message(remark: TrainingWarning) -> str:
    labels = _named(remark.labels)
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
            return _mean_the_same(labels)


def _mean_the_same(labels: str) -> str:
    return (
        f"Labels {labels} mean nearly the same to the model: name them so that they differ, or "
        "make them one."
    )


def _named(labels: Iterable[str]) -> str:
    return _and([repr(shown(label)) for label in labels])


def _and(words: list[str]) -> str:
    """Words as a list in a sentence, which ends where a reader would stop.

    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    if len(words) > _MAX_NAMED:
        words = [*words[:_MAX_NAMED], f"{len(words) - _MAX_NAMED} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
