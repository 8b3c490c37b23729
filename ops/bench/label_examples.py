"""How much a few examples of each label, sent with a request, help zero-shot classification.

    python -m ops.bench.label_examples --data ../shared/data [--texts 1000]

Prints markdown: macro-F1 by what the label is worth next to an example; then F1 and calibration by
the number of examples; then where only every second label has examples; then several labels at
once. Means over `SEEDS` samples of the train splits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench.machine import describe
from ops.bench.quality_zero_shot import (
    MULTI_LABEL_SETS,
    SCALE,
    SETS,
    TEMPLATES,
    Embed,
    Split,
    bundled_model,
    label_embeddings,
    macro_f1,
    read,
)
from workers.core.calibration import expected_calibration_error
from workers.core.prompts import NULL_LABELS
from workers.core.prototypes import LABEL_WORTH, blend
from workers.core.zero_shot import scores

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

SEEDS = range(5)
WORTHS = (2.0, 4.0, 8.0, 16.0, 32.0)
COUNTS = (1, 2, 5, 10)
PER_LABEL = 5


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set: its splits, and the embeddings of its labels (L, D)."""

    train: Split
    test: Split
    labels: Floats

    def prototypes(
        self, count: int, seed: int, *, worth: float = LABEL_WORTH, every: int = 1
    ) -> Floats:
        """(L, D), with `count` random examples of each label, or of every second label."""
        order = np.random.default_rng(seed).permutation(len(self.train.y))
        y = self.train.y[order]
        picked = [order[y == k][:count] for k in range(0, len(self.labels), every)]
        owners = np.repeat(np.arange(0, len(self.labels), every), [*map(len, picked)])
        return blend(self.labels, self.train.x[np.concatenate(picked)], owners, label_worth=worth)

    def quality(self, rows: Floats) -> tuple[float, float]:
        """Macro-F1 in percent, and the calibration error."""
        p = scores(self.test.x, rows, scale=SCALE)
        error = expected_calibration_error(p, self.test.y)
        return macro_f1(self.test.y, p.argmax(axis=1)), error


def main() -> None:
    """Read the arguments, embed everything once, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--texts", type=int, default=1000, help="texts of a test split that count")
    args = parser.parse_args()
    embed = bundled_model()
    sets = {name: read_set(args.data / name, embed, args.texts) for name in SETS}
    print(f"{describe()}\n")
    worths(sets)
    by_count(sets)
    every_second(sets)
    many_labels(sets, label_embeddings(NULL_LABELS, TEMPLATES, embed))


def read_set(folder: Path, embed: Embed, texts: int) -> LabelledSet:
    """A data set; of the train split, texts of each label to draw samples from."""
    test = read(folder, "test", embed, at_most=texts)
    train = read(folder, "train", embed, per_label=3 * max(COUNTS))
    return LabelledSet(
        train=train, test=test, labels=label_embeddings(test.labels, TEMPLATES, embed)
    )


def worths(sets: dict[str, LabelledSet]) -> None:
    """What the label may be worth, in examples, with `PER_LABEL` examples of each label."""
    print(f"| label worth, {PER_LABEL} examples a label | mean F1 | {' | '.join(sets)} |")
    print(f"|---|---|{'---|' * len(sets)}")
    for worth in WORTHS:
        f1 = [_mean(s, partial(s.prototypes, PER_LABEL, worth=worth))[0] for s in sets.values()]
        print(f"| {worth:g} | {np.mean(f1):.1f} | {' | '.join(f'{v:.1f}' for v in f1)} |")


def by_count(sets: dict[str, LabelledSet]) -> None:
    """Macro-F1 and calibration error by the number of examples of each label."""
    print(f"\n| set | labels alone | {' | '.join(f'{count} a label' for count in COUNTS)} |")
    print(f"|---|---|{'---|' * len(COUNTS)}")
    for name, s in sets.items():
        cells = [s.quality(s.labels)]
        cells += [_mean(s, partial(s.prototypes, n)) for n in COUNTS]
        print(f"| {name} | {' | '.join(f'{f1:.1f}, {error:.3f}' for f1, error in cells)} |")


def every_second(sets: dict[str, LabelledSet]) -> None:
    """What happens where only every second label has examples."""
    print(f"\n| set | labels alone | {PER_LABEL} examples of every second label |\n|---|---|---|")
    for name, s in sets.items():
        f1, error = s.quality(s.labels)
        mixed, mixed_error = _mean(s, partial(s.prototypes, PER_LABEL, every=2))
        print(f"| {name} | {f1:.1f}, {error:.3f} | {mixed:.1f}, {mixed_error:.3f} |")


def many_labels(sets: dict[str, LabelledSet], null: Floats) -> None:
    """`multi_label` at a threshold of 0.5, on texts of a set and on texts of the others."""
    print("\n| multi-label at 0.5 | micro-F1 | with examples | nothing found: unrelated texts "
          "| with examples |\n|---|---|---|---|---|")  # fmt: skip
    for name in MULTI_LABEL_SETS:
        s = sets[name]
        foreign = np.concatenate([sets[k].test.x[:130] for k in SETS if k != name])
        x = np.concatenate([s.test.x, foreign])
        truth = np.zeros((len(x), len(s.labels)), np.bool_)
        truth[np.arange(len(s.test.y)), s.test.y] = True
        f1, nothing = [], []
        for rows in (s.labels, s.prototypes(PER_LABEL, SEEDS[0])):
            kept = scores(x, rows, scale=SCALE, multi_label=True, null=null) >= 0.5
            f1.append(2 * (kept & truth).sum() / (kept.sum() + truth.sum()))
            nothing.append((~kept[-len(foreign) :].any(axis=1)).mean())
        print(f"| {name} | {f1[0]:.2f} | {f1[1]:.2f} | {nothing[0]:.2f} | {nothing[1]:.2f} |")


def _mean(s: LabelledSet, rows: Callable[[int], Floats]) -> tuple[float, float]:
    """Macro-F1 and calibration error over the seeds."""
    f1, error = np.mean([s.quality(rows(seed)) for seed in SEEDS], axis=0)
    return float(f1), float(error)


if __name__ == "__main__":
    main()
