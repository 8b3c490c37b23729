"""Logits of an NLI model to scores, alone and mixed with those of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from workers.core.pair_scores import best_places, mixed_scores, pair_scores
from workers.core.zero_shot import Floats

LOGITS = np.array([[[3.0, 0.0], [1.0, 2.0], [1.0, -4.0]]], np.float32)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def log_odds(p: float) -> float:
    return float(np.log(p / (1 - p)))


def mixed(embedding: list[float], logits: Floats, which: list[int], **options: object) -> Floats:
    made = mixed_scores(
        np.array([embedding], np.float32),
        logits,
        np.array([which]),
        **{"weight": 0.5, "temperature": 1.0, "multi_label": False, **options},
    )
    return made[0]


def test_with_many_labels_each_is_entailment_against_its_contrary():
    scores = pair_scores(LOGITS, multi_label=True)

    assert scores[0] == pytest.approx([sigmoid(3), sigmoid(-1), sigmoid(5)])


def test_with_one_label_entailment_is_compared_between_labels():
    e = np.exp([3.0, 1.0, 1.0])

    assert pair_scores(LOGITS)[0] == pytest.approx(e / e.sum())


def test_a_temperature_makes_calibrated_scores_milder_and_no_others():
    assert pair_scores(LOGITS, temperature=2.0, multi_label=True)[0, 0] == pytest.approx(
        sigmoid(1.5)
    )
    for mode in ("raw", "jina"):
        assert np.array_equal(
            pair_scores(LOGITS, temperature=2.0, mode=mode), pair_scores(LOGITS, mode=mode)
        )
    assert pair_scores(LOGITS, mode="raw").tolist() == [[3.0, -1.0, 5.0]]


def test_the_best_labels_come_first_and_equal_ones_in_their_order():
    scores = np.array([[0.1, 0.4, 0.1, 0.4], [0.9, 0.0, 0.0, 0.1]], np.float32)

    assert best_places(scores, 3).tolist() == [[1, 3, 0], [0, 3, 1]]
    assert best_places(scores[:, :2], 3).shape == (2, 2)


def test_many_labels_are_mixed_in_log_odds_by_the_weight():
    logits = LOGITS[:, :2]
    scores = mixed([0.8, 0.3], logits, [1, 0], weight=0.25, multi_label=True)

    assert scores[1] == pytest.approx(sigmoid(0.75 * log_odds(0.3) + 0.25 * 3), abs=1e-5)
    assert scores[0] == pytest.approx(sigmoid(0.75 * log_odds(0.8) - 0.25 * 1), abs=1e-5)


def test_one_label_is_mixed_in_the_log_odds_between_labels():
    scores = mixed([0.7, 0.2, 0.1], LOGITS, [0, 1, 2], weight=0.3)

    wanted = 0.7 * np.log(0.7 / 0.2) + 0.3 * (3.0 - 1.0)
    assert np.log(scores[0] / scores[1]) == pytest.approx(wanted, abs=1e-5)
    assert scores.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_nothing_or_all_leaves_one_model(weight: float):
    embedding = [0.7, 0.2, 0.1]
    scores = mixed(embedding, LOGITS, [0, 1, 2], weight=weight)

    assert scores == pytest.approx(pair_scores(LOGITS)[0] if weight else embedding, abs=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_that_were_not_compared_stay_in_order_below_the_others(multi_label: bool):
    against = np.array([[[0.0, 0.0], [-9.0, 9.0]]], np.float32)
    scores = mixed([0.4, 0.1, 0.3, 0.2], against, [0, 2], weight=0.9, multi_label=multi_label)

    assert scores[0] > scores[2] >= scores[3] > scores[1]
    assert scores[3] / scores[1] == pytest.approx(2.0, rel=1e-4)
    if not multi_label:
        assert scores.sum() == pytest.approx(1.0)


def test_labels_that_are_below_already_keep_their_scores():
    scores = mixed([0.6, 0.01, 0.39], LOGITS[:, :2], [0, 2], multi_label=True)

    assert scores[1] == np.float32(0.01)


def test_certain_scores_stay_finite():
    certain = np.array([[[500.0, -500.0], [-500.0, 500.0]]], np.float32)

    for multi_label in (False, True):
        scores = mixed([1.0, 0.0, 0.0], certain, [0, 1], multi_label=multi_label)
        assert np.isfinite(scores).all()
        assert scores[0] == pytest.approx(1.0)
