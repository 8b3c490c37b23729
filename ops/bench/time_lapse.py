"""Thirty nights of retraining in a few minutes: `python -m ops.bench.time_lapse`.

60 labelled rows come each night; every fifth night 30 % of the labels are shuffled. A gated
retraining and one that always promotes see the same rows; both champions are judged each night on a
test set that neither sees. Prints markdown; draws both curves into the folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ops.bench import machine
from ops.bench.quality_zero_shot import macro_f1
from ops.bench.retraining_runner import NightWorker, RetrainedClassifier, Row, retrained
from shared.retraining import Run
from shared.types import Priority
from workers.classifier_file import TrainedClassifier
from workers.models.port import Rows
from workers.work_context import WorkContext

SETS = ("banking77", "ag_news", "emotion")
NIGHTS, NEW, FIRST = 30, 60, 200
EVERY, SHUFFLED = 5, 0.3
_BEGIN = datetime(2026, 1, 1, 2, tzinfo=UTC)


@dataclass(kw_only=True)
class TimeLapse:
    """The nights of one data set: macro-F1 in points on the test set, after each night."""

    name: str
    gated: list[float] = field(default_factory=list)
    always: list[float] = field(default_factory=list)
    at_once: float = 0.0
    runs: list[Run] = field(default_factory=list)

    @property
    def worst_fall(self) -> float:
        """The greatest loss over one night."""
        return max(
            before - after for before, after in zip(self.gated, self.gated[1:], strict=False)
        )

    @property
    def damaged(self) -> list[Run]:
        """The runs of the damaged nights."""
        return [run for night, run in enumerate(self.runs, start=1) if night % EVERY == 0]


def main() -> None:
    """Print a table of the nights of each set, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--docs", type=Path, help="folder of the plots")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--method", choices=("update", "rebuild", "both"), default="update")
    options = parser.parse_args()
    worker = NightWorker(remember=True)
    print(f"# {machine.describe()}\n", flush=True)
    print(
        "| set | first | gated | always promotes | all clean rows at once | greatest fall in a "
        "night | damaged nights rejected | other nights promoted |\n" + "| --- " * 8 + "|",
        flush=True,
    )
    for name in options.sets:
        lapse = run_nights(
            worker,
            name,
            rows_of(options.data / name, "train"),
            rows_of(options.data / name, "test"),
            method=options.method,
        )
        rejected = sum(run.status == "rejected" for run in lapse.damaged)
        promoted = sum(run.status == "promoted" for run in lapse.runs if run not in lapse.damaged)
        print(
            f"| {name} | {lapse.gated[0]:.1f} | {lapse.gated[-1]:.1f} | {lapse.always[-1]:.1f} | "
            f"{lapse.at_once:.1f} | {lapse.worst_fall:.2f} | {rejected} of {len(lapse.damaged)} | "
            f"{promoted} of {len(lapse.runs) - len(lapse.damaged)} |",
            flush=True,
        )
        for run in lapse.damaged:
            print(f"    {run.status}: {'; '.join(run.decision.reasons if run.decision else ())}")
        if options.docs is not None:
            draw(lapse, options.docs)
    worker.close()


def run_nights(
    worker: NightWorker, name: str, train: Sequence[Row], test: Sequence[Row], **settings: Any
) -> TimeLapse:
    """Thirty nights of both pipelines. Half of the test rows are their holdout, a fixed file."""
    rng = np.random.default_rng(7)
    train = [train[i] for i in rng.permutation(len(train))]
    test = [test[i] for i in rng.permutation(len(test))]
    settings["holdout"], test = test[: len(test) // 2], test[len(test) // 2 :]
    x = embedded(worker, [text for text, _ in test])
    truth = [label for _, label in test]
    lapse = TimeLapse(name=name)
    clean = list(train[:FIRST])
    with ExitStack() as stack:
        gated = stack.enter_context(retrained(worker, train[:FIRST], **settings))
        always = stack.enter_context(
            retrained(worker, train[:FIRST], **{**settings, "promote": "always"})
        )
        lapse.gated.append(quality(gated.champion, x, truth))
        lapse.always.append(quality(always.champion, x, truth))
        for night in range(1, NIGHTS + 1):
            first = FIRST + NEW * (night - 1)
            rows = list(train[first : first + NEW])
            if night % EVERY == 0:
                rows = shuffled(rows, rng)
            else:
                clean += rows
            lapse.runs.append(_night(gated, rows, night))
            _night(always, rows, night)
            lapse.gated.append(quality(gated.champion, x, truth))
            lapse.always.append(quality(always.champion, x, truth))
            print(
                f"{name}, night {night}: {lapse.runs[-1].status}, {lapse.gated[-1]:.1f}; always "
                f"promoted: {lapse.always[-1]:.1f}",
                file=sys.stderr,
                flush=True,
            )
    with retrained(worker, clean) as at_once:
        lapse.at_once = quality(at_once.champion, x, truth)
    return lapse


def shuffled(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    """The rows of a damaged night: a share of the labels belongs to other rows."""
    count = round(SHUFFLED * len(rows))
    places = rng.permutation(len(rows))[:count]
    damaged = list(rows)
    for place, other in zip(places, np.roll(places, 1), strict=True):
        damaged[place] = (rows[place][0], rows[other][1])
    return damaged


def quality(version: TrainedClassifier, x: Rows, truth: Sequence[str]) -> float:
    """Macro-F1 on the test set, in points."""
    labels = sorted({*truth, *version.labels})
    place = {label: k for k, label in enumerate(labels)}
    own = np.array([place[label] for label in version.labels])
    predicted = own[version.scorer.scores(x).argmax(axis=1)]
    y = np.array([place[label] for label in truth])
    return macro_f1(y, predicted)


def _night(classifier: RetrainedClassifier, rows: Sequence[Row], night: int) -> Run:
    at = _BEGIN + timedelta(days=night)
    classifier.send(rows, at - timedelta(hours=6))
    return classifier.night(at)


def draw(lapse: TimeLapse, folder: Path) -> None:
    """The test quality of both champions by night."""
    importlib.import_module("matplotlib").use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(figsize=(7, 4))
    nights = range(len(lapse.gated))
    axes.plot(nights, lapse.gated, label="retraining with its gate")
    axes.plot(nights, lapse.always, label="always promotes", linestyle="--")
    axes.axhline(lapse.at_once, color="grey", linewidth=0.8, label="all clean rows at once")
    for night in range(EVERY, NIGHTS + 1, EVERY):
        axes.axvspan(night - 0.5, night + 0.5, color="tab:red", alpha=0.12, linewidth=0)
    axes.set_xlabel("night (red: 30 % of the labels are shuffled)")
    axes.set_ylabel("macro-F1 on the test set")
    axes.set_title(lapse.name)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(folder / f"time_lapse_{lapse.name}.svg", metadata={"Date": None})
    plt.close(figure)


def embedded(worker: NightWorker, texts: Sequence[str]) -> Rows:
    """The embeddings of texts, (N, D)."""
    embedder = worker.model.embedder
    tokens = embedder.encoder.tokenise(list(texts))
    return embedder.embed(tokens, WorkContext(priority=Priority.BULK)).result(600.0)


def rows_of(folder: Path, split: str) -> list[Row]:
    """The rows of a data set, `train` or `test`."""
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
    return [(row["text"], row["label"]) for row in map(json.loads, filter(None, lines))]


if __name__ == "__main__":
    main()
