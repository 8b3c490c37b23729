"""Zero-shot scoring: calibrated scores from the similarity of items and labels.

Decides: the temperature of a label set, probabilities for one label and for many.
Does not decide: the prompts of a label (`prompts`), which labels stay in an answer (`selection`).

Why the temperature depends on the labels: an item tells two labels apart along the line between
them, and the noise along a line grows with its length. "spam" and "not spam" lie 0.46 apart and
want a temperature of 0.024; "world", "sports" and the like lie 1.04 apart and want 0.051. Fitted on
three data sets and judged on the fourth, one fixed temperature has a calibration error of up to
0.15, the temperature by spread at most 0.08 (`ops/bench/quality_zero_shot.py`).

Why it falls with the length of a text: the embedding of a long text is the mean of more words and
windows, so there is less noise in it, and the scores of whole articles are too modest otherwise.
`length_exponent` is fitted by `ops/bench/quality_calibration.py`, each time without the set that is
then judged. The temperature of a text moves all its labels alike: their order stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Mode = Literal["calibrated", "jina", "raw"]
Floats = NDArray[np.float32]

# Labels that embed alike would make the temperature 0; they share their probability instead.
MIN_SPREAD = 0.05
# Up to `USUAL_TOKENS` tokens the length of a text changes nothing: such texts differ little. Beyond
# `LENGTH_LIMIT` tokens, more text on the same subject says little that is new.
USUAL_TOKENS, LENGTH_SCALE, LENGTH_LIMIT = 16.0, 64.0, 512.0
# A null label this close to a label of the request is that label ("other"), no competitor.
SAME_LABEL_COSINE = 0.99


@dataclass(frozen=True, kw_only=True)
class CosineCalibration:
    """What a model's cosines mean, fitted once per model.

    `temperature` is in cosine per unit of label spread when `by_spread`, else in cosine (CLIP:
    1 / its logit scale). `null_bias` is in log odds: how far a label may stay behind the rest and
    still be true with probability 0.5 in `multi_label`. `related` is the mean cosine of texts with
    their own labels from which labels mean something rather than not; None: not measured.
    """

    temperature: float
    by_spread: bool = True
    null_bias: float = 0.0
    related: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("temperature must be above 0")


def scores(
    x: Floats,
    labels: Floats,
    *,
    scale: CosineCalibration,
    mode: Mode = "calibrated",
    multi_label: bool = False,
    null: Floats | None = None,
) -> Floats:
    """A score per item and label, each item on its own: batch mates change nothing.

    Args:
        x: (N, D) items, unit rows.
        labels: (L, D) labels, unit rows.
        scale: the model's constants.
        mode: "calibrated" probabilities; "jina", the softmax of the cosines at temperature 1;
            "raw", the cosines. The last two know no `multi_label`.
        multi_label: each label true or false for itself, instead of exactly one of them true.
        null: (M, D) embeddings of `prompts.NULL_LABELS`; used by `multi_label` only.

    Returns:
        (N, L), float32.

    >>> x, labels = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[:2]
    >>> scores(x, labels, scale=CosineCalibration(temperature=0.5)).round(2).tolist()
    [[0.800000011920929, 0.20000000298023224]]
    >>> scores(x, labels, scale=CosineCalibration(temperature=0.5), mode="jina").round(2).tolist()
    [[0.7300000190734863, 0.27000001072883606]]
    """
    measured = LabelSet.measure(labels, scale=scale, null=null if multi_label else None)
    return measured.scores(x, mode=mode, multi_label=multi_label)


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """What scoring needs of labels, worked out once however many items follow."""

    rows: Floats  # (L, D)
    null: Floats  # (M, D), M = 0 where exactly one label is true
    temperature: float  # in cosine, of a text of at most `USUAL_TOKENS`
    null_bias: float
    length_exponent: float = 0.0  # 0: the length of a text changes nothing

    @classmethod
    def measure(
        cls,
        labels: Floats,
        *,
        scale: CosineCalibration,
        null: Floats | None = None,
        length_exponent: float = 0.0,
    ) -> Self:
        """The label set (L, D), with its competitors (M, D) when each label stands for itself."""
        rest = np.empty((0, labels.shape[1]), np.float32) if null is None else null
        rest = rest[(rest @ labels.T).max(axis=1, initial=-1.0) < SAME_LABEL_COSINE]
        t = temperature(np.concatenate([labels, rest]), scale)
        return cls(
            rows=labels,
            null=rest,
            temperature=t,
            null_bias=scale.null_bias,
            length_exponent=length_exponent,
        )

    def scores(
        self,
        x: Floats,
        *,
        mode: Mode = "calibrated",
        multi_label: bool = False,
        tokens: NDArray[np.integer[Any]] | None = None,
    ) -> Floats:
        """As the function `scores`, for items (N, D); returns (N, L).

        `tokens` (N,) is the length of each item; None: all have the usual one.
        """
        cos = cosines(x, self.rows)
        if mode == "raw":
            return cos
        if mode == "jina":
            return single_label(cos, 1.0)
        null_cos = cosines(x, self.null) if multi_label else None
        if tokens is not None and self.length_exponent:
            factor = length_factor(tokens, self.length_exponent)[:, None]  # (N, 1)
            cos, null_cos = cos / factor, None if null_cos is None else null_cos / factor
        if null_cos is None:
            return single_label(cos, self.temperature)
        return multi_label_scores(cos, null_cos, self.temperature, self.null_bias)


def cosines(x: Floats, labels: Floats) -> Floats:
    """Cosine of every item with every label, for unit rows.

    Args:
        x: (N, D). labels: (L, D).

    Returns:
        (N, L), in -1..1.

    >>> cosines(np.array([[1, 0]], np.float32), np.array([[1, 0], [0, 1]], np.float32)).tolist()
    [[1.0, 0.0]]
    """
    # Rounding takes the product of two unit vectors to 1.0000001.
    cos: Floats = np.clip(x @ labels.T, -1.0, 1.0, dtype=np.float32)
    return cos


def single_label(cos: Floats, temperature: float) -> Floats:
    """Probabilities that sum to 1: the softmax of cosine / temperature.

    Args:
        cos: (N, L). temperature: above 0, in cosine.

    Returns:
        (N, L).

    >>> single_label(np.array([[0.4, 0.3]], np.float32), 0.1).round(3).tolist()
    [[0.7310000061988831, 0.26899999380111694]]
    """
    return np.exp(_log_softmax(cos / np.float32(temperature)))


def multi_label_scores(
    cos: Floats, null_cos: Floats, temperature: float, null_bias: float
) -> Floats:
    """Probability of each label for itself: sigmoid(logit of its share + bias).

    The share is that of a softmax in which the null labels compete too. A cosine alone says nothing
    across label sets. Mean F1 at 0.5 on three label sets, each with constants fitted on the other
    two: cosine minus a constant 0.07, minus a null prompt's 0.03, minus the label set's mean 0.13;
    share without null labels 0.43, with them 0.48.

    Args:
        cos: (N, L). null_cos: (N, M), M may be 0.
        temperature: above 0, in cosine. null_bias: in log odds.

    Returns:
        (N, L), each in 0..1; rows need not sum to 1.

    >>> cos, null = np.array([[0.5, 0.5, 0.1]], np.float32), np.array([[0.2]], np.float32)
    >>> multi_label_scores(cos, null, 0.05, 2.0).round(2).tolist()
    [[0.8799999952316284, 0.8799999952316284, 0.0]]
    """
    both: Floats = np.concatenate([cos, null_cos], axis=1)  # (N, L + M)
    log_share = _log_softmax(both / np.float32(temperature))[:, : cos.shape[1]]  # (N, L)
    # 1e-7 is the rounding of float32: a share of 1 has finite odds.
    log_odds = log_share - np.log(np.maximum(-np.expm1(log_share), np.float32(1e-7)))
    probabilities: Floats = 0.5 * (1.0 + np.tanh(0.5 * (log_odds + np.float32(null_bias))))
    return probabilities


def temperature(labels: Floats, scale: CosineCalibration) -> float:
    """The softmax temperature of a label set, in cosine.

    >>> labels = np.array([[1, 0], [0.8, 0.6]], np.float32)  # 0.63 apart
    >>> round(temperature(labels, CosineCalibration(temperature=0.06)), 4)
    0.0379
    >>> temperature(labels, CosineCalibration(temperature=0.06, by_spread=False))
    0.06
    """
    return scale.temperature * (spread(labels) if scale.by_spread else 1.0)


def length_factor(tokens: NDArray[np.integer[Any]], exponent: float) -> Floats:
    """What the temperature of texts of so many tokens (N,) is multiplied with, (N,).

    >>> length_factor(np.array([4, 16, 256, 512, 5000]), 1 / 3).round(2).tolist()
    [1.0, 1.0, 0.6299999952316284, 0.5199999809265137, 0.5199999809265137]
    """
    length = LENGTH_SCALE + np.clip(tokens, USUAL_TOKENS, LENGTH_LIMIT)
    factor: Floats = (((LENGTH_SCALE + USUAL_TOKENS) / length) ** exponent).astype(np.float32)
    return factor


def spread(labels: Floats) -> float:
    """How far apart a label set lies: the geometric mean of two root-mean-square distances.

    One is over all pairs, the other over each label's nearest neighbour: the first alone is too
    large for many labels in a few families, the second alone too small for a close pair among
    distant labels. 1.41 for orthogonal labels, 1 for a single one, never under `MIN_SPREAD`.

    Args:
        labels: (L, D), unit rows.

    >>> round(spread(np.eye(3, dtype=np.float32)), 4)
    1.4142
    """
    count = len(labels)
    if count < 2:
        return 1.0
    squared = np.maximum(2.0 - 2.0 * (labels @ labels.T).astype(np.float64), 0.0)  # (L, L)
    np.fill_diagonal(squared, 0.0)
    all_pairs = squared.sum() / (count * (count - 1))
    np.fill_diagonal(squared, np.inf)
    nearest = squared.min(axis=1).mean()
    return max(float((all_pairs * nearest) ** 0.25), MIN_SPREAD)


def _log_softmax(z: Floats) -> Floats:
    shifted = z - z.max(axis=1, keepdims=True)
    log_p: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p
