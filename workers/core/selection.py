"""Label selection: which labels stay in a response, and which one is the prediction.

Decides: what a threshold removes, what `top_k` keeps, how ties end (first in label order).
Does not decide: the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.types import DEFAULT_KEY, OTHERS_KEY

NONE = -1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`keep` (N, L): the labels of each answer. `best` (N,): the prediction's index, or NONE."""

    keep: NDArray[np.bool_]
    best: NDArray[np.intp]


def select(
    scores: NDArray[np.float32],
    *,
    thresholds: NDArray[np.float32] | None = None,
    top_k: int | None = None,
    multi_label: bool = False,
) -> Selection:
    """The labels that reach their threshold, the `top_k` best of them, and the prediction.

    With one label per item the prediction is the best of all labels or nothing: a runner-up does
    not become the answer because the best was not sure enough. With many it is the best kept one.

    Args:
        scores: (N, L), L at least 1.
        thresholds: (L,); a score equal to its threshold stays. None keeps all.
        top_k: at least 1; None keeps all.
        multi_label: whether several labels may be true.

    >>> s = np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2]], np.float32)
    >>> found = select(s, thresholds=np.full(3, 0.5, np.float32))
    >>> found.keep.tolist(), found.best.tolist()
    ([[True, False, False], [False, False, False]], [0, -1])
    >>> select(s, top_k=1).keep.tolist()
    [[True, False, False], [True, False, False]]
    """
    keep = np.ones(scores.shape, np.bool_) if thresholds is None else scores >= thresholds  # (N, L)
    if top_k is not None:
        keep &= _ranks(np.where(keep, scores, -np.inf)) < top_k
    candidates = np.where(keep, scores, -np.inf) if multi_label else scores
    best = candidates.argmax(axis=1)  # (N,); argmax takes the first of equals
    stays = keep[np.arange(len(best)), best]
    return Selection(keep=keep, best=np.where(stays, best, NONE))


def thresholds(
    labels: Sequence[str], threshold: float | Mapping[str, float]
) -> NDArray[np.float32]:
    """One threshold per label, from a number or from {label: number, "default": number}.

    The key `default` stands for the labels that are not named; where one of the labels is called
    so, it is the threshold of this label, and `*` stands for the others. A label that is not named,
    where neither is given, has no threshold: -inf, since cosines go below 0.
    Names outside `labels` are passed over, for one mapping serves several groups of labels.

    Returns:
        (L,). float32 like the scores: 0.91 as a threshold keeps a score that reads 0.91.

    >>> thresholds(["spam", "ham"], {"spam": 0.9, "default": 0.5}).tolist()
    [0.8999999761581421, 0.5]
    >>> thresholds(["default", "ham"], {"default": 0.75, "*": 0.5}).tolist()
    [0.75, 0.5]
    """
    if not isinstance(threshold, Mapping):
        return np.full(len(labels), threshold, np.float32)
    default = -np.inf if DEFAULT_KEY in labels else threshold.get(DEFAULT_KEY, -np.inf)
    default = threshold.get(OTHERS_KEY, default)
    return np.array([threshold.get(label, default) for label in labels], np.float32)


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    order = np.argsort(-scores, axis=1, kind="stable")  # (N, L): the first of equals stays first
    return np.argsort(order, axis=1, kind="stable")
