"""The promotion gate: whether a challenger replaces the champion, with the reasons in words.

Decides: metrics of both on the same holdout, the paired test, the guards of labels and calibration.
Does not decide: how both were trained, what becomes of a rejected challenger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shared.normal_form import LabelSpellings
from shared.retraining import (
    MIN_SUPPORT,
    Gate,
    HoldoutComparison,
    LabelMetrics,
    PredictionSummary,
    RunMetrics,
    SignificanceTest,
    VersionMetrics,
)
from workers.core.evaluation import (
    Doubles,
    Ints,
    QualityMetrics,
    Reliability,
    confusion,
    quality,
    reliability_of,
)
from workers.core.paired_test import (
    Metric,
    PairedTest,
    bootstrap,
    bootstrap_gain,
    mcnemar,
    value,
)

_DECIMALS = 6
_BINS = 15  # of the calibration error


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a version predicts for N examples: `predicted` (N,) and the score of each (N,)."""

    predicted: Ints
    confidence: Doubles


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the gate lets the challenger pass, and why."""

    passed: bool
    reasons: tuple[str, ...]
    metrics: RunMetrics
    test: SignificanceTest
    comparison: HoldoutComparison


def judge(
    gate: Gate,
    labels: Sequence[str],
    y: Ints,
    champion: Predictions,
    challenger: Predictions,
    *,
    seed: int,
) -> Verdict:
    """Compare both on the same N examples, N at least 1.

    Args:
        gate: The conditions.
        labels: L labels: those of the examples and of both versions.
        y: Indices of the true labels, (N,).
        champion, challenger: Their predictions, as indices of `labels`.
        seed: Of the bootstrap.

    >>> y = np.arange(40) % 2
    >>> right = Predictions(predicted=y, confidence=np.ones(40))
    >>> wrong = Predictions(predicted=1 - y, confidence=np.zeros(40))
    >>> judge(Gate(), ["a", "b"], y, wrong, right, seed=1).passed
    True
    >>> print(judge(Gate(), ["a", "b"], y, right, wrong, seed=1).reasons[0])
    macro_f1 1.000 -> 0.000: the gain of -1.000 is below the minimum of 0.000
    """
    count = len(labels)
    metric = metric_of(gate, labels)
    matrices = [confusion(y, each.predicted, count) for each in (champion, challenger)]
    diagrams = [
        reliability_of(each.confidence, each.predicted == y) for each in (champion, challenger)
    ]
    before, after = map(quality, matrices)
    ece_before, ece_after = (each.calibration_error for each in diagrams)
    test = _tested(gate, metric, y, champion.predicted, challenger.predicted, seed=seed)
    at = value(metric, y, champion.predicted), value(metric, y, challenger.predicted)
    faults = [
        *_absent_labels(gate, labels),
        *_metric_faults(gate, at, test),
        *_label_faults(gate, labels, (before, after), y, (champion, challenger), seed=seed),
        *_calibration_faults(gate, (ece_before, ece_after), y, (champion, challenger), seed=seed),
    ]
    passed = not _fails(gate, test)
    return Verdict(
        passed=not faults,
        reasons=tuple(faults) or (f"{_change(gate, at)}: {_interval(gate, test)}",),
        metrics=RunMetrics(
            champion=_metrics(before, ece_before),
            challenger=_metrics(after, ece_after),
            labels=tuple(
                LabelMetrics(
                    label=label,
                    support=int(before.support[k]),
                    champion_f1=_short(before.f1[k]),
                    challenger_f1=_short(after.f1[k]),
                )
                for k, label in enumerate(labels)
            ),
        ),
        test=SignificanceTest(
            statistic=gate.statistic,
            hypothesis=gate.test,
            minimum_gain=gate.minimum_gain,
            confidence=gate.confidence,
            metric=gate.metric,
            champion=_short(_sign(gate) * at[0]),
            challenger=_short(_sign(gate) * at[1]),
            gain=_short(test.gain),
            interval=test.interval and (_short(test.interval[0]), _short(test.interval[1])),
            p_value=_short(test.p_value),
            passed=passed,
        ),
        comparison=HoldoutComparison(
            labels=tuple(labels),
            champion=_summary(matrices[0], diagrams[0]),
            challenger=_summary(matrices[1], diagrams[1]),
        ),
    )


def metric_of(gate: Gate, labels: Sequence[str]) -> Metric:
    """The metric of a gate, of which more is better: a cost counts negatively.

    >>> cost = metric_of(Gate(metric="cost", costs={"a": {"b": 5.0}}), ["a", "b"])
    >>> value(cost, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    -1.5
    """
    if gate.metric == "cost":
        costs = _costs(gate, labels)
        return lambda y, predicted, weights: -(weights @ costs[y, predicted]) / weights.sum(axis=1)
    if gate.metric == "f1":
        place = _places([gate.label or ""], labels)
        only = list(place.values())
        return lambda y, predicted, weights: _f1(y, predicted, weights, only).sum(axis=1)
    if gate.metric == "macro_f1":
        return _macro_f1
    return lambda y, predicted, weights: weights @ (y == predicted) / weights.sum(axis=1)


def _gaps(y: Ints, predictions: Predictions) -> Doubles:
    """What each example adds to the gap between accuracy and confidence of its bin, (N, bins)."""
    confidence = predictions.confidence
    gaps = np.zeros((len(y), _BINS))
    place = np.clip(np.ceil(confidence * _BINS).astype(np.intp) - 1, 0, _BINS - 1)
    gaps[np.arange(len(y)), place] = (predictions.predicted == y) - confidence
    return gaps


def _tested(
    gate: Gate, metric: Metric, y: Ints, champion: Ints, challenger: Ints, *, seed: int
) -> PairedTest:
    if gate.statistic == "mcnemar":
        return mcnemar(y, champion, challenger)
    return bootstrap(metric, y, champion, challenger, confidence=gate.confidence, seed=seed)


def _fails(gate: Gate, test: PairedTest) -> bool:
    if gate.test == "better":
        return not test.is_better(gate.confidence)
    return test.is_worse(gate.confidence)


def _metric_faults(gate: Gate, at: tuple[float, float], test: PairedTest) -> list[str]:
    gain = at[1] - at[0]
    faults = []
    if gain < gate.minimum_gain - 1e-9:
        faults.append(
            f"{_change(gate, at)}: the gain of {gain:.3f} is below the minimum of "
            f"{gate.minimum_gain:.3f}"
        )
    if _fails(gate, test):
        better = "the test does not say with {} confidence that it is better"
        worse = "the test says with {} confidence that it is worse"
        found = (better if gate.test == "better" else worse).format(f"{gate.confidence:.0%}")
        faults.append(f"{_change(gate, at)}: {found} ({_interval(gate, test)})")
    return faults


def _label_faults(
    gate: Gate,
    labels: Sequence[str],
    quality: tuple[QualityMetrics, QualityMetrics],
    y: Ints,
    versions: tuple[Predictions, Predictions],
    *,
    seed: int,
) -> list[str]:
    """The labels that lose more than is allowed, and more than chance explains.

    The F1 of a label with 10 examples changes by 0.1 by chance, so that a guard without a test
    rejects nearly each challenger of a classifier with many labels.
    """
    if gate.maximum_label_drop is None:
        return []
    before, after = quality
    drops = before.f1 - after.f1  # (L,)
    guarded = before.support >= MIN_SUPPORT
    each = 1.0 - (1.0 - gate.confidence) / max(int(guarded.sum()), 1)  # Bonferroni's correction

    def is_lost(k: int) -> bool:
        test = bootstrap(
            lambda y, predicted, weights: _f1(y, predicted, weights, [k])[:, 0],
            y,
            versions[0].predicted,
            versions[1].predicted,
            confidence=each,
            seed=seed,
        )
        return test.is_worse(each)

    lost = [
        k
        for k in map(int, np.argsort(-drops, kind="stable"))
        if drops[k] > gate.maximum_label_drop + 1e-9 and guarded[k] and is_lost(k)
    ]
    return [
        f"label {labels[k]!r}: f1 {before.f1[k]:.3f} -> {after.f1[k]:.3f} on "
        f"{int(before.support[k])} examples, a loss of more than {gate.maximum_label_drop:g}"
        for k in lost
    ]


def _calibration_faults(
    gate: Gate,
    errors: tuple[float, float],
    y: Ints,
    versions: tuple[Predictions, Predictions],
    *,
    seed: int,
) -> list[str]:
    """A challenger that is calibrated no worse than the champion, but for chance, passes."""
    before, after = errors
    if gate.maximum_ece is None or after <= max(gate.maximum_ece, before):
        return []
    champion, challenger = (_gaps(y, each) for each in versions)  # (N, bins)
    test = bootstrap_gain(
        lambda weights: (
            (np.abs(weights @ champion) - np.abs(weights @ challenger)).sum(axis=1)
            / weights.sum(axis=1)
        ),
        len(y),
        confidence=gate.confidence,
        seed=seed,
    )
    if not test.is_worse(gate.confidence):
        return []
    return [f"calibration error {before:.3f} -> {after:.3f}, above {gate.maximum_ece:g}"]


def _change(gate: Gate, at: tuple[float, float]) -> str:
    sign = _sign(gate)
    name = f"f1 of {gate.label!r}" if gate.metric == "f1" else gate.metric
    return f"{name} {sign * at[0]:.3f} -> {sign * at[1]:.3f}"


def _sign(gate: Gate) -> float:
    """Costs are shown as they are, and compared as negative numbers."""
    return -1.0 if gate.metric == "cost" else 1.0


def _interval(gate: Gate, test: PairedTest) -> str:
    if test.interval is None:
        return f"gain {test.gain:.3f}, p = {test.p_value:.3f}"
    low, high = test.interval
    return f"gain {test.gain:.3f}, {gate.confidence:.0%} interval {low:.3f} to {high:.3f}"


def _costs(gate: Gate, labels: Sequence[str]) -> Doubles:
    """The cost of each prediction, (L, L): row is the true label, column the predicted one."""
    costs = 1.0 - np.eye(len(labels))
    place = _places(_named(gate), labels)
    for true, row in gate.costs.items():
        for predicted, cost in row.items():
            if true in place and predicted in place:
                costs[place[true], place[predicted]] = cost
    return costs


def _macro_f1(y: Ints, predicted: Ints, weights: Doubles) -> Doubles:
    """The mean F1 of the labels that occur, as truth or as prediction, (B,)."""
    f1 = _f1(y, predicted, weights, np.unique([y, predicted]))  # (B, K), NaN where one is absent
    mean: Doubles = np.nanmean(f1, axis=1)
    return mean


def _f1(y: Ints, predicted: Ints, weights: Doubles, labels: Sequence[int] | Ints) -> Doubles:
    """The F1 of K labels for B weightings, (B, K)."""
    true = y[:, None] == labels  # (N, K)
    found = predicted[:, None] == labels
    both = weights @ (true.astype(np.float64) + found)
    with np.errstate(invalid="ignore"):
        f1: Doubles = 2.0 * (weights @ (true & found)) / both
    return f1


def _metrics(quality: QualityMetrics, ece: float) -> VersionMetrics:
    return VersionMetrics(
        macro_f1=_short(quality.macro_f1),
        accuracy=_short(quality.accuracy),
        micro_f1=_short(quality.micro_f1),
        calibration_error=_short(ece),
    )


def _summary(matrix: Ints, diagram: Reliability) -> PredictionSummary:
    cells = np.argwhere(matrix > 0)  # (C, 2)
    return PredictionSummary(
        confusion=tuple((int(t), int(p), int(matrix[t, p])) for t, p in cells),
        reliability=diagram.bins(),
    )


def _short(number: float) -> float:
    return round(float(number), _DECIMALS)


def _named(gate: Gate) -> list[str]:
    """The labels that the metric of a gate names."""
    if gate.metric == "f1":
        return [gate.label or ""]
    if gate.metric == "cost":
        return [label for true, row in gate.costs.items() for label in (true, *row)]
    return []


def _places(named: Iterable[str], labels: Sequence[str]) -> dict[str, int]:
    """The index of each named label that is one of `labels`, in whatever spelling."""
    spellings = LabelSpellings(labels)
    index = {label: k for k, label in enumerate(labels)}
    found = {label: spellings.get(label) for label in named}
    return {label: index[own] for label, own in found.items() if own is not None}


def _absent_labels(gate: Gate, labels: Sequence[str]) -> list[str]:
    """A fault for each label that the gate names and that has been renamed or removed since."""
    known = _places(_named(gate), labels)
    return [
        f"the gate names the label {label!r}, which neither a version nor an example has: "
        "change the gate"
        for label in dict.fromkeys(_named(gate))
        if label not in known
    ]
