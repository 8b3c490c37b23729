from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.calibration import expected_calibration_error
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration, scores

SCALE = CosineCalibration(temperature=0.059)
DIM = 12
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 30)
label_counts = st.integers(2, 5)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def world(seed, n, labels, *, noise=0.6, dim=DIM):
    """Label embeddings, examples near them, their labels."""
    rng = np.random.default_rng(seed)
    prior = unit(rng.normal(size=(labels, dim)))
    y = rng.integers(labels, size=n)
    return prior, unit(prior[y] + noise * rng.normal(size=(n, dim)) / np.sqrt(dim) * 2), y


def start(prior):
    return Learner.start([f"label {k}" for k in range(len(prior))], prior, SCALE)


def same(a, b):
    left, right = a.arrays(), b.arrays()
    return a.header() == b.header() and all(np.array_equal(left[k], right[k]) for k in left)


@settings(max_examples=20, deadline=None)
@given(seeds, sizes, label_counts)
def test_the_same_calls_give_the_same_bits_and_the_input_stays(seed, n, labels):
    prior, x, y = world(seed, n, labels)
    before = [a.copy() for a in (prior, x, y)]
    learner = start(prior)
    untouched = start(prior)

    first, report = learner.learn(x, y)
    second, again = start(prior).learn(x, y)

    assert same(first, second)
    assert report == again
    assert same(learner, untouched)
    assert all(np.array_equal(a, b) for a, b in zip(before, (prior, x, y), strict=True))


@settings(max_examples=20, deadline=None)
@given(seeds, sizes, label_counts)
def test_label_order_only_reorders_the_columns(seed, n, labels):
    prior, x, y = world(seed, n, labels)
    order = np.random.default_rng(seed).permutation(labels)
    place = np.argsort(order)

    one, _ = start(prior).learn(x, y)
    other, _ = start(prior[order]).learn(x, place[y])

    assert np.allclose(one.scores(x)[:, order], other.scores(x), atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(seeds, sizes, label_counts)
def test_scores_are_probabilities_whatever_the_batch_mates(seed, n, labels):
    prior, x, y = world(seed, n, labels)
    learner, _ = start(prior).learn(x, y)

    p = learner.scores(x)

    assert p.shape == (n, labels)
    assert p.dtype == np.float32
    assert np.all(p >= 0)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert all(np.allclose(learner.scores(x[i : i + 1])[0], p[i], atol=1e-5) for i in range(n))


@settings(max_examples=10, deadline=None)
@given(seeds, sizes, label_counts)
def test_a_stored_learner_goes_on_as_if_it_had_not_been_stored(seed, n, labels):
    prior, x, y = world(seed, n, labels)
    learner, _ = start(prior).learn(x, y)

    read = Learner.from_arrays(json.loads(json.dumps(learner.header())), learner.arrays())

    assert same(read, learner)
    assert read.trust() == learner.trust()
    assert np.array_equal(read.scores(x), learner.scores(x))
    assert same(read.learn(x, y)[0], learner.learn(x, y)[0])


def test_a_stored_learner_of_another_shape_is_refused():
    prior, x, y = world(1, 10, 3)
    learner, _ = start(prior).learn(x, y)

    for broken in (
        {"header": {**learner.header(), "schema": 0}, "arrays": learner.arrays()},
        {"header": {**learner.header(), "meant": 2.0}, "arrays": learner.arrays()},
        {
            "header": learner.header(),
            "arrays": {**learner.arrays(), "second": np.zeros((DIM + 1, DIM + 1))},
        },
    ):
        with pytest.raises(ValueError, match=r"schema|must have|must be"):
            Learner.from_arrays(broken["header"], broken["arrays"])


def test_without_examples_it_ranks_as_zero_shot():
    prior, x, _ = world(2, 50, 5, noise=1.5)

    ranked = np.argsort(-start(prior).scores(x), axis=1)

    assert np.array_equal(ranked, np.argsort(-scores(x, prior, scale=SCALE), axis=1))


def test_the_state_does_not_grow_with_examples():
    prior, x, y = world(3, 300, 3)

    few, _ = start(prior).learn(x[:5], y[:5])
    many, _ = start(prior).learn(x, y)

    assert {k: v.shape for k, v in few.arrays().items()} == {
        k: v.shape for k, v in many.arrays().items()
    }


def test_new_labels_may_come_at_any_time():
    prior, x, y = world(4, 200, 5)
    early = y < 3

    learner, _ = start(prior[:3]).learn(x[early], y[early])
    grown = learner.grow(["label 3", "label 4"], prior[3:])
    learned, _ = grown.learn(x[~early], y[~early])

    assert grown.labels == tuple(f"label {k}" for k in range(5))
    # The new labels' embeddings are enough to find most of their texts before any example.
    assert (grown.scores(x[~early]).argmax(axis=1) == y[~early]).mean() > 0.5
    assert (learned.scores(x).argmax(axis=1) == y).mean() > 0.85


def test_many_calls_end_where_one_call_ends():
    prior, x, y = world(5, 400, 4, noise=1.2)
    one, _ = start(prior).learn(x, y)
    many = start(prior)
    for begin in range(0, 400, 20):
        many, _ = many.learn(x[begin : begin + 20], y[begin : begin + 20])

    a, b = (k.scores(x).argmax(axis=1) for k in (one, many))

    assert np.allclose(one.moments.second, many.moments.second)
    assert (a == b).mean() > 0.95


def test_only_ratios_of_weights_count():
    prior, x, y = world(6, 60, 3)

    one, _ = start(prior).learn(x, y)
    other, _ = start(prior).learn(x, y, weights=np.full(60, 1.0), iters=np.full(60, 20))

    assert np.isclose(one.moments.effective, other.moments.effective)
    assert np.isclose(one.moments.effective, 60)


def test_swapped_labels_are_relearnt_from_examples_with_more_iterations():
    prior, x, y = world(7, 600, 3)
    swapped = (y + 1) % 3
    old, _ = start(prior).learn(x[:200], y[:200], iters=np.full(200, 5))

    new, _ = old.learn(x[200:400], swapped[200:400], iters=np.full(200, 50))
    fresh, _ = start(prior).learn(x[200:400], swapped[200:400])

    right = [(k.scores(x[400:]).argmax(axis=1) == swapped[400:]).mean() for k in (new, fresh)]
    assert right[0] > right[1] - 0.03


def test_three_times_the_iterations_are_enough_to_follow_swapped_labels():
    prior, x, y = world(12, 600, 3)
    swapped = (y + 1) % 3
    old, _ = start(prior).learn(x[:200], y[:200])

    new, _ = old.learn(x[200:400], swapped[200:400], iters=np.full(200, 30))
    fresh, _ = start(prior).learn(x[200:400], swapped[200:400])

    right = [(k.scores(x[400:]).argmax(axis=1) == swapped[400:]).mean() for k in (new, fresh)]
    assert right[0] > right[1] - 0.03


@pytest.mark.parametrize("heavy", [{"weights": 1000.0}, {"iters": 100}])
def test_one_heavy_example_is_learnt_and_the_others_are_not_forgotten(heavy):
    prior, x, y = world(20, 500, 4, noise=1.6, dim=128)
    old, _ = start(prior).learn(x[:80], y[:80])
    rest, right = slice(100, 500), []
    before = (old.scores(x[rest]).argmax(axis=1) == y[rest]).mean()

    for i in np.flatnonzero(old.scores(x[rest]).argmax(axis=1) != y[rest])[:8] + 100:
        extra = {name: np.array([value]) for name, value in heavy.items()}
        new, _ = old.learn(x[i : i + 1], y[i : i + 1], **extra)
        right.append(new.scores(x[i : i + 1]).argmax() == y[i])
        assert (new.scores(x[rest]).argmax(axis=1) == y[rest]).mean() > before - 0.01

    assert len(right) == 8
    assert all(right)


def test_examples_that_were_made_light_do_not_hold_down_the_others():
    prior, x, y = world(21, 500, 4, noise=1.0, dim=32)
    wrong = (y[:90] + 1) % 4
    weights = np.concatenate([np.full(90, 0.001), np.ones(12)])

    both, _ = start(prior).learn(x[:102], np.concatenate([wrong, y[90:102]]), weights=weights)
    alone, _ = start(prior).learn(x[90:102], y[90:102])

    assert np.isclose(both.moments.effective, 12, atol=0.5)
    right = [(k.scores(x[102:]).argmax(axis=1) == y[102:]).mean() for k in (both, alone)]
    assert right[0] > right[1] - 0.05


@pytest.mark.parametrize("noise", [0.8, 1.5])
def test_scores_are_calibrated_on_examples_never_seen(noise):
    prior, x, y = world(13, 2400, 4, noise=noise)

    learner, report = start(prior).learn(x[:400], y[:400])

    assert expected_calibration_error(learner.scores(x[400:]), y[400:]) < 0.05
    right = (learner.scores(x[400:]).argmax(axis=1) == y[400:]).mean()
    assert abs(report.accuracy - right) < 0.05


def test_a_single_example_is_judged_by_what_was_learnt_before():
    prior, x, y = world(14, 60, 3)
    learner, _ = start(prior).learn(x[:59], y[:59])

    _, report = learner.learn(x[59:], y[59:])

    right = learner.scores(x[59:]).argmax(axis=1) == y[59:]
    assert report.curve[0] == (59, float(right[0]))
    assert report.curve[1] == (59, report.accuracy)


def test_labels_that_mean_nothing_are_noticed():
    prior, x, y = world(8, 40, 4)
    other = unit(np.random.default_rng(99).normal(size=prior.shape))

    _, meant = start(prior).learn(x, y)
    _, unmeant = start(other).learn(x, y)

    assert meant.strength > 0.3
    assert unmeant.strength < 0.15


def test_no_examples_change_nothing():
    prior, x, y = world(9, 10, 3)
    learner, _ = start(prior).learn(x, y)

    after, report = learner.learn(x[:0], y[:0])

    assert same(after, learner)
    assert report.curve == ()


def test_one_label_is_always_right():
    prior, x, _ = world(10, 5, 1)

    learner, report = start(prior).learn(x, np.zeros(5, np.intp))

    assert report.accuracy == 1.0
    assert np.allclose(learner.scores(x), 1)


def test_the_report_tells_the_curve_and_the_trust():
    prior, x, y = world(11, 100, 3)

    _, report = start(prior).learn(x, y)

    seen = [point[0] for point in report.curve]
    assert seen == [0, 90]
    assert report.curve[1][1] == report.accuracy
    assert 0 <= report.accuracy <= 1
    assert report.log_loss > 0
    assert np.isclose(sum(report.trust.values()), 1)
