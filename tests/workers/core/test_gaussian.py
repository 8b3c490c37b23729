from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core import gaussian
from workers.core.sufficient_statistics import SufficientStatistics

DIM = 12
seeds = st.integers(0, 2**32 - 1)


def world(seed, labels, n=60):
    rng = np.random.default_rng(seed)
    prior = rng.normal(size=(labels, DIM))
    prior /= np.linalg.norm(prior, axis=1, keepdims=True)
    y = np.concatenate([np.arange(labels), rng.integers(labels, size=n)])
    x = prior[y] + 0.3 * rng.normal(size=(len(y), DIM))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return prior, x, SufficientStatistics.empty(labels, DIM).add(x, y, np.ones(len(y))), y


# Two rows per label: less than DIM is solved for, more goes through the inverse.
@pytest.mark.parametrize("labels", [2, 5, 6, 20])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_each_model_is_fishers_discriminant_of_its_shrunk_centres_and_covariance(labels, seed):
    prior, x, moments, y = world(seed, labels)

    found = gaussian.fit(moments, prior, 0.05)

    counts = np.bincount(y, minlength=labels).astype(float)
    means = np.stack([x[y == k].astype(float).mean(axis=0) for k in range(labels)])
    within = (x - means[y]).T.astype(float) @ (x - means[y])
    freedom = len(y) - labels
    variance = (np.trace(within) + gaussian.SPREAD_WORTH * gaussian.SPREAD_GUESS) / (
        (freedom + gaussian.SPREAD_WORTH) * DIM
    )
    for e, (alpha, kappa) in enumerate(gaussian.GRID):
        trust = (counts / (counts + kappa))[:, None]
        own = prior * found.strength
        guess = own + (trust * (means - own)).sum(axis=0) / trust.sum()
        mu = trust * means + (1 - trust) * guess
        shape = (within + alpha * variance * np.eye(DIM)) / (freedom + alpha)
        rows = mu @ np.linalg.inv(shape)
        share = np.log((counts + 1) / (counts.sum() + labels))
        bias = share - 0.5 * (mu * rows).sum(axis=1)
        assert np.allclose(found.models.rows[e], rows, rtol=1e-3, atol=1e-3)
        assert np.allclose(found.models.bias[e], bias, rtol=1e-3, atol=1e-3)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_few_examples_leave_the_clouds_round(seed):
    prior, _, moments, _ = world(seed, 3, n=5)

    rows = gaussian.fit(moments, prior, 0.05).models.rows

    per_alpha = rows.reshape(len(gaussian.ALPHAS), len(gaussian.KAPPAS), *prior.shape)
    assert np.array_equal(per_alpha[0], per_alpha[1])
    assert np.array_equal(per_alpha[0], per_alpha[2])


def one_each(nearness, apart):
    """One example of each of two labels, of this cosine with its label, and so much nearer to it
    than to the other.
    """
    prior = np.eye(2, DIM)
    x = np.zeros((2, DIM), np.float32)
    x[0, :2] = nearness, nearness - apart
    x[1, :2] = nearness - apart, nearness
    x[[0, 1], [2, 3]] = np.sqrt(1 - (x[:, :2] ** 2).sum(axis=1))
    return prior, SufficientStatistics.empty(2, DIM).add(x, np.array([0, 1]), np.ones(2))


def test_labels_that_examples_lie_near_to_hold_against_a_few_on_the_wrong_side():
    prior, moments = one_each(0.3, -0.05)
    known = gaussian.fit(moments, prior, 0.05, related=0.1)
    assert known.meant == 1.0
    assert known.strength > 0


def test_labels_that_examples_lie_far_from_mean_nothing():
    prior, moments = one_each(0.02, 0.01)
    known = gaussian.fit(moments, prior, 0.05, related=0.1)
    unknown = gaussian.fit(moments, prior, 0.05)
    assert known.meant < 0.1 < unknown.meant
