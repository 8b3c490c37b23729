from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from workers.core.selection import NONE, select, thresholds

grids = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    # Few distinct values, so that ties are common.
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
levels = st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0])


def level(scores, value):
    return np.full(scores.shape[1], value, np.float32)


@pytest.mark.slow
@given(grids, levels, st.integers(1, 8), st.booleans())
def test_what_stays_reaches_its_threshold_and_is_among_the_best(scores, at, top_k, multi_label):
    before = scores.copy()

    found = select(scores, thresholds=level(scores, at), top_k=top_k, multi_label=multi_label)

    assert np.all(scores[found.keep] >= np.float32(at))
    assert np.array_equal(
        found.keep.sum(axis=1), np.minimum((scores >= np.float32(at)).sum(axis=1), top_k)
    )
    for row, keep in zip(scores, found.keep, strict=True):
        gone = row[~keep & (row >= np.float32(at))]
        assert not gone.size or row[keep].min() >= gone.max()
    assert np.array_equal(scores, before)


@given(grids, levels, st.booleans())
def test_the_prediction_is_kept_or_none(scores, at, multi_label):
    found = select(scores, thresholds=level(scores, at), multi_label=multi_label)

    for row, keep, best in zip(scores, found.keep, found.best, strict=True):
        assert best == NONE or (keep[best] and row[best] == row.max())
        assert (best == NONE) == (not keep.any())


@given(grids)
def test_without_limits_everything_stays_and_the_first_of_equals_wins(scores):
    found = select(scores)

    assert found.keep.all()
    assert np.array_equal(found.best, scores.argmax(axis=1))


@given(grids)
def test_ties_at_the_edge_of_top_k_end_in_label_order(scores):
    found = select(np.zeros_like(scores), top_k=1)

    assert found.keep[:, 0].all()
    assert not found.keep[:, 1:].any()


def test_a_runner_up_does_not_replace_a_best_label_that_was_removed():
    scores = np.array([[0.6, 0.4]], np.float32)
    own = np.array([0.7, 0.3], np.float32)

    one = select(scores, thresholds=own)
    many = select(scores, thresholds=own, multi_label=True)

    assert one.keep.tolist() == many.keep.tolist() == [[False, True]]
    assert one.best.tolist() == [NONE]
    assert many.best.tolist() == [1]


def test_top_k_counts_the_labels_that_pass_their_threshold():
    scores = np.array([[0.6, 0.3, 0.1]], np.float32)
    own = np.array([0.7, 0.2, 0.0], np.float32)

    assert select(scores, thresholds=own, top_k=1).keep.tolist() == [[False, True, False]]


def test_one_number_is_the_threshold_of_every_label():
    assert thresholds(["a", "b"], 0.5).tolist() == [0.5, 0.5]


def test_a_mapping_names_labels_and_a_default():
    found = thresholds(["a", "b"], {"b": 0.25, "default": 0.5, "of another group": 1})

    assert found.tolist() == [0.5, 0.25]
    assert found.dtype == np.float32


def test_a_label_without_threshold_stays_even_below_zero():
    own = thresholds(["a", "b"], {"b": 0.5})

    assert select(np.array([[-0.2, -0.3]], np.float32), thresholds=own).keep.tolist() == [
        [True, False]
    ]


def test_a_score_that_reads_as_its_threshold_stays():
    for score in np.arange(0, 1, 0.01):
        shown = np.array([[score]], np.float32)
        assert select(shown, thresholds=thresholds(["a"], float(score))).keep.all()
