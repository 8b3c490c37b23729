"""The scorer of a classifier says what its learner says, to the bit, and holds nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

from workers.classifier_file import TrainedClassifier, dumps, loads
from workers.core import fit, zero_shot
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration

D = 384
rng = np.random.default_rng(7)


def unit(count: int) -> np.ndarray:
    x = rng.normal(size=(count, D)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def trained() -> TrainedClassifier:
    prior, y = unit(5), np.arange(40) % 5
    learner = Learner.start(list("abcde"), prior, CosineCalibration(temperature=0.05))
    learner, _ = learner.learn(0.4 * prior[y] + unit(40), y)
    return TrainedClassifier(model="m", revision="1", counts=(8,) * 5, learner=learner)


@pytest.mark.parametrize("count", [1, 33])
def test_scores_are_those_of_the_learner_to_the_bit(trained: TrainedClassifier, count: int):
    x, learner = unit(count), trained.learner
    for scorer in (trained.scorer, loads(dumps(trained)).scorer):
        assert np.array_equal(scorer.scores(x), learner.scores(x))
        logits = learner.model.scores(x)
        assert np.array_equal(scorer.scores(x, mode="raw"), logits)
        assert np.array_equal(scorer.scores(x, mode="jina"), zero_shot.single_label(logits, 1.0))
        classes = fit.Learnt.measure(learner.moments, learner.prior)
        assert np.array_equal(scorer.classes.fit(x, None), classes.fit(x, None))


def test_the_size_does_not_grow_with_the_square_of_the_dimensions(trained: TrainedClassifier):
    scorer = trained.scorer
    assert (scorer.labels, scorer.revision, scorer.dimensions) == (trained.labels, "1", D)
    assert 2 * 5 * D * 4 < scorer.size_bytes < 20_000
    arrays = (scorer.linear.rows, scorer.linear.bias, scorer.classes.centres)
    assert all(array.base is None for array in arrays), "a view keeps what it is a view of"
