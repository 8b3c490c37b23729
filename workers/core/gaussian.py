"""Labels as Gaussian clouds of one shape, whose centres start from the label embeddings.

Decides: linear scores of a grid of models, from moments and label embeddings. Does not decide:
which of the models to trust (`hedge`).

The model: x of label k ~ N(mu_k, C); mu_k ~ N(a + s p_k, C / kappa) for the label embedding p_k.
Fisher's linear discriminant (Fisher 1936, Rao 1948) with the mean of Bayes (Efron and Morris 1973)
and the covariance shrunk to a multiple of the identity (Friedman 1989). `s`, how far examples
follow their label's embedding, is the regression of the class means on the embeddings, and the
error of that regression tells labels that mean something from labels that do not: with one example
per class `s` is 0.04 to 0.56 for real labels and 0 on average, as often as not below it, for
"team1", "team2", ..., whose scatter is what round clouds predict (within a factor of two). How near
examples lie to their own labels is the second sign: of the bundled English model the cosine is 0.10
to 0.58 where labels mean something, and 0.01 to 0.08 where they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.core.sufficient_statistics import SufficientStatistics

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# How many examples the label embedding is worth as the centre, and the round cloud as the shape.
# Without the largest alpha 400 news are 0.4 worse; three a factor 10 apart cost 77 labels 0.5.
KAPPAS = (2.0, 8.0, 32.0, 128.0)
ALPHAS = (50.0, 800.0, 12800.0)
GRID = tuple((alpha, kappa) for alpha in ALPHAS for kappa in KAPPAS)
# Below this many examples a covariance says nothing about 100 dimensions and more.
ROUND_BELOW = 16.0
# Texts of one label lie 0.8 from their centre in the mean of squares; worth two examples.
SPREAD_GUESS, SPREAD_WORTH = 0.8, 2.0
# How strongly examples follow labels that mean something: before examples tell, how far that varies
# between label sets, and how likely labels are to mean something at all.
STRENGTH_GUESS, STRENGTH_SPREAD, MEANING_GUESS = 0.2, 0.2, 0.5
# Along the directions in which labels differ, texts have more variance than round clouds have. Only
# where nearness tells what labels mean: else "team1" would be trusted for longer, too.
MEANING_VARIANCE = 3.0
# The cosine that multiplies the odds by e, with many examples; worth one example.
NEARNESS_WIDTH, NEARNESS_WORTH, NEARNESS_MOST = 0.015, 1.0, 6.0
# Class means scatter as if by an eighth of a text's variance, however many examples they are of.
STRENGTH_KAPPA = 8.0


@dataclass(frozen=True, kw_only=True)
class LinearScorer:
    """Scores x @ rows.T + bias, of one model or of E of them."""

    rows: Floats  # (L, D) or (E, L, D)
    bias: Floats  # (L,) or (E, L)

    def scores(self, x: Floats) -> Floats:
        """Of items (N, D): (N, L), or (E, N, L)."""
        found: Floats = x @ np.swapaxes(self.rows, -1, -2) + self.bias[..., None, :]
        return found


@dataclass(frozen=True, kw_only=True)
class GaussianEnsemble:
    """The models of `GRID`, (E, L, D), and what the label embeddings alone say, (L, D).

    `meant`, 0..1: how likely labels are to mean something, over how likely before any example.
    """

    models: LinearScorer
    labels: LinearScorer
    strength: float
    meant: float


def fit(
    moments: SufficientStatistics,
    prior: Doubles,
    temperature: float,
    related: float | None = None,
) -> GaussianEnsemble:
    """Every model of the grid.

    Args:
        moments: of L labels; may be empty.
        prior: (L, D) label embeddings.
        temperature: of zero-shot, in cosine: the strength that holds until examples speak.
        related: the mean cosine of examples with their labels at which labels mean something as
            likely as not; None: the model is not known well enough.

    >>> prior = np.eye(2)
    >>> m = SufficientStatistics.empty(2, 2)
    >>> m = m.add(prior.astype(np.float32), np.array([0, 1]), np.ones(2))
    >>> clouds = fit(m, prior, 0.05)
    >>> round(clouds.strength, 2), clouds.meant  # the examples lie where the labels do
    (0.16, 1.0)
    >>> [float(v) for v in clouds.models.scores(np.eye(2, dtype=np.float32))[0].argmax(axis=1)]
    [0.0, 1.0]
    """
    counts = moments.counts * moments.unit  # (L,)
    sums = moments.sums * moments.unit  # (L, D)
    dim = prior.shape[1]
    means = sums / np.maximum(counts, 1e-12)[:, None]
    within = moments.second * moments.unit  # (D, D)
    within -= sums.T @ means
    freedom = max(counts.sum() - (counts > 0).sum(), 0.0)
    variance = (max(float(np.trace(within)), 0.0) + SPREAD_WORTH * SPREAD_GUESS) / (
        (float(freedom) + SPREAD_WORTH) * dim
    )
    log_share = np.log((counts + 1.0) / (counts.sum() + len(counts)))  # (L,)
    strength, meant = _strength(counts, means, prior, variance, related)
    meanings = strength * prior  # (L, D)
    beyond = means - meanings  # (L, D)
    trust = counts / (counts + np.array(KAPPAS)[:, None])  # (K, L): of the class mean
    mu = _centres(trust, beyond, meanings)  # (K, L, D)
    rows, bias = [], []
    for alpha in ALPHAS:
        # Centres are linear in these 2 L rows, so that the inverse is needed for no more of them.
        w = _centres(trust, *_shaped(beyond, meanings, within, freedom, variance, alpha))
        rows.append(w.astype(np.float32))
        bias.append((log_share - 0.5 * np.einsum("kld,kld->kl", mu, w)).astype(np.float32))
    return GaussianEnsemble(
        models=LinearScorer(rows=np.concatenate(rows), bias=np.concatenate(bias)),
        labels=LinearScorer(
            rows=(prior * (meant / temperature)).astype(np.float32),
            bias=np.zeros(len(prior), np.float32),
        ),
        strength=strength,
        meant=meant,
    )


def _strength(
    counts: Doubles, means: Doubles, prior: Doubles, variance: float, related: float | None
) -> tuple[float, float]:
    """How strongly examples follow the label embeddings, and `GaussianEnsemble.meant`.

    Bayes' rule between two explanations of the regression: labels mean nothing, and it is 0 but
    for its error; or they mean something, and it is about `STRENGTH_GUESS`. The odds of the two
    before the regression are those of how near the examples lie to their own labels.
    """
    trust = counts / (counts + STRENGTH_KAPPA)  # (L,)
    a, p = _mean(trust, means), _mean(trust, prior)  # (D,)
    offset = prior - p
    worth = float(trust @ (offset**2).sum(axis=1))
    # Labels that all embed alike, and labels without examples, leave nothing to regress on.
    if worth < 1e-9:
        return MEANING_GUESS * STRENGTH_GUESS, 1.0
    shift = np.where(counts[:, None] > 0, means - a, 0.0)
    found = float(trust @ (shift * offset).sum(axis=1)) / worth
    error = variance / (STRENGTH_KAPPA * worth)  # squared; of the regression
    log_odds = 0.0
    if related is not None:
        error *= MEANING_VARIANCE
        nearness = float(trust @ (means * prior).sum(axis=1)) / float(trust.sum())
        width = NEARNESS_WIDTH * (1.0 + NEARNESS_WORTH / float(counts.sum()))
        log_odds = min(max((nearness - related) / width, -NEARNESS_MOST), NEARNESS_MOST)
    wide = error + STRENGTH_SPREAD**2
    log_odds += 0.5 * (
        math.log(error / wide) + found**2 / error - (found - STRENGTH_GUESS) ** 2 / wide
    )
    odds = math.exp(min(max(log_odds, -50.0), 50.0)) * MEANING_GUESS / (1.0 - MEANING_GUESS)
    likely = odds / (1.0 + odds)
    if_meant = (found * STRENGTH_SPREAD**2 + STRENGTH_GUESS * error) / wide
    # Examples on the wrong side of their labels are no reason to trust the labels.
    if if_meant <= 0.0:
        return 0.0, 0.0
    return likely * if_meant, min(likely / MEANING_GUESS, 1.0)


def _centres(trust: Doubles, beyond: Doubles, meanings: Doubles) -> Doubles:
    """The L centres of every kappa, (K, L, D).

    Args:
        trust: (K, L), of the class mean against the guess.
        beyond: (L, D), class means less `meanings`.
        meanings: (L, D), label embeddings times the strength.
    """
    common = trust @ beyond / np.maximum(trust.sum(axis=1), 1e-12)[:, None]  # (K, D): a
    mu: Doubles = trust[:, :, None] * (beyond - common[:, None])
    mu += common[:, None]
    mu += meanings
    return mu


def _mean(trust: Doubles, rows: Doubles) -> Doubles:
    """Of rows (L, D), weighted by `trust` (L,): (D,)."""
    mean: Doubles = trust @ rows / max(trust.sum(), 1e-12)
    return mean


def _shaped(
    beyond: Doubles,
    meanings: Doubles,
    within: Doubles,
    freedom: float,
    variance: float,
    alpha: float,
) -> tuple[Doubles, Doubles]:
    """Rows times the inverse of the shrunk covariance, each (L, D)."""
    if freedom < ROUND_BELOW:
        return beyond / variance, meanings / variance
    shape = within.copy()  # (D, D)
    shape.flat[:: len(shape) + 1] += alpha * variance
    both = np.concatenate([beyond, meanings])  # (2 L, D)
    if len(both) < len(shape):
        found = np.linalg.solve(shape, both.T).T  # 2 ms where the inverse takes 7
    else:
        inverse = np.linalg.inv(shape).astype(np.float32)
        found = (both.astype(np.float32) @ inverse).astype(np.float64)
    found *= freedom + alpha
    return found[: len(beyond)], found[len(beyond) :]
