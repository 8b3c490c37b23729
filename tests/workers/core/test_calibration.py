from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)

seeds = st.integers(0, 2**32 - 1)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn(seed, items, labels, temperature):
    """Logits, and labels drawn from their softmax at the temperature."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(items, labels)).astype(np.float32)
    gumbel = rng.gumbel(size=z.shape)
    return z, (z / temperature + gumbel).argmax(axis=1)


@given(seeds, st.integers(1, 50), st.integers(1, 6))
def test_the_error_is_between_zero_and_one_and_the_input_stays(seed, n, labels):
    z, y = drawn(seed, n, labels, 1.0)
    p = softmax(z)
    before = p.copy()

    assert 0 <= expected_calibration_error(p, y) <= 1
    assert np.array_equal(p, before)


@given(seeds)
def test_item_and_label_order_are_irrelevant(seed):
    rng = np.random.default_rng(seed)
    z, y = drawn(seed, 30, 5, 1.0)
    items, labels = rng.permutation(30), rng.permutation(5)
    p = softmax(z)

    moved = expected_calibration_error(p[items][:, labels], np.argsort(labels)[y[items]])

    assert moved == pytest.approx(expected_calibration_error(p, y), abs=1e-9)


def test_certain_and_right_is_zero_and_certain_and_wrong_is_one():
    p = np.array([[1, 0], [1, 0]], np.float32)

    assert expected_calibration_error(p, np.array([0, 0])) == 0
    assert expected_calibration_error(p, np.array([1, 1])) == 1


def test_gaps_in_different_bins_do_not_cancel_out():
    p = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)

    assert expected_calibration_error(p, np.array([1, 0])) == pytest.approx((0.9 + 0.4) / 2)
    assert expected_calibration_error(p, np.array([1, 0]), bins=1) == pytest.approx(0.25)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([0.05, 0.2, 1.0, 3.0]))
def test_the_temperature_that_made_the_labels_is_found(seed, temperature):
    z, y = drawn(seed, 20_000, 4, temperature)

    assert fit_temperature(z, y) == pytest.approx(temperature, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_no_other_temperature_is_likelier(seed):
    z, y = drawn(seed, 40, 3, 0.7)
    best = fit_temperature(z, y)

    for other in np.geomspace(1e-3, 10, 60):
        assert (
            negative_log_likelihood(z, y, best)
            <= negative_log_likelihood(z, y, float(other)) + 1e-6
        )


def test_a_fitted_temperature_calibrates():
    z, y = drawn(0, 20_000, 4, 0.2)

    before = expected_calibration_error(softmax(z), y)
    after = expected_calibration_error(softmax(z / fit_temperature(z, y)), y)

    assert before > 0.2
    assert after < 0.02


def test_scaling_the_logits_scales_the_temperature():
    z, y = drawn(1, 500, 4, 0.5)

    assert fit_temperature(z * 2, y) == pytest.approx(2 * fit_temperature(z, y), rel=1e-3)


def test_labels_that_are_always_right_end_at_the_lowest_temperature():
    z = np.array([[1, 0], [0, 1]], np.float32)

    assert fit_temperature(z, np.array([0, 1]), low=0.1) == pytest.approx(0.1, rel=1e-3)
