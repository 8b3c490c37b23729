"""Labels that agree with a version less than usual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.core.label_agreement import disagreement

NIGHTS, HOLDOUT, NEW = 300, 500, 60


def scores(rng: np.random.Generator, count: int, wrong: float) -> NDArray[np.float64]:
    """What a version that is right on two of three, and calibrated, gives to labels of which a
    share belongs to other rows.
    """
    given = rng.beta(2.0, 1.0, count)
    other = rng.random(count) < wrong
    given[other] = (1.0 - given[other]) / 3.0
    return given


def share_unusual(wrong: float) -> float:
    rng = np.random.default_rng(5)
    p = [disagreement(scores(rng, HOLDOUT, 0.0), scores(rng, NEW, wrong)) for _ in range(NIGHTS)]
    return float(np.mean(np.array(p) <= 0.01))


def test_labels_as_usual_are_unusual_in_few_nights():
    assert share_unusual(0.0) <= 0.03


def test_a_night_with_labels_of_other_rows_is_unusual():
    assert share_unusual(0.3) >= 0.95


def test_one_impossible_label_is_not_unusual():
    usual = np.linspace(0.5, 1.0, HOLDOUT)
    given = np.append(usual[::10], 1e-30)

    assert disagreement(usual, given) > 0.1


def test_scores_that_are_all_the_same_are_as_usual():
    assert disagreement(np.full(20, 0.5), np.full(20, 0.5)) == 1.0
