"""Drift by its measures: chance raises no flag, a change does. Vectors are drawn with a seed."""

from __future__ import annotations

import numpy as np
import pytest

from shared.drift import DriftMeasures, drift
from shared.observation import Observation, merged
from workers.core.observation_sums import observed

LABELS, DIMENSIONS = 6, 64
RNG = np.random.default_rng(20261130)
CENTRES = RNG.normal(size=(2, LABELS, DIMENSIONS))
"""Of the labels of two kinds of text."""


def items(
    count: int, rng: np.random.Generator, *, mixed: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around the centres of labels, and their scores by the first kind of text."""
    kind = (rng.random(count) < mixed).astype(int)
    rows = CENTRES[kind, rng.integers(LABELS, size=count)] + rng.normal(size=(count, DIMENSIONS))
    x = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    logits = 12.0 * x @ (CENTRES[0] / np.linalg.norm(CENTRES[0], axis=1, keepdims=True)).T
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return x, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def window(count: int, seed: int, *, mixed: float = 0.0) -> Observation:
    names = [f"label {n}" for n in range(LABELS)]
    return observed(names, *items(count, np.random.default_rng(seed), mixed=mixed))


def measured(reference: Observation, seen: Observation) -> DriftMeasures:
    found = drift(reference, seen)
    assert found is not None
    return found


@pytest.mark.parametrize("reference", [60, 400, 4000])
@pytest.mark.parametrize("count", [50, 500, 5000])
def test_twenty_windows_of_unchanged_traffic_raise_at_most_one_flag(reference: int, count: int):
    expected = window(reference, 1)

    flags = sum(measured(expected, window(count, 100 + seed)).drifted for seed in range(20))

    assert flags <= 1


def test_other_text_mixed_in_at_30_percent_is_flagged_within_500_items():
    expected = window(2000, 1)

    found = [measured(expected, window(500, 100 + seed, mixed=0.3)) for seed in range(20)]

    assert all(each.drifted for each in found)
    assert all(each.embedding.drifted for each in found)


def test_other_shares_of_labels_are_flagged_by_the_labels():
    expected = window(2000, 1)
    one = expected.model_copy(update={"labels": {"label 0": 1500, "label 1": 500}})

    found = measured(expected, one)

    assert found.labels.drifted
    assert not found.confidence.drifted
    assert not found.embedding.drifted


def test_the_expected_distance_of_unchanged_traffic_is_one():
    expected = window(2000, 1)

    values = [measured(expected, window(500, 100 + seed)).embedding.value for seed in range(20)]

    assert np.mean(np.square(values)) == pytest.approx(1.0, abs=0.2)


def test_the_precision_of_the_engine_is_no_drift_at_any_number_of_items():
    names = [f"label {n}" for n in range(LABELS)]
    x, scores = items(20_000, np.random.default_rng(1))
    shift = np.full(DIMENSIONS, np.sqrt(0.0008 / DIMENSIONS), np.float32)

    found = measured(observed(names, x, scores), observed(names, x + shift, scores))

    assert not found.embedding.drifted


def test_fewer_than_50_items_are_never_drifted():
    assert not measured(window(2000, 1), window(49, 2, mixed=1.0)).drifted
    assert not measured(window(49, 1), window(2000, 2, mixed=1.0)).drifted
    assert drift(Observation(), window(100, 1)) is None


def test_sums_of_parts_are_the_sums_of_the_whole():
    x, scores = items(300, np.random.default_rng(5))
    names = [f"label {n}" for n in range(LABELS)]
    whole = observed(names, x, scores)

    parts = merged(observed(names, x[i : i + 100], scores[i : i + 100]) for i in (0, 100, 200))

    assert parts.labels == whole.labels
    assert parts.confidence == whole.confidence
    assert (parts.items, parts.uncertain) == (300, whole.uncertain)
    assert parts.vector == pytest.approx(whole.vector, abs=1e-4)
    assert parts.squares == pytest.approx(300, abs=1e-3)
