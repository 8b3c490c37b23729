"""The report of a version of a classifier, and the result of a training."""

from __future__ import annotations

from typing import Literal

from shared.types import JobResult, Value

RemarkKind = Literal["conflicting_duplicates", "few_examples", "similar_labels"]


class ProgressiveEvaluation(Value):
    """Predictions for the examples of a train call, each made before the example was learnt.

    `curve`: (number of examples learnt before, fraction correct). `trust`: the weight of each
    source in the scores. `label_strength`: how strongly examples follow the label names.
    """

    accuracy: float
    log_loss: float
    curve: tuple[tuple[int, float], ...]
    trust: dict[str, float]
    label_strength: float


class TrainingWarning(Value):
    """A problem of examples or labels that reduces accuracy; `items` are indices of the call."""

    kind: RemarkKind
    labels: tuple[str, ...]
    items: tuple[int, ...] = ()
    value: float  # a count of examples, or a cosine


class VersionReport(Value):
    """Everything about one version of a classifier but its weights."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]  # number of examples of each label
    progressive: ProgressiveEvaluation | None = None
    remarks: tuple[TrainingWarning, ...] = ()


class TrainResult(JobResult):
    """A new version of a classifier: trained, rebuilt or imported."""

    classifier_id: str
    version: int
    num_samples: int  # examples of this call
    candidate: bool = False
    report: VersionReport
