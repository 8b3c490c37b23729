"""The result of an evaluation, with its parts."""

from __future__ import annotations

from shared.types import JobResult, Value


class LabelQuality(Value):
    """Metrics of one label in an evaluation; `threshold` is the score with the best F1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    threshold: float


class ReliabilityBin(Value):
    """Items whose best score lies in a bin that ends at `upper`."""

    upper: float
    confidence: float
    accuracy: float
    count: int


class UncertainItem(Value):
    """An item of which the classifier is uncertain."""

    index: int
    prediction: str
    score: float
    margin: float


class EvaluateResult(JobResult):
    """Quality of a version on labelled examples. `confusion`: rows true, columns predicted."""

    classifier_id: str
    version: int
    num_samples: int  # examples with a label
    accuracy: float
    macro_f1: float
    micro_f1: float
    calibration_error: float
    labels: tuple[LabelQuality, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    worth_labelling: tuple[UncertainItem, ...]
    plots: tuple[str, ...] = ()  # names of the plot files beside the result
