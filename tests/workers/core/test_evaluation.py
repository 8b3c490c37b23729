from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.core.calibration import expected_calibration_error
from workers.core.evaluation import (
    confusion,
    margins,
    most_worth_labelling,
    quality,
    reliability,
    tuned_thresholds,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)
counts = st.integers(1, 6)


def drawn(seed, n, labels):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(labels), size=n).astype(np.float32)
    return p, rng.integers(labels, size=n)


@given(seeds, sizes, counts)
def test_confusion_counts_every_item_once(seed, n, labels):
    p, y = drawn(seed, n, labels)

    found = confusion(y, p.argmax(axis=1), labels)

    assert found.shape == (labels, labels)
    assert found.sum() == n
    assert np.array_equal(found.sum(axis=1), np.bincount(y, minlength=labels))


@given(seeds, sizes, counts)
def test_quality_agrees_with_the_definitions(seed, n, labels):
    p, y = drawn(seed, n, labels)
    predicted = p.argmax(axis=1)

    got = quality(confusion(y, predicted, labels))

    assert np.isclose(got.accuracy, (y == predicted).mean())
    for k in range(labels):
        hits = ((y == k) & (predicted == k)).sum()
        assert np.isclose(got.recall[k], hits / max((y == k).sum(), 1))
        assert np.isclose(got.precision[k], hits / max((predicted == k).sum(), 1))
        both = got.precision[k] + got.recall[k]
        assert np.isclose(got.f1[k], 2 * got.precision[k] * got.recall[k] / both if both else 0)


def test_labels_that_do_not_occur_are_left_out_of_macro_f1():
    got = quality(np.array([[4, 0, 0], [0, 4, 0], [0, 0, 0]]))

    assert got.macro_f1 == 1.0
    assert got.f1.tolist() == [1.0, 1.0, 0.0]


@given(seeds, sizes, counts)
def test_the_reliability_diagram_adds_up_to_the_calibration_error(seed, n, labels):
    p, y = drawn(seed, n, labels)

    r = reliability(p, y)

    assert r.counts.sum() == n
    error = (r.counts * np.abs(r.confidence - r.accuracy)).sum() / n
    assert np.isclose(error, expected_calibration_error(p, y), atol=1e-6)


@given(seeds, sizes, counts)
def test_no_threshold_beats_the_tuned_one(seed, n, labels):
    p, y = drawn(seed, n, labels)
    truth = np.eye(labels, dtype=bool)[y]

    found = tuned_thresholds(p, truth)

    def f1(k, threshold):
        keep = p[:, k] >= threshold
        return 2 * (keep & truth[:, k]).sum() / (keep.sum() + truth[:, k].sum())

    for k in np.flatnonzero(truth.any(axis=0)):
        assert f1(k, found[k]) >= max(f1(k, t) for t in p[:, k]) - 1e-9


@given(seeds, sizes, counts)
def test_the_most_uncertain_items_come_first(seed, n, labels):
    p, _ = drawn(seed, n, labels)

    order = most_worth_labelling(p)

    assert sorted(order.tolist()) == list(range(n))
    assert np.all(np.diff(margins(p)[order]) >= 0)
