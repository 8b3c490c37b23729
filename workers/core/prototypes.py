"""Prototypes: label embeddings moved by a few examples of the label.

Decides: how much examples count against the label itself. Does not decide: how a set of labels
scores (`zero_shot`), nor what many examples teach (`learner`).

The method is that of prototypical networks (Snell et al. 2017): a class is the mean of its
examples. Here the label's own embedding is a part of the mean, because few examples say less than
the label does. `ops/bench/label_examples.py` has the comparison behind `LABEL_WORTH`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

# What the label's own embedding is worth, in examples. With 4, five examples a label cost a set of
# six feelings 0.4 points of macro-F1; with 16, 77 intents win 6 points instead of 11.
LABEL_WORTH = 8.0


def blend(
    labels: Floats, examples: Floats, owners: Ints, *, label_worth: float = LABEL_WORTH
) -> Floats:
    """Label embeddings with the examples of each label mixed in.

    Where only some labels have examples, most of what the examples have in common is taken out of
    them: it is how texts of this kind look, and would pull every text to the labels with examples.

    Args:
        labels: (L, D), unit rows.
        examples: (E, D), unit rows; E may be 0.
        owners: (E,), the label of each example.
        label_worth: of the label's own embedding, in examples.

    Returns:
        (L, D), unit rows; a label without examples stays as it is.

    >>> labels = np.array([[1, 0], [0, 1]], np.float32)
    >>> blend(labels, labels[::-1], np.array([0, 1]), label_worth=1.0).round(2).tolist()
    [[0.7099999785423279, 0.7099999785423279], [0.7099999785423279, 0.7099999785423279]]
    """
    if not len(examples):
        return labels
    sums = np.zeros_like(labels)
    np.add.at(sums, owners, examples)
    counts = np.bincount(owners, minlength=len(labels)).astype(np.float32)[:, None]  # (L, 1)
    taught = counts[:, 0] > 0
    if not taught.all():
        means = sums[taught] / counts[taught]
        sums -= counts * means.sum(axis=0) / (len(means) + 1)
    moved = label_worth * labels + sums
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    # Examples opposite to their label cancel it out; the label stays then.
    unit: Floats = np.where(length > 1e-6, moved / np.maximum(length, 1e-6), labels)
    return unit.astype(np.float32)
