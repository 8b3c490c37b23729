"""What a gate can reach: the nights of `time_lapse` under several gates and orders of the rows.

`python -m ops.bench.promotion_policies`. In process, from embeddings that are made once. Beside the
gates stand a retraining that always promotes, and one that knows which nights are damaged. Prints
means over the seeds, and how often the targets were met: an end within a point of all clean rows at
once, no fall of more than a point.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ops.bench import machine
from ops.bench.quality_zero_shot import macro_f1
from ops.bench.retraining_runner import NightWorker, Row
from ops.bench.time_lapse import EVERY, FIRST, NEW, NIGHTS, SETS, embedded, rows_of, shuffled
from shared.retraining import Gate, RetrainingSettings
from shared.types import Priority
from workers.core.evaluation import Doubles, Ints
from workers.core.label_agreement import disagreement
from workers.core.learner import Learner
from workers.core.paired_test import value
from workers.core.promotion_gate import Predictions, judge, metric_of
from workers.embedding.labels import embed_labels, scale_of
from workers.handlers.retrain.snapshot import MAX_REJECTIONS
from workers.models.port import Rows
from workers.work_context import WorkContext

_ITERS = RetrainingSettings().num_iters
_HOLDOUT = 500
_CHANCE = 0.05  # of nights whose labels are as usual, and that have to be better nevertheless
_LENIENT = Gate(minimum_gain=-0.01)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set with its embeddings: `x` (N, D), indices `y` (N,), both of train and test rows."""

    labels: tuple[str, ...]
    start: Learner
    x: tuple[Rows, Rows]
    y: tuple[Ints, Ints]


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Labelled rows, and how often they were rejected."""

    x: Rows
    y: Ints
    rejections: int = 0

    def __add__(self, other: LabelledRows) -> LabelledRows:
        return LabelledRows(
            x=np.concatenate([self.x, other.x]), y=np.concatenate([self.y, other.y])
        )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A gate, or what stands for one. `guarded`: rows whose labels are unusual must be better."""

    gate: Gate | None = None  # None promotes each night
    guarded: bool = False
    knows: bool = False  # which nights are damaged
    rebuilds: bool = False


POLICIES = {
    "always promotes": Policy(),
    "knows the damaged nights": Policy(knows=True),
    "default gate": Policy(gate=Gate()),
    "minimum_gain -0.01": Policy(gate=_LENIENT),
    "minimum_gain -0.01, labels guarded": Policy(gate=_LENIENT, guarded=True),
    "default gate, rebuild": Policy(gate=Gate(), rebuilds=True),
}


@dataclass(kw_only=True)
class PolicyNights:
    """One order of the rows under one policy; macro-F1 in points, on test rows."""

    at_once: float = 0.0
    ends: list[float] = field(default_factory=list)
    rejected: int = 0  # of damaged nights
    promoted: int = 0  # of the others

    @property
    def gap(self) -> float:
        """What is missing to all clean rows at once."""
        return self.at_once - self.ends[-1]

    @property
    def fall(self) -> float:
        """The greatest loss over one night."""
        return max(a - b for a, b in zip(self.ends, self.ends[1:], strict=False))


def main() -> None:
    """Print a table of policies for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--policies", nargs="*", default=tuple(POLICIES), choices=tuple(POLICIES))
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    worker = NightWorker()
    sets = {name: _read(worker, options.data / name) for name in options.sets}
    worker.close()
    print(f"# {machine.describe()}\n", flush=True)
    print(
        "| set, policy | end | below at once | within 1 | greatest fall in a night | at most 1 | "
        "damaged nights rejected of 6 | other nights promoted of 24 |\n" + "| --- " * 8 + "|",
        flush=True,
    )
    for name, data in sets.items():
        for policy in options.policies:
            lapses = [lapse(data, POLICIES[policy], seed) for seed in range(options.seeds)]
            print(f"| {name}, {policy} | {_cells(lapses)} |", flush=True)


def lapse(data: DataSet, policy: Policy, seed: int) -> PolicyNights:
    """All nights with the rows in one order."""
    rng = np.random.default_rng(seed)
    order, tests = rng.permutation(len(data.y[0])), rng.permutation(len(data.y[1]))
    x, y = data.x[0][order], data.y[0][order]
    holdout, test = (
        LabelledRows(x=data.x[1][some], y=data.y[1][some])
        for some in (tests[:_HOLDOUT], tests[_HOLDOUT:])
    )
    known = clean = LabelledRows(x=x[:FIRST], y=y[:FIRST])
    champion, waiting = _learnt(data.start, known), list[LabelledRows]()
    found = PolicyNights(ends=[_quality(champion, test)])
    for night in range(1, NIGHTS + 1):
        some = slice(FIRST + NEW * (night - 1), FIRST + NEW * night)
        new, damaged = LabelledRows(x=x[some], y=y[some]), night % EVERY == 0
        if damaged:
            rows = shuffled([("", str(label)) for label in new.y], rng)
            new = LabelledRows(x=new.x, y=np.array([int(label) for _, label in rows]))
        else:
            clean = clean + new
        challenger, learnt, tried = _challenger(
            data, policy, champion, known, holdout, [new, *waiting]
        )
        if policy.knows:
            passed = not damaged
        else:
            passed = _passes(data, policy, (champion, challenger), holdout, tried)
        found.rejected += damaged and not passed
        found.promoted += passed and not damaged
        if passed:
            champion, known = challenger, known + learnt
        left = [] if passed and len(tried) > 1 else waiting
        if not passed and not policy.knows:
            left = [*left, new]
        waiting = [
            each
            for each in (LabelledRows(x=b.x, y=b.y, rejections=b.rejections + 1) for b in left)
            if each.rejections < MAX_REJECTIONS
        ]
        found.ends.append(_quality(champion, test))
    found.at_once = _quality(_learnt(data.start, clean), test)
    return found


def _challenger(
    data: DataSet,
    policy: Policy,
    champion: Learner,
    known: LabelledRows,
    holdout: LabelledRows,
    nights: Sequence[LabelledRows],
) -> tuple[Learner, LabelledRows, Sequence[LabelledRows]]:
    """The better challenger, what it has learnt, and these rows by the night that brought them.

    `nights` are the new one and those that wait; the other challenger learns the new one alone.
    """
    best: tuple[float, Learner, LabelledRows, Sequence[LabelledRows]] | None = None
    metric = metric_of(Gate(), data.labels)
    for some in [nights, nights[:1]] if len(nights) > 1 else [nights]:
        rows = sum(some[1:], start=some[0])
        learner = _learnt(data.start, known + rows) if policy.rebuilds else _learnt(champion, rows)
        at = value(metric, holdout.y, _predicted(learner, holdout.x).predicted)
        if best is None or at > best[0]:
            best = at, learner, rows, some
    assert best is not None
    return best[1:]


def _passes(
    data: DataSet,
    policy: Policy,
    versions: tuple[Learner, Learner],
    holdout: LabelledRows,
    tried: Sequence[LabelledRows],
) -> bool:
    gate = policy.gate
    if gate is None:
        return True
    if policy.guarded:
        usual = _of_labels(versions[0], holdout)
        p = min(disagreement(usual, _of_labels(versions[0], each)) for each in tried)
        if p <= _CHANCE:
            gate = gate.model_copy(update={"test": "better"})
    champion, challenger = (_predicted(each, holdout.x) for each in versions)
    return judge(gate, data.labels, holdout.y, champion, challenger, seed=1).passed


def _learnt(learner: Learner, rows: LabelledRows) -> Learner:
    return learner.learn(rows.x, rows.y, iters=np.full(len(rows.y), _ITERS))[0]


def _predicted(learner: Learner, x: Rows) -> Predictions:
    scores = learner.scores(x)
    return Predictions(
        predicted=scores.argmax(axis=1), confidence=scores.max(axis=1).astype(np.float64)
    )


def _of_labels(learner: Learner, rows: LabelledRows) -> Doubles:
    return learner.scores(rows.x)[np.arange(len(rows.y)), rows.y].astype(np.float64)


def _quality(learner: Learner, test: LabelledRows) -> float:
    return macro_f1(test.y, _predicted(learner, test.x).predicted)


def _read(worker: NightWorker, folder: Path) -> DataSet:
    rows: tuple[list[Row], list[Row]] = (rows_of(folder, "train"), rows_of(folder, "test"))
    labels = tuple(sorted({label for some in rows for _, label in some}))
    place = {label: k for k, label in enumerate(labels)}
    context = WorkContext(priority=Priority.BULK)
    prior = embed_labels(worker.model, labels, context).result(600.0)
    train, test = ([text for text, _ in some] for some in rows)
    y = [np.array([place[label] for _, label in some]) for some in rows]
    return DataSet(
        labels=labels,
        start=Learner.start(labels, prior, scale_of(worker.model)),
        x=(embedded(worker, train), embedded(worker, test)),
        y=(y[0], y[1]),
    )


def _cells(lapses: Sequence[PolicyNights]) -> str:
    def mean(of: Callable[[PolicyNights], float]) -> float:
        return float(np.mean([of(each) for each in lapses]))

    def met(of: Callable[[PolicyNights], float]) -> str:
        return f"{sum(of(each) <= 1.0 for each in lapses)} of {len(lapses)}"

    return " | ".join(
        [
            f"{mean(lambda each: each.ends[-1]):.1f}",
            f"{mean(lambda each: each.gap):.2f}",
            met(lambda each: each.gap),
            f"{mean(lambda each: each.fall):.2f}",
            met(lambda each: each.fall),
            f"{mean(lambda each: each.rejected):.1f}",
            f"{mean(lambda each: each.promoted):.1f}",
        ]
    )


if __name__ == "__main__":
    main()
