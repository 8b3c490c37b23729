from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.zero_shot import (
    MIN_SPREAD,
    CosineCalibration,
    LabelSet,
    cosines,
    scores,
    spread,
    temperature,
)

SCALE = CosineCalibration(temperature=0.059, null_bias=2.0)
MODES = ("calibrated", "jina", "raw")
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)
modes = st.sampled_from(MODES)


def unit_rows(seed, count, dim=16):
    x = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def parts(seed, items, labels):
    rows = unit_rows(seed, items + labels + 3)
    return rows[:items], rows[items:-3], rows[-3:]


@given(seeds, sizes, sizes, modes, st.booleans())
def test_scores_are_finite_float32_and_the_input_stays(seed, n, count, mode, multi_label):
    x, labels, null = parts(seed, n, count)
    before = [a.copy() for a in (x, labels, null)]

    got = scores(x, labels, scale=SCALE, mode=mode, multi_label=multi_label, null=null)

    assert got.shape == (n, count)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert np.all(got >= (-1 if mode == "raw" else 0))
    assert np.all(got <= 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, (x, labels, null), strict=True))


@given(seeds, sizes, sizes, st.sampled_from(("calibrated", "jina")))
def test_single_label_rows_sum_to_one(seed, n, count, mode):
    x, labels, _ = parts(seed, n, count)

    assert np.allclose(scores(x, labels, scale=SCALE, mode=mode).sum(axis=1), 1, atol=1e-5)


@given(seeds, sizes, sizes, modes, st.booleans())
def test_label_order_only_reorders_the_columns(seed, n, count, mode, multi_label):
    x, labels, null = parts(seed, n, count)
    order = np.random.default_rng(seed).permutation(count)
    kind = {"scale": SCALE, "mode": mode, "multi_label": multi_label}

    got = scores(x, labels[order], null=null[::-1], **kind)

    assert np.allclose(got, scores(x, labels, null=null, **kind)[:, order], atol=1e-4)


@given(seeds, st.integers(2, 8), sizes, modes, st.booleans())
def test_batch_mates_do_not_change_a_score(seed, n, count, mode, multi_label):
    x, labels, null = parts(seed, n, count)
    kind = {"scale": SCALE, "mode": mode, "multi_label": multi_label, "null": null}

    alone = np.concatenate([scores(row[None], labels, **kind) for row in x])

    assert np.allclose(alone, scores(x, labels, **kind), atol=1e-4)


@given(seeds, sizes, st.integers(2, 8), st.booleans())
def test_calibration_never_changes_the_ranking(seed, n, count, multi_label):
    x, labels, null = parts(seed, n, count)
    cos = cosines(x, labels)

    got = scores(x, labels, scale=SCALE, multi_label=multi_label, null=null)

    ahead = cos[:, :, None] > cos[:, None, :] + 1e-5
    assert np.all((got[:, :, None] >= got[:, None, :] - 1e-6)[ahead])


@given(seeds, st.integers(1, 8))
def test_spread_and_temperature_are_positive_and_bounded(seed, count):
    labels = unit_rows(seed, count)

    assert MIN_SPREAD <= spread(labels) <= 2
    assert temperature(labels, SCALE) == SCALE.temperature * spread(labels)


@given(seeds, st.integers(2, 8), st.booleans())
def test_a_longer_text_gets_surer_scores_in_the_same_order(seed, count, multi_label):
    x, labels, null = parts(seed, 1, count)
    measured = LabelSet.measure(
        labels, scale=SCALE, null=null if multi_label else None, length_exponent=0.33
    )
    tokens = np.array([0, 16, 17, 300, 512, 9999])

    got = measured.scores(np.repeat(x, 6, axis=0), multi_label=multi_label, tokens=tokens)

    usual = measured.scores(x, multi_label=multi_label)[0]
    assert np.allclose(got[0], usual, atol=1e-4)
    assert np.array_equal(got[0], got[1])
    assert np.array_equal(got[4], got[5])
    order = np.argsort(cosines(x, labels)[0])
    assert np.all(np.diff(got[:, order], axis=1) >= -1e-6)
    if not multi_label:
        assert np.all(np.diff(got.max(axis=1)) >= -1e-6)


@pytest.mark.parametrize("mode", ["jina", "raw"])
def test_length_changes_only_calibrated_scores(mode):
    x, labels, _ = parts(0, 2, 3)
    measured = LabelSet.measure(labels, scale=SCALE, length_exponent=0.33)

    got = measured.scores(x, mode=mode, tokens=np.array([5, 500]))

    assert np.array_equal(got, measured.scores(x, mode=mode))


def test_spread_is_the_distance_of_two_labels():
    labels = np.array([[1, 0], [0.8, 0.6]], np.float32)

    assert spread(labels) == pytest.approx(0.4**0.5, abs=1e-6)


def test_closer_labels_get_a_lower_temperature():
    near = np.array([[1, 0], [0.8, 0.6]], np.float32)

    assert temperature(near, SCALE) < temperature(np.eye(2, dtype=np.float32), SCALE)


def test_a_fixed_temperature_ignores_the_labels():
    fixed = CosineCalibration(temperature=0.01, by_spread=False)

    assert temperature(unit_rows(0, 5), fixed) == 0.01


def test_equal_labels_share_their_probability():
    labels = np.array([[1, 0], [1, 0]], np.float32)

    assert scores(labels[:1], labels, scale=SCALE).tolist() == [[0.5, 0.5]]


def test_a_single_label_is_certain():
    x = unit_rows(0, 2)

    assert scores(x, x[:1], scale=SCALE).tolist() == [[1], [1]]


def test_the_jina_scale_is_a_softmax_of_the_cosine_at_temperature_one():
    labels = np.eye(2, dtype=np.float32)

    got = scores(labels[:1], labels, scale=SCALE, mode="jina")

    assert got[0, 0] == pytest.approx(np.e / (np.e + 1), abs=1e-6)


def test_two_true_labels_are_both_likely_only_in_multi_label():
    labels = np.eye(4, dtype=np.float32)[:3]
    x = np.array([[0.7071, 0.7071, 0, 0]], np.float32)
    null = np.eye(4, dtype=np.float32)[3:]

    one = scores(x, labels, scale=SCALE)
    many = scores(x, labels, scale=SCALE, multi_label=True, null=null)

    assert one[0, :2].max() <= 0.5
    assert many[0, :2].min() > 0.8
    assert many[0, 2] < 0.1


def test_null_labels_let_an_unrelated_text_have_no_label():
    labels = np.eye(4, dtype=np.float32)[:3]
    null = np.eye(4, dtype=np.float32)[3:]

    with_null = scores(null, labels, scale=SCALE, multi_label=True, null=null)
    without = scores(null, labels, scale=SCALE, multi_label=True)

    assert with_null.max() < 0.1
    assert without.min() > 0.5


def test_a_label_of_the_request_does_not_compete_with_itself_as_a_null_label():
    labels = unit_rows(1, 3)
    other = unit_rows(2, 1)

    with_copy = scores(
        labels, labels, scale=SCALE, multi_label=True, null=np.concatenate([other, labels[:1]])
    )

    assert np.array_equal(
        with_copy, scores(labels, labels, scale=SCALE, multi_label=True, null=other)
    )


def test_no_items_give_no_rows():
    labels = unit_rows(0, 3)

    for multi_label in (False, True):
        got = scores(labels[:0], labels, scale=SCALE, multi_label=multi_label, null=labels)
        assert got.shape == (0, 3)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        CosineCalibration(temperature=0.0)
