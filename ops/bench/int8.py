"""What int8 costs in quality: `python -m ops.bench.int8 --data ../shared/data`.

Makes the int8 version of the bundled English model in a folder of its own, and compares it with the
precision that a worker takes without it, on the same texts: zero-shot, and by classifiers of 400
examples that were trained in either precision. The seed of the examples is 0.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ops.bench import machine
from ops.bench.quality_zero_shot import (
    SCALE,
    SETS,
    TEMPLATES,
    Embed,
    Floats,
    Split,
    label_embeddings,
    macro_f1,
    read,
)
from shared import model_catalogue
from workers.core.calibration import expected_calibration_error
from workers.core.learner import Learner
from workers.core.zero_shot import scores
from workers.models import int8_model, model_files, sentence_encoder

_MODEL = "all-MiniLM-L6-v2"
_EXAMPLES = 400
_BATCH = 32


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--at-most", type=int, default=2000, help="texts of each test split")
    options = parser.parse_args()
    checkpoint = model_files.place_of(model_catalogue.load("", default="auto").find(_MODEL))
    with tempfile.TemporaryDirectory() as folder:
        report = int8_model.make(checkpoint, name=_MODEL, folder=Path(folder))
        usual = sentence_encoder.load(checkpoint, name=_MODEL)
        int8 = sentence_encoder.load(checkpoint, name=_MODEL, int8=report.path)
    print(f"# {machine.describe()}\n")
    print(
        f"{report.speedup:.2f} times the speed of {report.usual}; cosine with float32 "
        f"{report.mean_cosine:.4f} on average, {report.min_cosine:.4f} at least\n"
    )
    print(
        "| set | zero-shot F1 | in int8 | ECE | in int8 | few-shot F1 | in int8 | trained in "
        f"{usual.precision}, asked in int8 |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for name in SETS:
        print(_row(options.data / name, name, (_embed(usual), _embed(int8)), options.at_most))


def _row(folder: Path, name: str, embeds: tuple[Embed, Embed], at_most: int) -> str:
    quality, few = [], []
    learners: list[Learner] = []
    tests: list[Split] = []
    for embed in embeds:
        test = read(folder, "test", embed, at_most=at_most)
        train = read(folder, "train", embed, at_most=8 * _EXAMPLES)
        labels = label_embeddings(test.labels, TEMPLATES, embed)
        found = scores(test.x, labels, scale=SCALE)
        quality.append(
            (macro_f1(test.y, found.argmax(axis=1)), expected_calibration_error(found, test.y))
        )
        chosen = np.random.default_rng(0).permutation(len(train.y))[:_EXAMPLES]
        learner, _ = Learner.start(test.labels, labels, SCALE).learn(
            train.x[chosen], train.y[chosen]
        )
        learners.append(learner)
        tests.append(test)
        few.append(_f1(learner, test))
    (f1, ece), (f1_int8, ece_int8) = quality
    return (
        f"| {name} | {f1:.1f} | {f1_int8:.1f} | {ece:.3f} | {ece_int8:.3f} | {few[0]:.1f} | "
        f"{few[1]:.1f} | {_f1(learners[0], tests[1]):.1f} |"
    )


def _f1(learner: Learner, test: Split) -> float:
    return macro_f1(test.y, learner.scores(test.x).argmax(axis=1))


def _embed(encoder: sentence_encoder.SentenceEncoder) -> Embed:
    def embed(texts: Sequence[str]) -> Floats:
        windows = [ids[: encoder.window] for ids in encoder.tokenise(texts)]
        order = sorted(range(len(windows)), key=lambda index: len(windows[index]))
        rows = np.empty((len(windows), encoder.dimensions), np.float32)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            rows[batch] = encoder.encode([windows[index] for index in batch])
        return rows

    return embed


if __name__ == "__main__":
    main()
