"""Scores from the logits of an NLI model, alone and mixed with those of embeddings.

A pair has two logits: of entailment, and of its contrary (`workers.models.port.PairEncoder`).

Letters: V views, L labels, K labels that were compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.core.zero_shot import Floats, Mode, single_label

_TINY = np.float32(1e-7)  # the rounding of float32: a probability of 1 has finite odds
Places = NDArray[np.intp]


def pair_scores(
    logits: Floats,
    *,
    temperature: float = 1.0,
    mode: Mode = "calibrated",
    multi_label: bool = False,
) -> Floats:
    """A score per view and label.

    With `multi_label` it is the probability that the text entails the label's hypothesis and not
    its contrary, each label by itself: what neutral pairs get is left out, as is usual for NLI.
    Without, it is the softmax of the labels' logits of entailment.

    Args:
        logits: (V, L, 2): entailment, contrary.
        temperature: of the model's logits.
        mode: "calibrated"; "jina", the softmax over the labels at temperature 1; "raw", the log
            odds of entailment against its contrary. The last two know no `multi_label`.
        multi_label: each label true or false for itself.

    Returns:
        (V, L) float32.

    >>> logits = np.array([[[2.0, 0.0], [2.0, 2.0]]], np.float32)
    >>> pair_scores(logits).round(2).tolist(), pair_scores(logits, mode="raw").tolist()
    ([[0.5, 0.5]], [[2.0, 0.0]])
    >>> pair_scores(logits, multi_label=True).round(2).tolist()
    [[0.8799999952316284, 0.5]]
    """
    entailment, contrary = logits[..., 0], logits[..., 1]
    if mode == "raw":
        return entailment - contrary
    if mode == "jina":
        return single_label(entailment, 1.0)
    if multi_label:
        return _sigmoid((entailment - contrary) / np.float32(temperature))
    return single_label(entailment, temperature)


def best_places(scores: Floats, count: int) -> Places:
    """The places of the `count` highest scores of each row, the best first; ties by place.

    Args:
        scores: (V, L). count: K, at most L are returned.

    >>> best_places(np.array([[0.1, 0.7, 0.2]], np.float32), 2).tolist()
    [[1, 2]]
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def mixed_scores(
    embedding: Floats,
    logits: Floats,
    which: Places,
    *,
    weight: float,
    temperature: float,
    multi_label: bool,
) -> Floats:
    """The scores of embeddings, mixed in log odds with those of an NLI model for some labels.

    With `multi_label`, the log odds of a label are `weight` times those of the NLI model and the
    rest those of the embedding. Without, the same is done with the log odds between labels, which
    makes their probabilities share what the embedding gave to all of them. Labels that were not
    compared keep their order and the ratios of their scores; where one would be above a compared
    label, all of them are scaled down until it is not.

    Args:
        embedding: (V, L) calibrated probabilities; rows sum to 1 without `multi_label`.
        logits: (V, K, 2) of the compared labels.
        which: (V, K) their places.
        weight: of the NLI model, 0 to 1.
        temperature: of its logits.
        multi_label: each label true or false for itself.

    Returns:
        (V, L) float32; rows sum to 1 without `multi_label`.
    """
    own = np.take_along_axis(embedding, which, axis=1)  # (V, K)
    compared = pair_scores(logits, temperature=temperature, multi_label=multi_label)
    w = np.float32(weight)
    if multi_label:
        mixed = _sigmoid((1 - w) * _log_odds(own) + w * _log_odds(compared))
    else:
        log_shares = (1 - w) * np.log(np.maximum(own, _TINY))
        log_shares += w * np.log(np.maximum(compared, _TINY))
        mixed = own.sum(axis=1, keepdims=True) * single_label(log_shares, 1.0)
    rest = embedding.copy()
    np.put_along_axis(rest, which, np.float32(0), axis=1)
    highest = rest.max(axis=1, keepdims=True)  # (V, 1)
    lowest = mixed.min(axis=1, keepdims=True)
    rest *= np.minimum(1, np.divide(lowest, highest, out=np.ones_like(highest), where=highest > 0))
    if not multi_label:
        mixed *= (1 - rest.sum(axis=1, keepdims=True)) / mixed.sum(axis=1, keepdims=True)
    np.put_along_axis(rest, which, mixed.astype(np.float32), axis=1)
    return rest


def _sigmoid(x: Floats) -> Floats:
    probabilities: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return probabilities


def _log_odds(p: Floats) -> Floats:
    p = np.clip(p, _TINY, 1 - _TINY)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds
