"""The promotion gate on made-up predictions: what passes, what does not, and why in words."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.retraining import Gate
from workers.core.paired_test import value
from workers.core.promotion_gate import Predictions, Verdict, judge, metric_of

LABELS = ("refund", "delivery", "other")
RNG = np.random.default_rng(7)
Y = RNG.integers(0, 3, 300)


def predictions(wrong: float, *, seed: int = 0, confidence: float | None = None) -> Predictions:
    """Predictions of which a share is wrong, calibrated unless `confidence` says otherwise."""
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(len(Y)) < wrong, (Y + 1) % 3, Y)
    score = 1.0 - wrong if confidence is None else confidence
    return Predictions(predicted=predicted, confidence=np.full(len(Y), score))


def verdict(gate: Gate, before: Predictions, after: Predictions) -> Verdict:
    return judge(gate, LABELS, Y, before, after, seed=1)


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "micro_f1", "cost"])
@pytest.mark.parametrize("statistic", ["bootstrap", "mcnemar"])
def test_a_better_challenger_passes_both_tests(metric: str, statistic: str):
    gate = Gate(metric=metric, statistic=statistic, test="better")  # type: ignore[arg-type]

    found = verdict(gate, predictions(0.4), predictions(0.1))

    assert found.passed
    assert found.reasons[0].startswith(f"{metric} 0.")
    assert " -> " in found.reasons[0]


@pytest.mark.parametrize("test", ["not_worse", "better"])
@pytest.mark.parametrize("statistic", ["bootstrap", "mcnemar"])
def test_a_worse_challenger_does_not(test: str, statistic: str):
    gate = Gate(test=test, statistic=statistic)  # type: ignore[arg-type]

    found = verdict(gate, predictions(0.1), predictions(0.4))

    assert not found.passed
    assert "below the minimum of 0.000" in found.reasons[0]
    assert "with 95% confidence that it is" in found.reasons[1]


def test_the_same_predictions_are_not_worse_and_not_better():
    same = predictions(0.2)

    assert verdict(Gate(test="not_worse"), same, same).passed
    assert not verdict(Gate(test="better"), same, same).passed


def test_a_small_loss_passes_where_the_owner_allows_it():
    before, after = predictions(0.20, seed=1), predictions(0.21, seed=1)
    allowed = Gate(minimum_gain=-0.05, maximum_label_drop=None, confidence=0.999)

    assert not verdict(Gate(maximum_label_drop=None), before, after).passed
    assert verdict(allowed, before, after).passed


def test_one_label_that_loses_stops_a_challenger_that_gains():
    before = predictions(0.4)
    worse = np.where(Y == 0, 1, Y)
    after = Predictions(predicted=worse, confidence=np.full(len(Y), 0.7))

    found = verdict(Gate(metric="accuracy", maximum_ece=None), before, after)

    assert not found.passed
    assert found.reasons[0].startswith("label 'refund': f1 0.")
    assert verdict(Gate(metric="accuracy", maximum_label_drop=None), before, after).passed


def test_a_label_of_few_examples_is_not_guarded():
    y = np.array([0] * 9 + [1] * 91)
    right = Predictions(predicted=y, confidence=np.ones(100))
    lost = Predictions(predicted=np.ones(100, np.intp), confidence=np.full(100, 0.95))
    gate = Gate(minimum_gain=-1.0, confidence=0.999999, maximum_ece=None, metric="accuracy")

    found = judge(gate, LABELS[:2], y, right, lost, seed=1)

    assert not any("label" in reason for reason in found.reasons)


def test_guards_reject_few_challengers_that_differ_by_chance_only():
    """60 pairs of equal quality on a small holdout; a guard without a test rejects most."""
    rng = np.random.default_rng(3)

    def guess(y: NDArray[np.intp]) -> Predictions:
        right = rng.random(len(y)) < 0.7
        return Predictions(
            predicted=np.where(right, y, rng.integers(0, 6, len(y))),
            confidence=rng.uniform(0.5, 0.9, len(y)),
        )

    def rejected() -> bool:
        y: NDArray[np.intp] = rng.integers(0, 6, 100)
        gate = Gate(minimum_gain=-1.0)
        labels = [f"label {k}" for k in range(6)]
        found = judge(gate, labels, y, guess(y), guess(y), seed=1)
        return any(reason.startswith(("label", "calib")) for reason in found.reasons)

    assert sum(rejected() for _ in range(60)) <= 6


def test_a_challenger_that_is_too_sure_of_itself_does_not_pass():
    found = verdict(Gate(), predictions(0.4), predictions(0.2, confidence=1.0))

    assert found.reasons == ("calibration error 0.047 -> 0.213, above 0.1",) or (
        "above 0.1" in found.reasons[0]
    )
    assert verdict(Gate(maximum_ece=None), predictions(0.4), predictions(0.2)).passed


def test_the_f1_of_one_label_may_decide():
    after = Predictions(predicted=np.where(Y == 0, 0, 1), confidence=np.full(len(Y), 0.7))
    gate = Gate(metric="f1", label="refund", maximum_label_drop=None, maximum_ece=None)

    found = verdict(gate, predictions(0.4), after)

    assert found.passed
    assert found.reasons[0].startswith("f1 of 'refund' 0.")


@pytest.mark.parametrize("spelling", ["refund\u00a0", "re\u200bfund"])
def test_a_label_that_the_gate_names_may_be_spelt_otherwise(spelling: str):
    after = Predictions(predicted=np.where(Y == 0, 0, 1), confidence=np.full(len(Y), 0.7))
    for gate, same in (
        (Gate(metric="f1", label=spelling), Gate(metric="f1", label="refund")),
        (
            Gate(metric="cost", costs={spelling: {"other ": 9.0}}),
            Gate(metric="cost", costs={"refund": {"other": 9.0}}),
        ),
    ):
        assert value(metric_of(gate, LABELS), Y, after.predicted) == value(
            metric_of(same, LABELS), Y, after.predicted
        )
        assert verdict(gate, predictions(0.4), after).test.gain == (
            verdict(same, predictions(0.4), after).test.gain
        )


@pytest.mark.parametrize(
    "gate", [Gate(metric="f1", label="gone"), Gate(metric="cost", costs={"refund": {"gone": 2.0}})]
)
def test_a_gate_whose_label_was_renamed_lets_nothing_pass_and_says_why(gate: Gate):
    found = verdict(gate, predictions(0.4), predictions(0.9))

    assert not found.passed
    assert "'gone'" in found.reasons[0]
    assert "change the gate" in found.reasons[0]


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "f1", "cost"])
def test_metrics_of_weighted_examples_are_those_of_repeated_ones(metric: str):
    rng = np.random.default_rng(3)
    predicted, weights = rng.integers(0, 3, len(Y)), rng.integers(0, 3, (4, len(Y)))
    gate = Gate(metric=metric, label="other", costs={"refund": {"other": 3.0}})  # type: ignore[arg-type]
    of = metric_of(gate, LABELS)

    weighted = of(Y, predicted, weights.astype(np.float64))

    repeated = [value(of, np.repeat(Y, w), np.repeat(predicted, w)) for w in weights]
    assert weighted == pytest.approx(repeated)


def test_noise_is_promoted_in_at_most_one_night_of_twenty():
    """200 nights in which both versions guess: with 95 % confidence, at most 5 % may pass."""
    gate = Gate(test="better", confidence=0.95, maximum_label_drop=None, maximum_ece=None)

    def night(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        y: NDArray[np.intp] = rng.integers(0, 4, 200)
        guesses = (
            Predictions(predicted=rng.integers(0, 4, 200), confidence=np.full(200, 0.25))
            for _ in range(2)
        )
        return judge(gate, "abcd", y, *guesses, seed=seed).passed

    assert sum(map(night, range(200))) <= 10
