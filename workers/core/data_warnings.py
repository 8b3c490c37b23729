"""Data warnings: problems in examples and labels that reduce the quality of a classifier.

Decides: which findings become a warning. Does not decide: how they are worded, nor what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.integer[Any]]
Kind = Literal["conflicting_duplicates", "few_examples", "similar_labels"]

# float32 embeddings of one text, in batches of other texts, differ by less than this.
SAME_TEXT_COSINE = 0.9999
SIMILAR_LABELS_COSINE = 0.95
FEW_EXAMPLES = 3
MOST = 20


@dataclass(frozen=True, kw_only=True)
class DataWarning:
    """A finding: the labels and the items (indices of this call) it is about.

    `value` is the number that gave rise to it: a count of examples or a cosine.
    """

    kind: Kind
    labels: tuple[str, ...]
    items: tuple[int, ...] = ()
    value: float


def remarks(
    labels: Sequence[str],
    prior: Floats,
    x: Floats,
    y: Indices,
    counts: NDArray[np.floating[Any]] | None = None,
) -> tuple[DataWarning, ...]:
    """All remarks on the examples of one call, at most `MOST` of a kind.

    Args:
        labels: L of them. prior: (L, D) label embeddings, unit rows.
        x: (N, D) examples, unit rows. y: (N,) their labels.
        counts: (L,) examples per label over all calls; None counts `y`.

    >>> x = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> found = remarks(["a", "b"], np.eye(2, dtype=np.float32), x, np.array([0, 1, 1]))
    >>> [(r.kind, r.labels, r.items, r.value) for r in found][0]
    ('conflicting_duplicates', ('a', 'b'), (0, 1), 1.0)
    """
    total = np.bincount(y, minlength=len(labels)) if counts is None else counts
    return (
        *conflicting_duplicates(labels, x, y),
        *few_examples(labels, np.asarray(total)),
        *similar_labels(labels, prior),
    )


def conflicting_duplicates(labels: Sequence[str], x: Floats, y: Indices) -> tuple[DataWarning, ...]:
    """Equal examples with different labels, the first `MOST` groups.

    Only neighbours along one fixed direction are compared: N log N instead of N * N.
    """
    direction = np.cos(np.arange(1, x.shape[1] + 1) ** 2).astype(np.float32)
    direction /= np.linalg.norm(direction)
    place = x @ direction
    order = np.argsort(place, kind="stable")
    # Rows at this cosine are this far apart, so their places along any direction are, at most.
    reach = float(np.sqrt(2.0 - 2.0 * SAME_TEXT_COSINE))
    found: list[DataWarning] = []
    grouped = np.zeros(len(x), np.bool_)
    ends = np.searchsorted(place[order], place[order] + reach, side="right")
    for rank, first in enumerate(order):
        near = order[rank : ends[rank]]
        if grouped[first] or len(near) < 2:
            continue
        same = np.sort(near[x[near] @ x[first] >= SAME_TEXT_COSINE])
        names = tuple(labels[k] for k in np.unique(y[same]))
        grouped[same] = True
        if len(names) > 1:
            cosine = float(min((x[same] @ x[first]).min(), 1.0))
            items = tuple(int(i) for i in same)
            found.append(
                DataWarning(kind="conflicting_duplicates", labels=names, items=items, value=cosine)
            )
    return tuple(sorted(found, key=lambda remark: remark.items))[:MOST]


def few_examples(
    labels: Sequence[str], counts: NDArray[np.floating[Any]] | Indices
) -> tuple[DataWarning, ...]:
    """Labels with fewer than `FEW_EXAMPLES`, the poorest first.

    >>> [r.labels for r in few_examples(["a", "b"], np.array([9, 1]))]
    [('b',)]
    """
    poor = [int(k) for k in np.argsort(counts, kind="stable") if counts[k] < FEW_EXAMPLES]
    return tuple(
        DataWarning(kind="few_examples", labels=(labels[k],), value=float(counts[k]))
        for k in poor[:MOST]
    )


def similar_labels(labels: Sequence[str], prior: Floats) -> tuple[DataWarning, ...]:
    """Pairs of labels whose embeddings are nearly one, the closest first.

    >>> p = np.array([[1, 0], [0.99, 0.1411], [0, 1]], np.float32)
    >>> [(r.labels, round(r.value, 2)) for r in similar_labels(["car", "auto", "tree"], p)]
    [(('car', 'auto'), 0.99)]
    """
    cosine = np.triu(prior @ prior.T, k=1)  # (L, L)
    rows, columns = np.nonzero(cosine >= SIMILAR_LABELS_COSINE)
    order = np.argsort(-cosine[rows, columns], kind="stable")[:MOST]
    return tuple(
        DataWarning(
            kind="similar_labels",
            labels=(labels[rows[i]], labels[columns[i]]),
            value=float(min(cosine[rows[i], columns[i]], 1.0)),
        )
        for i in order
    )
