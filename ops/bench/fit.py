"""How well the fit tells described texts from others, on label sets with labels left out.

    python -m ops.bench.fit --data ../shared/data

Prints markdown: for texts compared with labels, and with a classifier's examples, the AUROC of the
fit, of the calibrated maximum and of the greatest cosine, and the calibration error of the first
two as the probability that a text is described. The constants of each row are fitted on the other
sets; at the end those of all sets, for the catalogue. Every problem has as many texts whose label
is among the labels as others; of the others, half have a label of the same set that was left out,
half are of other sets (all of them where no label can be left out). Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.bench.machine import describe
from ops.bench.quality_zero_shot import (
    SCALE,
    SETS,
    TEMPLATES,
    Split,
    bundled_model,
    label_embeddings,
    read,
)
from shared.model_catalogue import ExampleFit, LabelFit
from workers.core import fit
from workers.core.learner import Learner
from workers.core.prompts import NULL_LABELS
from workers.core.zero_shot import LabelSet, cosines, temperature

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

SIZES = {"ag_news": (2, 3), "banking77": (3, 6, 12, 25, 51), "emotion": (2, 3, 4), "sms_spam": (2,)}
LEFT_OUT = SETS[:3]  # of the two labels of messages none can be left out
PER_LABEL = (1, 2, 5, 15, 60)  # examples
DRAWS, MOST, BINS = 4, 400, 15


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """N texts, and whether each is described. `features` (N, F): what the constants multiply."""

    described: Bools
    features: Floats
    calibrated: Floats  # (N,)
    cosine: Floats  # (N,)


def main() -> None:
    """Read the arguments, embed everything once, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    data: Path = parser.parse_args().data
    embed = bundled_model()
    train, test = (
        {name: read(data / name, split, embed) for name in SETS} for split in ("train", "test")
    )
    labels = {name: label_embeddings(s.labels, TEMPLATES, embed) for name, s in test.items()}
    null = label_embeddings(NULL_LABELS, TEMPLATES, embed)
    print(f"{describe()}\n")
    by_labels = {
        split: {name: list(zero_shot(name, of, labels, null)) for name in LEFT_OUT}
        for split, of in (("train", train), ("test", test))
    }
    table("labels alone", by_labels["train"], by_labels["test"], LabelFit)
    by_examples = {name: list(few_shot(name, train, test, labels)) for name in SETS}
    table("classifiers of 1 to 60 examples a label", by_examples, by_examples, ExampleFit)


def mixture(
    name: str, of: dict[str, Split], kept: NDArray[np.integer[Any]], rng: Any
) -> tuple[Floats, Bools]:
    """Texts (N, D) of the labels that are kept, as many others, and which is which (N,)."""
    own = np.isin(of[name].y, kept)
    described = of[name].x[own]
    described = described[rng.choice(len(described), min(len(described), MOST), replace=False)]
    near = of[name].x[~own]
    half = len(described) // 2 if len(near) else 0
    near = near[rng.choice(len(near), half, replace=len(near) < half)] if half else near[:0]
    far = np.concatenate([of[other].x for other in SETS if other != name])
    far = far[rng.choice(len(far), len(described) - half, replace=False)]
    x = np.concatenate([described, near, far])
    return x, np.arange(len(x)) < len(described)


def zero_shot(
    name: str, of: dict[str, Split], labels: dict[str, Floats], null: Floats
) -> Iterator[LabelTask]:
    """Texts next to some of the labels of a set."""
    for size in SIZES[name]:
        for draw in range(DRAWS):
            rng = np.random.default_rng((size, draw))
            kept = rng.choice(len(labels[name]), size, replace=False)
            x, described = mixture(name, of, kept, rng)
            rows = labels[name][kept]
            measured = fit.Described.measure(rows, null, temperature=temperature(rows, SCALE))
            yield LabelTask(
                described=described,
                features=features(measured.fit, x, LabelFit),
                calibrated=LabelSet.measure(rows, scale=SCALE).scores(x).max(axis=1),
                cosine=cosines(x, rows).max(axis=1),
            )


def few_shot(
    name: str, train: dict[str, Split], test: dict[str, Split], labels: dict[str, Floats]
) -> Iterator[LabelTask]:
    """Texts next to classifiers of some of the labels of a set."""
    for size in SIZES[name]:
        for per_label in PER_LABEL:
            rng = np.random.default_rng((size, per_label))
            kept = rng.choice(len(labels[name]), size, replace=False)
            picked = np.concatenate([
                rng.permutation(np.flatnonzero(train[name].y == k))[:per_label] for k in kept
            ])  # fmt: skip
            rng.shuffle(picked)
            y = np.array([list(kept).index(k) for k in train[name].y[picked]])
            start = Learner.start([str(k) for k in kept], labels[name][kept], SCALE)
            learner, _ = start.learn(train[name].x[picked], y)
            x, described = mixture(name, test, kept, rng)
            learnt = fit.Learnt.measure(learner.moments, learner.prior)
            yield LabelTask(
                described=described,
                features=features(learnt.fit, x, ExampleFit),
                calibrated=learner.scores(x).max(axis=1),
                cosine=cosines(x, learnt.centres).max(axis=1),
            )


def features(of: Callable[[Floats, Any], Floats], x: Floats, constants: type[Any]) -> Floats:
    """What each of the constants multiplies, (N, F), by the product's own formula.

    A constant of 1 among zeros gives the log odds that it stands for; a tenth, for odds that
    float32 holds.
    """
    names = list(constants.model_fields)[:-1]  # the offset multiplies 1
    columns = []
    for name in names:
        p = of(x, constants(**{**dict.fromkeys((*names, "offset"), 0.0), name: 0.1})).astype(float)
        columns.append(10.0 * np.log(p / (1.0 - p)))
    return np.stack(columns, axis=1).astype(np.float32)


def fitted(problems: Sequence[Sequence[LabelTask]]) -> NDArray[np.float64]:
    """The constants, offset last, that make the described texts of sets likeliest, (F + 1,).

    Sets count alike, and within a set its problems.
    """
    sklearn: Any = importlib.import_module("sklearn.linear_model")  # has no types
    each = [(p, 1.0 / (len(of_set) * len(p.described))) for of_set in problems for p in of_set]
    x = np.concatenate([p.features for p, _ in each])
    y = np.concatenate([p.described for p, _ in each])
    weights = np.concatenate([np.full(len(p.described), w) for p, w in each])
    model = sklearn.LogisticRegression(C=1e4, max_iter=5000)
    model.fit(x, y, sample_weight=weights * len(weights) / weights.sum())
    return np.append(model.coef_[0], model.intercept_)


def table(
    what: str,
    fit_on: dict[str, list[LabelTask]],
    judge: dict[str, list[LabelTask]],
    names: type[Any],
) -> None:
    """A row for each set, by constants of the others; then the constants of all."""
    print(f"\n{what}\n")
    print("| set | AUROC fit | calibrated maximum | greatest cosine | error fit | calibrated |")
    print("|---|---|---|---|---|---|")
    for name, problems in judge.items():
        rest = fitted([of_set for other, of_set in fit_on.items() if other != name])
        rows = []
        for p in problems:
            found = 1.0 / (1.0 + np.exp(-(p.features @ rest[:-1] + rest[-1])))
            aurocs = [auroc(score, p.described) for score in (found, p.calibrated, p.cosine)]
            rows.append([*aurocs, *(error(s, p.described) for s in (found, p.calibrated))])
        print(f"| {name} | {' | '.join(f'{v:.3f}' for v in np.mean(rows, axis=0))} |")
    constants = zip(names.model_fields, fitted(list(fit_on.values())), strict=True)
    print(f"\n{', '.join(f'{name} = {value:.2f}' for name, value in constants)}")


def auroc(scores: Floats, described: Bools) -> float:
    """How likely a described text has the greater score of two, one of each kind."""
    rest, own = np.sort(scores[~described]), scores[described]
    below = np.searchsorted(rest, own, side="left") + np.searchsorted(rest, own, side="right")
    return float(below.mean() / (2 * len(rest)))


def error(probabilities: Floats, described: Bools) -> float:
    """Mean gap between probability and share of described texts, over 15 bins of equal width."""
    place = np.clip((probabilities * BINS).astype(int), 0, BINS - 1)
    gap = np.bincount(place, weights=described - probabilities, minlength=BINS)
    return float(np.abs(gap).sum() / len(described))


if __name__ == "__main__":
    main()
