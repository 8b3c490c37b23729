"""What counting for drift costs next to embedding: `python -m ops.bench.drift_counting`.

The parts of a batch: mixed texts through the worker's own encoder in this process, and what a
worker does besides for drift: scores once more, and the sums. Each part is written once, to a store
in a directory; a worker writes every 10 seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from ops.bench import baselines, targets
from ops.bench.speed import seconds
from ops.bench.texts import mixed_texts
from shared.adapters.directory.object_store import DirectoryStore
from shared.classifier_record import Classifier, Version
from shared.classifier_store import ClassifierStore
from shared.ids import classifier_id
from workers.core.classifier_scorer import ClassifierScorer
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration
from workers.models.port import Rows
from workers.observation_counter import ObservationCounter

LABELS, PART_ROWS = 10, 1000
_SHARE = 0.02  # of the time of a part
_SCALE = CosineCalibration(temperature=0.059)


def main() -> None:
    """Print the row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    targets.head()
    encode = baselines.product(texts_at_once=PART_ROWS)
    texts = mixed_texts(options.data, PART_ROWS)
    (x,) = encode(texts)
    names = [f"topic {n}" for n in range(LABELS)]
    learner, _ = Learner.start(names, x[:LABELS], _SCALE).learn(x, np.arange(len(x)) % LABELS)
    scorer = ClassifierScorer.of(learner, model="bench", revision="bench")
    with tempfile.TemporaryDirectory() as folder:
        store = DirectoryStore(Path(folder))
        record = _record(names)
        ClassifierStore(store=store).create(record)
        counter = ObservationCounter(store)
        version = record.weights(record.latest)

        def count(x: Rows) -> None:
            counter.add(version, scorer.labels, x, scorer.scores(x))
            counter.flush()

        count(x)
        taken = [
            (seconds(partial(count, x)), seconds(partial(encode, texts)))
            for _ in range(options.rounds)
        ]
    counted_s, embedded_s = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = statistics.median(counted / embedded for counted, embedded in taken)
    targets.line(
        f"counting a part of {PART_ROWS:,} mixed texts for drift, {LABELS} labels, ms; baseline: "
        "embedding it",
        f"{1000 * counted_s:.1f}",
        f"{1000 * embedded_s:.0f}",
        ratio,
        f"<= {_SHARE}",
        met=ratio <= _SHARE,
    )


def _record(labels: list[str]) -> Classifier:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    version = Version(
        number=1,
        file="1-bench",
        model="bench",
        made_by="train",
        created_at=now,
        samples=PART_ROWS,
        label_count=len(labels),
    )
    return Classifier(
        id=classifier_id(),
        account="bench",
        labels=tuple(labels),
        versions=(version,),
        created_at=now,
        updated_at=now,
    )


if __name__ == "__main__":
    main()
