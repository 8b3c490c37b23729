from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.sufficient_statistics import SufficientStatistics

seeds = st.integers(0, 2**32 - 1)


def world(seed, n=40, labels=4, dim=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)).astype(np.float32)
    return x, rng.integers(labels - 1, size=n), rng.uniform(0.1, 9, size=n)


def same(a, b):
    return all(
        np.allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9)
        for name in ("counts", "sums", "second", "squares")
    )


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_they_are_the_weighted_sums(seed):
    x, y, weights = world(seed)

    found = SufficientStatistics.empty(4, 5).add(x, y, weights)

    for k in range(4):
        assert np.isclose(found.counts[k], weights[y == k].sum())
        assert np.allclose(found.sums[k], (weights[y == k, None] * x[y == k]).sum(axis=0))
    assert np.allclose(found.second, (x * weights[:, None]).T.astype(np.float64) @ x)
    assert np.isclose(found.squares, (weights**2).sum())


@given(seeds, st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_parts_add_up_and_can_be_taken_away_again(seed, cut):
    x, y, weights = world(seed)
    empty = SufficientStatistics.empty(4, 5)
    one = empty.add(x[:cut], y[:cut], weights[:cut])
    two = empty.add(x[cut:], y[cut:], weights[cut:])

    whole = one + two

    assert same(whole, empty.add(x, y, weights))
    assert same(whole - two, one)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_label_without_further_examples_is_left_with_exactly_nothing(seed):
    x, y, weights = world(seed)
    held = y == 1
    parts = [SufficientStatistics.empty(4, 5).add(x[m], y[m], weights[m]) for m in (held, ~held)]

    left = parts[0] + parts[1] - parts[0]

    assert left.counts[1] == 0
    assert not left.sums[1].any()
