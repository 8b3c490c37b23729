"""What becomes of a learner whose labels change, next to one that was taught under the new ones."""

from __future__ import annotations

import numpy as np
import pytest

from workers.core.learner import Floats, Ints, Learner
from workers.core.relabel import relabelled
from workers.core.zero_shot import CosineCalibration

D, L, EACH = 32, 4, 25
SCALE = CosineCalibration(temperature=0.06)
LABELS = ("a", "b", "c", "d")


def rows(count: int, seed: int) -> Floats:
    x = np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


PRIOR = rows(L, 0)


def drawn(seed: int, each: int = EACH) -> tuple[Floats, Ints]:
    """Texts of four classes, the first two of them near each other, in any order."""
    centres = rows(L, 1)
    centres[1] = centres[0] + 0.5 * centres[1]
    y = np.random.default_rng(seed).permutation(np.tile(np.arange(L), each))
    x = centres[y] + 1.2 * rows(len(y), seed + 100)
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def taught(x: Floats, y: Ints, labels: tuple[str, ...] = LABELS, prior: Floats = PRIOR) -> Learner:
    return Learner.start(labels, prior, SCALE).learn(x, y)[0]


def test_a_new_name_is_as_if_it_had_been_the_name_from_the_start():
    x, y = drawn(0)
    prior = PRIOR.copy()
    prior[2] = rows(1, 9)[0]

    renamed = relabelled(taught(x, y), ("a", "b", "new", "d"), prior, (0, 1, 2, 3), seen=len(y))
    fresh = taught(x, y, ("a", "b", "new", "d"), prior)

    assert renamed.labels == fresh.labels
    for name in ("counts", "sums", "second"):
        assert np.array_equal(renamed.arrays()[name], fresh.arrays()[name])
    further, _ = drawn(5, 100)
    assert np.abs(renamed.scores(further) - fresh.scores(further)).mean() < 0.02


def test_the_same_labels_in_another_order_score_the_same():
    x, y = drawn(0)
    before = taught(x, y)

    after = relabelled(before, tuple("dcba"), PRIOR[::-1], (3, 2, 1, 0), seen=len(y))

    assert np.allclose(after.scores(x), before.scores(x)[:, ::-1], atol=1e-5)


def test_merged_labels_have_the_clouds_of_one_that_was_taught_as_one():
    x, y = drawn(0)
    place = (0, 0, 1, 2)
    prior = PRIOR[[0, 2, 3]]

    merged = relabelled(taught(x, y), ("a", "c", "d"), prior, place, seen=len(y))
    fresh = taught(x, np.array(place)[y], ("a", "c", "d"), prior)

    for name in ("counts", "sums", "second"):
        assert np.allclose(merged.arrays()[name], fresh.arrays()[name])
    further, truth = drawn(5, 200)
    truth = np.array(place)[truth]
    scores, wanted = merged.scores(further), fresh.scores(further)
    assert (scores.argmax(axis=1) == truth).mean() == pytest.approx(
        (wanted.argmax(axis=1) == truth).mean(), abs=0.02
    )
    assert np.abs(scores - wanted).mean() < 0.05
    assert np.allclose(scores.sum(axis=1), 1.0, atol=1e-5)


def test_a_label_that_goes_leaves_a_learner_like_one_that_never_had_it():
    x, y = drawn(0)
    place = (0, 1, None, 2)
    prior = PRIOR[[0, 1, 3]]
    stays = y != 2
    renumbered = np.array([0, 1, -1, 2])

    left = relabelled(taught(x, y), ("a", "b", "d"), prior, place, seen=int(stays.sum()))
    fresh = taught(x[stays], renumbered[y[stays]], ("a", "b", "d"), prior)

    assert left.seen == fresh.seen == 3 * EACH
    assert np.allclose(left.moments.counts, fresh.moments.counts)
    assert np.allclose(left.moments.sums, fresh.moments.sums)
    assert left.moments.unit == pytest.approx(fresh.moments.unit)
    assert np.trace(left.moments.second) == pytest.approx(
        float(np.trace(fresh.moments.second)), rel=0.05
    )
    assert np.linalg.eigvalsh(left.moments.second).min() > -1e-9
    further, truth = drawn(5, 200)
    further, truth = further[truth != 2], renumbered[truth[truth != 2]]
    assert (left.scores(further).argmax(axis=1) == truth).mean() == pytest.approx(
        (fresh.scores(further).argmax(axis=1) == truth).mean(), abs=0.02
    )


def test_a_label_without_examples_goes_without_a_trace():
    x, y = drawn(0)
    before = taught(x[y < 3], y[y < 3])

    after = relabelled(before, tuple("abc"), PRIOR[:3], (0, 1, 2, None), seen=before.seen)

    assert np.array_equal(after.moments.second, before.moments.second)
    assert after.moments.squares == before.moments.squares


def test_all_examples_may_go():
    x, y = drawn(0)
    before = taught(x[y < 2], y[y < 2])

    after = relabelled(before, tuple("cd"), PRIOR[2:], (None, None, 0, 1), seen=0)

    assert after.moments.effective == 0.0
    assert np.isfinite(after.scores(x)).all()
    assert np.isfinite(after.learn(x[y > 1], y[y > 1] - 2)[0].scores(x)).all()


def test_it_learns_on():
    x, y = drawn(0)
    merged = relabelled(taught(x, y), ("a", "c", "d"), PRIOR[[0, 2, 3]], (0, 0, 1, 2), seen=len(y))

    learner, report = merged.learn(*((more := drawn(7))[0], np.array([0, 0, 1, 2])[more[1]]))

    assert learner.seen == 2 * len(y)
    assert report.accuracy > 0.6
