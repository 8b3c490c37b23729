"""Few-shot on pairs and subsets of labels, where a prior that is given up too early costs most.

    python -m ops.bench.quality_subsets --data ../shared/data [--cache FOLDER]

Prints markdown for `docs/explanation/few-shot.md`, by the number of examples a label: macro-F1 less
that of the best of zero-shot, linear SVM and RBF SVM on the same samples; and the same learner with
labels that mean nothing, less a learner whose labels are all alike. The subsets are all pairs of
ag_news, pairs of emotion, and pairs, near neighbours and larger subsets of banking77 at random, of
seed 7; samples have seeds 0 to 3.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench.machine import describe
from ops.bench.quality import Dataset, linear_svm, problem, rbf_svm
from ops.bench.quality_zero_shot import (
    SCALE,
    SETS,
    TEMPLATES,
    bundled_model,
    label_embeddings,
    macro_f1,
)
from workers.core.learner import Learner
from workers.core.zero_shot import scores

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

PER_LABEL = (1, 2, 3, 6, 15)
SEEDS = range(4)
MOST_TESTED = 1500
NAMES = ["anna", "boris", "clara", "david", "emma", "frank", "gina", "henry", "ida", "john"]
NOUNS = ["tree", "stone", "river", "lamp", "chair", "cloud", "spoon", "horse", "wall", "shoe"]
EMOTIONS = (("joy", "love"), ("joy", "sadness"), ("anger", "fear"), ("anger", "joy", "sadness"))


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some labels of a set, with their texts, embedded; y are indices into the labels."""

    name: str
    prior: Floats
    train: tuple[Floats, Ints]
    test: tuple[Floats, Ints]

    def sample(self, per_label: int, seed: int) -> tuple[Floats, Ints]:
        """`per_label` examples of each label."""
        x, y = self.train
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        picked = [order[y[order] == k][:per_label] for k in range(len(self.prior))]
        chosen = rng.permutation(np.concatenate(picked))
        return x[chosen], y[chosen]

    def f1(self, prior: Floats, x: Floats, y: Ints) -> float:
        """Macro-F1 of a learner of these examples, in percent."""
        learner, _ = Learner.start([str(k) for k in range(len(prior))], prior, SCALE).learn(x, y)
        return self.judged(learner.scores(self.test[0]).argmax(axis=1))

    def judged(self, predicted: Ints) -> float:
        """Macro-F1 on the test texts, in percent."""
        return macro_f1(self.test[1], predicted)


def main() -> None:
    """Embed everything once, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in between runs")
    arguments = parser.parse_args()
    embed = bundled_model()
    problems = {name: problem(arguments.data, name, embed, arguments.cache) for name in SETS}
    meaningless = {
        "team1, …": label_embeddings([f"team{n + 1}" for n in range(10)], TEMPLATES, embed),
        "class A, …": label_embeddings([f"class {c}" for c in "ABCDEFGHIJ"], TEMPLATES, embed),
        "first names": label_embeddings(NAMES, TEMPLATES, embed),
        "nouns": label_embeddings(NOUNS, TEMPLATES, embed),
    }
    of_all = list(subsets(problems))
    print(f"{describe()}\n\n{len(of_all)} subsets, mean (least)\n")
    print(f"| labels | {' | '.join(f'{n} a label' for n in PER_LABEL)} |")
    print(f"| --- |{' --- |' * len(PER_LABEL)}")
    _row("their own: to the best of the others", [ahead(of_all, n) for n in PER_LABEL])
    for name, rows in meaningless.items():
        _row(f"{name}: to no labels", [behind(of_all, rows, n) for n in PER_LABEL])


def subsets(problems: dict[str, Dataset]) -> Iterator[Subset]:
    """The subsets of the table."""
    rng = np.random.default_rng(7)
    news, emotion, banking = (problems[name] for name in ("ag_news", "emotion", "banking77"))
    for pair in combinations(range(len(news.prior)), 2):
        yield subset(news, pair)
    yield subset(news, (0, 1, 2))
    for names in EMOTIONS:
        yield subset(emotion, [list(emotion.test.labels).index(name) for name in names])
    for size in (2, 2, 2, 2, 3, 5, 10):
        yield subset(banking, rng.choice(len(banking.prior), size, replace=False))
    alike = banking.prior @ banking.prior.T
    np.fill_diagonal(alike, -1.0)
    for label in rng.choice(len(banking.prior), 3, replace=False):
        yield subset(banking, (int(label), int(alike[label].argmax())))
    for whole in (news, emotion, problems["sms_spam"]):
        yield subset(whole, range(len(whole.prior)))


def subset(dataset: Dataset, labels: Sequence[int] | Ints) -> Subset:
    """The texts of some labels, given by index."""
    kept = np.sort(np.asarray(labels, np.intp))

    def of(x: Floats, y: Ints, most: int) -> tuple[Floats, Ints]:
        rows = np.flatnonzero(np.isin(y, kept))[:most]
        return x[rows], np.searchsorted(kept, y[rows])

    return Subset(
        name=f"{dataset.name} {kept.tolist()}",
        prior=dataset.prior[kept],
        train=of(dataset.train.x, dataset.train.y, len(dataset.train.y)),
        test=of(dataset.test.x, dataset.test.y, MOST_TESTED),
    )


def ahead(of_all: Sequence[Subset], per_label: int) -> list[float]:
    """Of each subset, the mean over seeds: few-shot less the best of the others."""
    found = []
    for each in of_all:
        zero = each.judged(scores(each.test[0], each.prior, scale=SCALE).argmax(axis=1))
        rows = []
        for seed in SEEDS:
            x, y = each.sample(per_label, seed)
            machines = [each.judged(fit(x, y)(each.test[0])) for fit in (linear_svm, rbf_svm)]
            rows.append((each.f1(each.prior, x, y), zero, *machines))
        few_shot, *others = np.mean(rows, axis=0)
        found.append(float(few_shot - max(others)))
    return found


def behind(of_all: Sequence[Subset], meaningless: Floats, per_label: int) -> list[float]:
    """Of each subset, the mean over seeds: meaningless labels less labels that are all alike."""
    found = []
    for each in of_all:
        count, size = each.prior.shape
        alike = np.full((count, size), size**-0.5, np.float32)
        drawn = [each.sample(per_label, seed) for seed in SEEDS]
        lost = [each.f1(meaningless[:count], x, y) - each.f1(alike, x, y) for x, y in drawn]
        found.append(float(np.mean(lost)))
    return found


def _row(name: str, cells: Sequence[list[float]]) -> None:
    values = " | ".join(f"{np.mean(cell):+.1f} ({min(cell):+.1f})" for cell in cells)
    print(f"| {name} | {values} |", flush=True)


if __name__ == "__main__":
    main()
