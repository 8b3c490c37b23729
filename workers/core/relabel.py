"""Labels of a learner renamed, merged or taken away, by the sums that it keeps of its examples.

Decides: what of its state follows, exactly or as the model of the learner has it. Does not decide:
which labels become which (`shared.relabelling`).

- Names change nothing but the label embeddings; what was learnt beyond these stays.
- Of merged labels counts and sums add up and the second moments are those of all examples, so the
  clouds are exactly those of a learner that was taught the examples under the one label. What its
  margins have learnt adds up, too: steps between the two, which that learner would not have made,
  cancel.
- Of a label that goes, counts and sums go. Its share of the second moments is not stored; taken
  away is what the model expects: its own mean, and as many of the common covariance as it has
  degrees of freedom, so that the covariance stays what it is.

Trust and calibration are kept: they were earned by examples most of which are still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from workers.core.learner import Learner
from workers.core.passive_aggressive import PassiveAggressive
from workers.core.sufficient_statistics import SufficientStatistics

Floats = NDArray[np.float32]


def relabelled(
    learner: Learner,
    labels: Sequence[str],
    prior: Floats,
    place: Sequence[int | None],
    *,
    seen: int,
) -> Learner:
    """The learner with other labels.

    Args:
        learner: of L labels.
        labels: M of them, in their new order.
        prior: (M, D), their embeddings.
        place: of each of the L labels, its index among the M; None where it goes.
        seen: how many examples it has learnt of the labels that remain.
    """
    onto = np.zeros((len(labels), len(place)))  # (M, L): 1 where a label becomes another
    for before, after in enumerate(place):
        if after is not None:
            onto[after, before] = 1.0
    rows = np.asarray(prior, np.float32)
    return replace(
        learner,
        labels=tuple(labels),
        prior=rows,
        seen=seen,
        moments=_moments(learner.moments, onto),
        margins=_margins(learner.margins, learner.prior, rows, onto.astype(np.float32)),
    ).refitted()


def _moments(moments: SufficientStatistics, onto: NDArray[np.float64]) -> SufficientStatistics:
    kept = onto.sum(axis=0)  # (L,): 1 where the examples stay
    counts, sums = onto @ moments.counts, onto @ moments.sums
    total, left = float(moments.counts.sum()), float(counts.sum())
    if left == total:  # also where the labels that go have no examples
        return replace(moments, counts=counts, sums=sums)
    seen = moments.counts > 0
    own = np.where(seen, moments.counts, 1.0)
    # Products of sums by sums: of the means of each label, (D, D).
    within = moments.second - (moments.sums / own[:, None]).T @ moments.sums
    staying = moments.sums * kept[:, None]
    between = (staying / own[:, None]).T @ staying
    freedom = np.where(seen, np.maximum(moments.counts * moments.unit - 1.0, 0.0), 0.0)  # (L,)
    share = float(kept @ freedom / freedom.sum()) if freedom.any() else 0.0
    return SufficientStatistics(
        counts=counts,
        sums=sums,
        second=between + share * within,
        squares=moments.squares * left / total,
    )


def _margins(
    margins: PassiveAggressive, before: Floats, after: Floats, onto: Floats
) -> PassiveAggressive:
    """What was learnt beyond the label embeddings, (L, D) before and (M, D) after, added up."""
    learnt = margins.weights.copy()
    learnt[:, :-1] -= before
    weights = onto @ learnt
    weights[:, :-1] += after
    return replace(margins, weights=weights, lag=onto @ margins.lag)
