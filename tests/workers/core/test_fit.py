from __future__ import annotations

import numpy as np
import pytest

from shared.model_catalogue import ExampleFit, LabelFit
from workers.core.fit import Described, Floats, Learnt
from workers.core.sufficient_statistics import SufficientStatistics

D = 32
OF_LABELS = LabelFit(nearest=11.0, null=-4.5, generic=14.0, log_labels=-0.5, offset=-6.8)
OF_EXAMPLES = ExampleFit(nearest=10.0, own=-3.0, other=-3.7, log_labels=-0.5, offset=-0.4)


def rows(count: int, seed: int) -> Floats:
    x = np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def near(centres: Floats, noise: float, seed: int) -> Floats:
    x = centres + noise * rows(len(centres), seed)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("constants", [None, OF_LABELS])
def test_texts_near_a_label_fit_better_than_any_others(constants: LabelFit | None):
    labels = rows(5, 0)
    described = Described.measure(labels, rows(12, 1), temperature=0.05)

    own = described.fit(near(labels, 0.3, 2), constants)
    others = described.fit(rows(50, 3), constants)

    assert own.min() > others.max()
    assert ((own >= 0) & (own <= 1)).all()
    assert own.dtype == np.float32


@pytest.mark.parametrize("constants", [None, OF_EXAMPLES])
@pytest.mark.parametrize("each", [1, 2, 20])
def test_texts_near_the_examples_fit_better_than_others(each: int, constants: ExampleFit | None):
    centres = rows(4, 0)
    y = np.tile(np.arange(4), each)
    x = np.concatenate([near(centres, 0.3, 10 + k) for k in range(each)])
    learnt = Learnt.measure(SufficientStatistics.empty(4, D).add(x, y, np.ones(len(y))), rows(4, 5))

    own, others = learnt.fit(near(centres, 0.3, 2), constants), learnt.fit(rows(50, 3), constants)

    assert np.median(own) > np.quantile(others, 0.95)


def test_the_expected_cosine_is_that_of_further_examples():
    centres, each = rows(3, 0), 8
    x = np.concatenate([near(centres, 0.8, 10 + k) for k in range(each)])
    y = np.tile(np.arange(3), each)
    learnt = Learnt.measure(
        SufficientStatistics.empty(3, D).add(x, y, np.ones(len(y))), 0 * rows(3, 5)
    )
    further = np.concatenate([near(centres, 0.8, 500 + k) for k in range(200)])

    found = (further * learnt.centres[np.tile(np.arange(3), 200)]).sum(axis=1).mean()

    assert learnt.own == pytest.approx(float(found), abs=0.05)


def test_weights_that_are_alike_change_nothing():
    x, y = rows(12, 0), np.tile(np.arange(3), 4)
    one, ten = (
        Learnt.measure(SufficientStatistics.empty(3, D).add(x, y, np.full(12, w)), rows(3, 1))
        for w in (1.0, 10.0)
    )

    assert np.allclose(one.centres, ten.centres, atol=1e-6)
    assert (one.own, one.other) == pytest.approx((ten.own, ten.other))


def test_labels_without_examples_are_their_embeddings():
    prior = rows(3, 0)

    learnt = Learnt.measure(SufficientStatistics.empty(3, D), prior)

    assert np.allclose(learnt.centres, prior, atol=1e-6)
    assert learnt.fit(prior, OF_EXAMPLES).min() > learnt.fit(rows(20, 1), OF_EXAMPLES).mean()


def test_one_label_is_enough():
    one = rows(1, 0)

    assert Described.measure(one, rows(12, 1), temperature=0.05).fit(one, OF_LABELS)[0] > 0.5
    moments = SufficientStatistics.empty(1, D).add(one, np.array([0]), np.ones(1))
    assert Learnt.measure(moments, one).fit(one, OF_EXAMPLES)[0] > 0.5
