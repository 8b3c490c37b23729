from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.passive_aggressive import PassiveAggressive

seeds = st.integers(0, 2**32 - 1)
NEVER = 1e9


def example(seed, labels=4, dim=6):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(labels, dim)).astype(np.float32)
    x = rng.normal(size=(1, dim)).astype(np.float32)
    return rows, x / np.linalg.norm(x), np.array([int(rng.integers(labels))])


def one_step(rows, x, y, **kind):
    pa = PassiveAggressive.start(rows, **kind)
    return pa, pa.learn(x, y, np.ones(1), np.ones(1, np.intp))


def logits(pa, x):
    return np.append(x[0], 1.0) @ pa.weights.T


@given(seeds)
def test_one_uncapped_step_leaves_the_margin_at_exactly_one(seed):
    rows, x, y = example(seed)

    before, after = one_step(rows, x, y, aggressiveness=NEVER)

    scores = logits(before, x)
    rival = int(np.where(np.arange(4) == y[0], -np.inf, scores).argmax())
    margin = logits(after, x)[y[0]] - logits(after, x)[rival]
    if scores[y[0]] - scores[rival] < 1:
        assert margin == pytest.approx(1, abs=1e-4)
    else:
        assert np.array_equal(after.weights, before.weights)


@given(seeds, st.floats(0.001, 10))
def test_pa_one_never_steps_farther_than_its_cap(seed, cap):
    rows, x, y = example(seed)

    before, after = one_step(rows, x, y, aggressiveness=cap)

    step = np.linalg.norm(after.weights - before.weights, axis=1)
    assert step.max() <= cap * np.sqrt(2) * 1.001


@given(seeds, st.floats(0.01, 10))
def test_pa_two_steps_a_part_of_the_way(seed, aggressiveness):
    rows, x, y = example(seed)
    _, full = one_step(rows, x, y, aggressiveness=NEVER)

    before, after = one_step(rows, x, y, kind="PA-II", aggressiveness=aggressiveness)

    part = 4 / (4 + 0.5 / aggressiveness)  # the square of the feature is 2, of both labels 4
    way = full.weights - before.weights
    assert np.allclose(after.weights - before.weights, part * way, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 150))
def test_chunks_are_the_plain_loop(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 5)).astype(np.float32), rng.integers(3, size=n)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    passes, weights = rng.integers(1, 4, size=n), rng.uniform(0.5, 2, size=n)

    got = PassiveAggressive.start(np.zeros((3, 5), np.float32)).learn(x, y, weights, passes)

    w, history = np.zeros((3, 6)), []
    for turn in range(passes.max()):
        for i in np.flatnonzero(passes > turn):
            feature = np.append(x[i], 1.0)
            scores = w @ feature
            rival = int(np.where(np.arange(3) == y[i], -np.inf, scores).argmax())
            loss = max(0.0, 1 - scores[y[i]] + scores[rival])
            tau = min(0.3 * weights[i], loss / 4)
            w[y[i]] += tau * feature
            w[rival] -= tau * feature
            history.append(w.copy())
    assert np.allclose(got.weights, w, atol=1e-3)
    assert np.allclose(got.average, np.mean(history, axis=0), atol=1e-3)


def test_learning_leaves_the_old_weights_alone():
    rows, x, y = example(1)

    before, _ = one_step(rows, x, y)

    assert np.array_equal(before.weights[:, :-1], rows)
    assert before.steps == 0


# The same examples in every run: where two rivals are as strong to the last bit, either may be it.
@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 150), st.integers(1, 5), st.sampled_from(["PA-I", "PA-II"]))
def test_learners_side_by_side_are_learners_that_saw_their_examples_alone(seed, n, labels, kind):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 5)).astype(np.float32), rng.integers(labels, size=n)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    passes, weights = rng.integers(1, 4, size=n), rng.uniform(0.5, 2, size=n)
    seen = rng.random((3, n)) < [[0.0], [0.5], [1.0]]
    start = PassiveAggressive.start(rng.normal(size=(labels, 5)).astype(np.float32), kind=kind)
    start = start.learn(x[:3], y[:3], weights[:3], passes[:3])

    together = start.learn_each(x, y, weights, passes, seen)

    for got, mine in zip(together, seen, strict=True):
        alone = start.learn(x[mine], y[mine], weights[mine], passes[mine])
        assert np.allclose(got.weights, alone.weights, atol=1e-3)
        assert np.allclose(got.average, alone.average, atol=1e-3)
        assert got.steps == alone.steps == start.steps + passes[mine].sum()


def test_what_must_not_be_seen_leaves_the_weights_alone():
    rows, x, y = example(1)
    pa = PassiveAggressive.start(rows)

    (unseen,) = pa.learn_each(x, y, np.ones(1), np.ones(1, np.intp), np.zeros((1, 1), np.bool_))

    assert np.array_equal(unseen.weights, pa.weights)
    assert np.array_equal(unseen.average, pa.average)
