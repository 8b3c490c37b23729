"""Windows: how the tokens of a long text are cut for a model, and how the vectors become one. Pure.

Letters: N texts, W windows (W ≥ N), D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workers.models.port import Rows


def window_count(tokens: Sequence[int], size: int) -> int:
    """As few as tokens fit in, and at least one."""
    return max(1, -(-len(tokens) // size))


def windows(tokens: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut tokens into as few windows as fit, of nearly even length; no tokens are one window.

    >>> windows([1, 2, 3, 4, 5], 4)
    [[1, 2, 3], [4, 5]]
    >>> windows([], 4)
    [[]]
    """
    count = window_count(tokens, size)
    cuts = [-(-len(tokens) * i // count) for i in range(count + 1)]
    return [tokens[start:end] for start, end in pairwise(cuts)]


def weighted_means(rows: Rows, *, weights: Rows, starts: npt.NDArray[np.int64]) -> Rows:
    """One unit vector per text from those of its windows.

    Args:
        rows: (W, D) unit rows, the windows of each text side by side.
        weights: (W,) above 0.
        starts: (N,) first window of each text, ascending.

    Returns:
        (N, D) unit rows; where windows cancel out exactly, the first window's.

    >>> rows = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    >>> weighted_means(rows, weights=np.array([4, 3, 1], np.float32), starts=np.array([0, 2]))
    array([[0.8, 0.6],
           [0. , 1. ]], dtype=float32)
    """
    sums = np.add.reduceat(rows * weights[:, None], starts, axis=0)  # (N, D)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)  # (N, 1)
    sums = np.where(norms > 0, sums / np.where(norms > 0, norms, 1), rows[starts])
    return sums.astype(np.float32, copy=False)
