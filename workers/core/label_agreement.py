"""Label agreement: whether the labels of new examples agree with a version as those of the holdout.

Labels of another row, or of a list that slipped, do not, and more of a night can be told from its
60 labels than from what a challenger that has learnt them loses on the holdout. Neither do
corrections of errors, nor texts of a new kind. Decides: the test. Does not decide: what follows.
"""

from __future__ import annotations

import math

import numpy as np

from workers.core.evaluation import Doubles

MIN_EXAMPLES = 10  # on either side; fewer have no normal mean
_FLOOR = 0.02  # of scores: one label that cannot be must not count as much as all others


def disagreement(usual: Doubles, given: Doubles) -> float:
    """The p-value of the given labels if they were as usual: the one-sided test of Welch (1947) on
    the logarithms of the scores that a version gives to the labels.

    Args:
        usual: The scores of the labels of the holdout, (N,).
        given: The scores of the labels of new examples, (M,), of labels that the version knows.

    >>> usual = np.linspace(0.3, 1.0, 100)
    >>> disagreement(usual, usual[::2]) > 0.1
    True
    >>> disagreement(usual, 1.0 - usual[::2]) < 0.001
    True
    >>> disagreement(usual, np.zeros(9))
    1.0
    """
    if min(len(usual), len(given)) < MIN_EXAMPLES:
        return 1.0
    before, now = (np.log(np.maximum(each, _FLOOR)) for each in (usual, given))
    error = math.sqrt(before.var(ddof=1) / len(before) + now.var(ddof=1) / len(now))
    if error == 0.0:
        return 1.0
    return 0.5 * math.erfc((before.mean() - now.mean()) / error / math.sqrt(2.0))
