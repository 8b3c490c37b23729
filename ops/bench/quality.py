"""How good few-shot classification is, next to zero-shot and support vector machines.

    python -m ops.bench.quality --data ../shared/data [--fast] [--cache FOLDER]

Prints markdown: macro-F1 per data set and size, calibration, labels that mean nothing, order,
20 calls of 20, drift, cost; draws macro-F1 over the number of examples into `docs/explanation/`.
Every train sample holds each label at least once; all learners see the same samples in one run.
Needs scikit-learn (a worker has it) and matplotlib, which nothing else here does.
"""

from __future__ import annotations

import argparse
import importlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bench.machine import describe
from ops.bench.quality_zero_shot import (
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
from workers.core.learner import Learner
from workers.core.zero_shot import scores

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Fit = Callable[[Floats, Ints], Callable[[Floats], Ints]]

PER_LABEL, SIZES = (1, 2), (50, 100, 200, 400, 1000, 2000)
METHODS = ("zero-shot", "few-shot", "linear SVM", "RBF SVM")
FEW = 200  # up to here the target is +2 on average, above it 0
DRIFT_ITERS = (20, 30, 50)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set with the embeddings of its labels, of "team1", ..., and of labels all alike."""

    name: str
    train: Split
    test: Split
    prior: Floats
    teams: Floats
    nothing: Floats

    def sample(self, size: int, seed: int) -> tuple[Floats, Ints]:
        """`size` examples at random, each label at least once; one or two per label if negative."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.train.y))
        y = self.train.y[order]
        labels = range(len(self.prior))
        if size < 0:
            picked = np.concatenate([order[y == k][:-size] for k in labels])
        else:
            first = np.array([np.flatnonzero(y == k)[0] for k in labels])
            rest = np.setdiff1d(np.arange(len(y)), first)[: size - len(first)]
            picked = order[np.concatenate([first, rest])]
        picked = rng.permutation(picked)
        return self.train.x[picked], self.train.y[picked]

    def learner(self, prior: Floats | None = None) -> Learner:
        """A new one, from the labels or from another prior."""
        return Learner.start(self.test.labels, self.prior if prior is None else prior, SCALE)

    def f1(self, learner: Learner) -> float:
        """Macro-F1 on the test split, in percent."""
        return macro_f1(self.test.y, learner.scores(self.test.x).argmax(axis=1))


@dataclass(frozen=True, kw_only=True)
class QualityCell:
    """Means over seeds: macro-F1 of `METHODS`, and the calibration error of few-shot."""

    problem: str
    size: int
    f1: tuple[float, ...]
    ece: float
    floor: float

    @property
    def ahead(self) -> float:
        """Few-shot minus the best of the others."""
        return self.f1[1] - max(self.f1[:1] + self.f1[2:])


def main() -> None:
    """Read the arguments, embed everything once, print the tables, draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in between runs")
    parser.add_argument("--fast", action="store_true", help="one seed, four sizes")
    parser.add_argument(
        "--docs", type=Path, default=Path("docs/explanation"), help="where plots go"
    )
    arguments = parser.parse_args()
    seeds = range(1 if arguments.fast else 3)
    sizes = (-1, 50, 200, 400) if arguments.fast else (*(-k for k in PER_LABEL), *SIZES)
    embed = bundled_model()
    problems = [problem(arguments.data, name, embed, arguments.cache) for name in SETS]
    print(f"{describe()}\n")
    cells = [
        cell(p, size, seeds) for p in problems for size in sizes if size < 0 or size >= len(p.prior)
    ]
    table(cells, problems)
    meaningless(problems, sizes, seeds)
    streams(problems, seeds)
    cost(problems, embed)
    print(f"\n{images(arguments.data)}")
    for p in problems:
        draw(p, [c for c in cells if c.problem == p.name], arguments.docs)


def problem(data: Path, name: str, embed: Embed, cache: Path | None) -> Dataset:
    """Read a data set and embed it, or find its embeddings in the cache."""
    train, test = (read(data / name, split, _cached(embed, cache)) for split in ("train", "test"))
    teams = [f"team{k + 1}" for k in range(len(test.labels))]
    prior = label_embeddings(test.labels, TEMPLATES, embed)
    return Dataset(
        name=name,
        train=train,
        test=test,
        prior=prior,
        teams=label_embeddings(teams, TEMPLATES, embed),
        nothing=np.full(prior.shape, prior.shape[1] ** -0.5, np.float32),
    )


def cell(p: Dataset, size: int, seeds: Sequence[int]) -> QualityCell:
    """All learners on the same samples."""
    zero = macro_f1(p.test.y, scores(p.test.x, p.prior, scale=SCALE).argmax(axis=1))
    rows, errors, floors = [], [], []
    for seed in seeds:
        x, y = p.sample(size, seed)
        learner, _ = p.learner().learn(x, y)
        found = learner.scores(p.test.x)
        machines = [macro_f1(p.test.y, fit(x, y)(p.test.x)) for fit in (linear_svm, rbf_svm)]
        rows.append((zero, macro_f1(p.test.y, found.argmax(axis=1)), *machines))
        errors.append(expected_calibration_error(found, p.test.y))
        floors.append(floor(found))
    f1 = tuple(float(v) for v in np.mean(rows, axis=0))
    mean, least = float(np.mean(errors)), float(np.mean(floors))
    return QualityCell(problem=p.name, size=size, f1=f1, ece=mean, floor=least)


def linear_svm(x: Floats, y: Ints) -> Callable[[Floats], Ints]:
    """scikit-learn's LinearSVC with its defaults."""
    return _predict(importlib.import_module("sklearn.svm").LinearSVC, x, y)


def rbf_svm(x: Floats, y: Ints) -> Callable[[Floats], Ints]:
    """scikit-learn's SVC with its defaults: RBF kernel, gamma by variance."""
    return _predict(importlib.import_module("sklearn.svm").SVC, x, y)


def floor(p: Floats) -> float:
    """The calibration error that chance alone gives a perfectly calibrated classifier here."""
    rng = np.random.default_rng(0)
    best, total = p.argmax(axis=1), []
    for _ in range(20):
        hit = rng.random(len(p)) < p.max(axis=1)
        total.append(expected_calibration_error(p, np.where(hit, best, -1)))
    return float(np.mean(total))


def table(cells: Sequence[QualityCell], problems: Sequence[Dataset]) -> None:
    """Macro-F1 in percent and the calibration error, then the means that the targets speak of."""
    print(f"| data set | examples | {' | '.join(METHODS)} | ahead | ECE | chance alone |")
    print("|---|---|---|---|---|---|---|---|---|")
    count = {p.name: len(p.prior) for p in problems}
    for c in cells:
        size = c.size if c.size > 0 else -c.size * count[c.problem]
        print(f"| {c.problem} | {size} | {' | '.join(f'{v:.1f}' for v in c.f1)} "
              f"| {c.ahead:+.1f} | {c.ece:.3f} | {c.floor:.3f} |")  # fmt: skip
    few, many = (
        [c.ahead for c in cells if (max(c.size, -c.size * count[c.problem]) <= FEW) is small]
        for small in (True, False)
    )
    missed = [f"{c.problem} {c.size}" for c in cells if c.ahead < -1]
    print(f"\nAhead of the best: {np.mean(few):+.2f} on average up to {FEW} examples, "
          f"{np.mean(many):+.2f} above; over 1.0 behind: {missed or 'nowhere'}.\n")  # fmt: skip


def meaningless(problems: Sequence[Dataset], sizes: Sequence[int], seeds: Sequence[int]) -> None:
    """Labels renamed team1, team2, ... against a learner whose labels are all alike."""
    print("| labels mean nothing | examples | from nothing | team1, ... | difference |")
    print("|---|---|---|---|---|")
    for p in problems:
        for size in (s for s in sizes if s < 0 or s >= len(p.prior)):
            samples = [p.sample(size, seed) for seed in seeds]
            nothing, teams = (
                np.mean([p.f1(p.learner(prior).learn(x, y)[0]) for x, y in samples])
                for prior in (p.nothing, p.teams)
            )
            name = size if size > 0 else f"{-size} per label"
            print(f"| {p.name} | {name} | {nothing:.1f} | {teams:.1f} | {teams - nothing:+.1f} |")


def streams(problems: Sequence[Dataset], seeds: Sequence[int]) -> None:
    """Order, calls and drift, at 400 examples."""
    print("\n| 400 examples | five orders: highest - lowest | farthest from their mean "
          "| 20 calls of 20 - one call | fresh "
          f"| {' | '.join(f'drift, {k} iters' for k in DRIFT_ITERS)} |")  # fmt: skip
    print(f"|---|---|---|---|---|{'---|' * len(DRIFT_ITERS)}")
    for p in problems:
        orders, calls, drift = [], [], []
        for seed in seeds:
            x, y = p.sample(400, seed)
            rng = np.random.default_rng(seed)
            turns = [p.f1(p.learner().learn(x[o], y[o])[0])
                     for o in (rng.permutation(400) for _ in range(5))]  # fmt: skip
            orders.append((np.ptp(turns), np.abs(np.array(turns) - np.mean(turns)).max()))
            many = p.learner()
            for begin in range(0, 400, 20):
                many, _ = many.learn(x[begin : begin + 20], y[begin : begin + 20])
            calls.append(p.f1(many) - p.f1(p.learner().learn(x, y)[0]))
            drift.append(_drift(p, x, y))
        highest, farthest = np.mean(orders, axis=0)
        fresh, *after = np.mean(drift, axis=0)
        print(f"| {p.name} | {highest:.1f} | {farthest:.1f} | {np.mean(calls):+.1f} "
              f"| {fresh:.1f} | {' | '.join(f'{v - fresh:+.1f}' for v in after)} |")  # fmt: skip


def cost(problems: Sequence[Dataset], embed: Embed) -> None:
    """Seconds for 1,000 texts: embedding them, learning them, scoring them."""
    print("\n| 1,000 examples | labels | embed | learn | of embedding | score | of embedding |")
    print("|---|---|---|---|---|---|---|")
    for p in problems:
        base = _seconds(lambda p=p: embed(p.train.texts[:1000]))  # type: ignore[misc]
        _cost_row(p.name, p.prior, p.train.x[:1000], p.train.y[:1000], base)
    rng = np.random.default_rng(0)
    prior = rng.normal(size=(1024, problems[0].prior.shape[1])).astype(np.float32)
    prior /= np.linalg.norm(prior, axis=1, keepdims=True)
    _cost_row("made up", prior, prior[rng.permutation(1024)[:1000]], rng.integers(1024, size=1000))


def images(data: Path) -> str:
    """Why CIFAR-10 is not in the tables."""
    there = "is there" if (data / "images" / "cifar10").is_dir() else "is not there either"
    return f"CIFAR-10 was left out: no image model is bundled (the data {there})."


def draw(p: Dataset, cells: Sequence[QualityCell], docs: Path) -> None:
    """Macro-F1 over the number of examples as PNG and SVG."""
    importlib.import_module("matplotlib").rcParams["svg.hashsalt"] = p.name  # no random ids
    plots = importlib.import_module("matplotlib.figure")
    figure = plots.Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="examples", ylabel="macro-F1", title=p.name)
    sizes = [c.size if c.size > 0 else -c.size * len(p.prior) for c in cells]
    order = np.argsort(sizes)
    for k, method in enumerate(METHODS):
        axes.plot(np.array(sizes)[order], np.array([c.f1[k] for c in cells])[order],
                  marker="o", markersize=3, linewidth=2.5 if k == 1 else 1.2,
                  label=method)  # fmt: skip
    axes.set_xticks(sorted(set(sizes)), [f"{s:,}" for s in sorted(set(sizes))], rotation=45)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    docs.mkdir(exist_ok=True)
    for form in ("png", "svg"):
        # No date in the file: the same numbers give the same bytes.
        figure.savefig(docs / f"quality_{p.name}.{form}", dpi=120,
                       metadata={"Date": None} if form == "svg" else None)  # fmt: skip


def _drift(p: Dataset, x: Floats, y: Ints) -> tuple[float, ...]:
    """Fresh from 200 examples with every label moved on by one; and from these after 200 others."""
    labels = len(p.prior)
    moved, truth = (y[200:] + 1) % labels, (p.test.y + 1) % labels
    old, _ = p.learner().learn(x[:200], y[:200])
    after = [old.learn(x[200:], moved, iters=np.full(200, k))[0] for k in DRIFT_ITERS]
    fresh, _ = p.learner().learn(x[200:], moved)
    return tuple(macro_f1(truth, k.scores(p.test.x).argmax(axis=1)) for k in (fresh, *after))


def _cost_row(name: str, prior: Floats, x: Floats, y: Ints, base: float | None = None) -> None:
    start = Learner.start([str(k) for k in range(len(prior))], prior, SCALE)
    learner, _ = start.learn(x, y)
    learn, score = _seconds(lambda: start.learn(x, y)), _seconds(lambda: learner.scores(x))
    embedded = f"{base:.2f}" if base else "-"
    shares = [f"{100 * s / base:.1f} %" if base else "-" for s in (learn, score)]
    print(f"| {name} | {len(prior)} | {embedded} | {learn:.2f} | {shares[0]} "
          f"| {score:.4f} | {shares[1]} |")  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    """Best of three."""
    spent = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begin)
    return min(spent)


def _predict(machine: Callable[[], object], x: Floats, y: Ints) -> Callable[[Floats], Ints]:
    fitted = machine()
    with warnings.catch_warnings():
        # One example per label looks like a regression to scikit-learn, which says so each time.
        warnings.simplefilter("ignore")
        fitted.fit(x, y)  # type: ignore[attr-defined]
    predict: Callable[[Floats], Ints] = fitted.predict  # type: ignore[attr-defined]
    return predict


def _cached(embed: Embed, cache: Path | None) -> Embed:
    """Embed through a folder of files named by their texts; no folder, no cache."""
    if cache is None:
        return embed
    import hashlib

    def through(texts: Sequence[str]) -> Floats:
        cache.mkdir(parents=True, exist_ok=True)
        file = cache / f"{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}.npy"
        if not file.exists():
            np.save(file, embed(texts))
        found: Floats = np.load(file)
        return found

    return through


if __name__ == "__main__":
    main()
