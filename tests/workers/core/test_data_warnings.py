from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.data_warnings import (
    FEW_EXAMPLES,
    MOST,
    SAME_TEXT_COSINE,
    conflicting_duplicates,
    few_examples,
    remarks,
    similar_labels,
)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_conflicts_are_those_that_a_look_at_all_pairs_finds(seed):
    rng = np.random.default_rng(seed)
    distinct = unit(rng.normal(size=(6, 16)))
    which, y = rng.integers(6, size=15), rng.integers(3, size=15)
    x = unit(distinct[which] + 1e-4 * rng.normal(size=(15, 16)))

    found = conflicting_duplicates(["a", "b", "c"], x, y)

    expected = {
        tuple(np.flatnonzero(which == k).tolist())
        for k in range(6)
        if len(set(y[which == k].tolist())) > 1
    }
    assert {remark.items for remark in found} == expected
    assert all(remark.value >= SAME_TEXT_COSINE for remark in found)


def test_equal_examples_with_one_label_are_no_conflict():
    x = np.repeat(unit(np.ones((1, 4))), 3, axis=0)

    assert conflicting_duplicates(["a", "b"], x, np.zeros(3, np.intp)) == ()


def test_labels_with_enough_examples_get_no_remark():
    found = few_examples(["a", "b", "c"], np.array([FEW_EXAMPLES, 0, 1]))

    assert [(r.labels, r.value) for r in found] == [(("b",), 0.0), (("c",), 1.0)]


def test_alike_labels_come_closest_first():
    prior = unit(np.array([[1, 0, 0], [1, 0.2, 0], [1, 0.1, 0], [0, 0, 1]]))

    found = similar_labels(["a", "b", "c", "d"], prior)

    assert {r.labels for r in found} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert [r.value for r in found] == sorted((r.value for r in found), reverse=True)


def test_remarks_of_a_kind_are_bounded():
    labels = [str(k) for k in range(100)]
    prior = unit(np.ones((100, 4)))

    found = remarks(labels, prior, prior, np.arange(100))

    assert {
        kind: sum(r.kind == kind for r in found) for kind in ("few_examples", "similar_labels")
    } == {
        "few_examples": MOST,
        "similar_labels": MOST,
    }
    assert len(next(r for r in found if r.kind == "conflicting_duplicates").labels) == 100
