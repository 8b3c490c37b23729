"""How soon drift is flagged, and how often unchanged traffic is: on real sets.

    python -m ops.bench.quality_drift --data ../shared/data [--cache FOLDER]

A classifier of each set is trained on its train split. Windows of unchanged traffic are drawn from
the test split; in the other windows 30 % of the items come from another set. Prints one row for
each pair of sets: the share of flagged windows by size, and the flags of 20 unchanged windows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench import baselines
from ops.bench.machine import describe
from ops.bench.quality import Dataset, problem
from ops.bench.quality_zero_shot import SETS
from shared.drift import DriftMeasures, drift
from shared.observation import Observation
from workers.core.learner import Learner
from workers.core.observation_sums import observed

Floats = NDArray[np.float32]
SIZES = (100, 200, 500)
MIXED = 0.3
WINDOWS = 20
_AT_ONCE = 256
_SEED = 0


def main() -> None:
    """Read the arguments, train, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in between runs")
    arguments = parser.parse_args()
    encode = baselines.product(texts_at_once=_AT_ONCE)  # what a worker counts

    def embed(texts: Sequence[str]) -> Floats:
        return np.concatenate(encode(texts))

    problems = [problem(arguments.data, name, embed, arguments.cache) for name in SETS]
    print(f"{describe()}\n")
    trained = {each.name: _trained(each) for each in problems}
    print("| set | unchanged windows of 500 flagged, of 20 | labels | confidence | embedding |")
    print("|---|---|---|---|---|")
    for each in problems:
        found = [_window(trained, each, each, 500, 0.0, seed) for seed in range(WINDOWS)]
        print(f"| {each.name} | {sum(d.drifted for d in found)} | {_most(found)} |")
    print(f"\n| set | {MIXED:.0%} from | flagged of {WINDOWS} windows of {SIZES} items "
          "| labels | confidence | embedding |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for each in problems:
        for other in problems:
            if other is not each:
                _mixed_row(trained, each, other)


def _mixed_row(
    trained: dict[str, tuple[Learner, Observation]], each: Dataset, other: Dataset
) -> None:
    flagged = []
    for size in SIZES:
        found = [_window(trained, each, other, size, MIXED, seed) for seed in range(WINDOWS)]
        flagged.append(str(sum(d.drifted for d in found)))
    print(f"| {each.name} | {other.name} | {', '.join(flagged)} | {_most(found)} |")


def _trained(of: Dataset) -> tuple[Learner, Observation]:
    learner, report = of.learner().learn(of.train.x, of.train.y)
    return learner, observed(learner.labels, of.train.x, report.scores)


def _window(
    trained: dict[str, tuple[Learner, Observation]],
    of: Dataset,
    other: Dataset,
    size: int,
    share: float,
    seed: int,
) -> DriftMeasures:
    rng = np.random.default_rng([_SEED, seed])
    mixed = round(share * size)
    x: Floats = np.concatenate([
        of.test.x[rng.choice(len(of.test.x), size - mixed)],
        other.test.x[rng.choice(len(other.test.x), mixed)],
    ])  # fmt: skip
    learner, reference = trained[of.name]
    found = drift(reference, observed(learner.labels, x, learner.scores(x)))
    assert found is not None
    return found


def _most(found: Sequence[DriftMeasures]) -> str:
    """The largest value of each measure, and its threshold."""
    columns = []
    for name in ("labels", "confidence", "embedding"):
        measures = [getattr(each, name) for each in found]
        values = [m.value for m in measures]
        columns.append(f"{min(values):.2f} to {max(values):.2f} ({measures[0].threshold:.2f})")
    return " | ".join(columns)


if __name__ == "__main__":
    main()
