"""What a night of retraining costs next to embedding: `python -m ops.bench.nights [--data DIR]`.

A night of 1,000 new rows on a classifier that keeps 10,000. The baseline of each method is the
worker's own embedder with the new rows and the holdout, each once; of a rebuild, also that with all
kept rows. A night is a dry run, so that each round does the same; its baseline takes turns with it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ops.bench import targets
from ops.bench.retraining_runner import NightWorker, Row, retrained
from ops.bench.speed import seconds
from ops.bench.texts import mixed_texts
from shared.types import Priority
from workers.work_context import WorkContext

KEPT, NEW, LABELS = 10_000, 1_000, 10
_MOST = 1.5  # times the embedding of the new rows and the holdout
_LIMIT_S = 600.0
_FIRST, _SECOND = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)


def main() -> None:
    """Print a table of what was measured and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kept", type=int, default=KEPT)
    parser.add_argument("--new", type=int, default=NEW)
    options = parser.parse_args()
    count = options.new
    rows = _rows(options.data, options.kept + 2 * count)
    new = rows[options.kept + count :]
    worker = NightWorker()
    targets.head()
    with retrained(worker, rows[: options.kept], promote="always") as classifier:
        classifier.send(rows[options.kept : options.kept + count], _FIRST)
        first = classifier.night(_FIRST)  # its held-out rows are the holdout of the next night
        classifier.send(new, _SECOND)
        texts = [text for text, _ in new] + [text for text, _ in rows[: first.counts.held_out]]
        before = worker.encoder.windows
        _embed(worker, [text for text, _ in new])
        least = worker.encoder.windows - before
        for method in ("update", "rebuild"):
            classifier.set(method=method)
            nights, baselines, windows = [], [], 0
            for _ in range(options.rounds):
                baselines.append(seconds(lambda: _embed(worker, texts)))
                before = worker.encoder.windows
                nights.append(seconds(lambda: classifier.night(_SECOND, dry_run=True)))
                windows = worker.encoder.windows - before
            night, baseline = statistics.median(nights), statistics.median(baselines)
            targets.line(
                f"a night of {count:,} new rows on {options.kept:,} kept, {method}, s; baseline: "
                "embedding the new rows and the holdout",
                f"{night:.2f}",
                f"{baseline:.2f}",
                night / baseline,
                f"<= {_MOST}",
                met=night <= _MOST * baseline,
            )
            targets.line(
                f"the same, windows that it embeds beside those of the new rows, {method}",
                f"{windows - least}",
                asked="0",
                met=windows <= least,
            )
    worker.close()


def _rows(data: Path, count: int) -> list[Row]:
    """Distinct texts, each of one of the labels."""
    texts = mixed_texts(data)
    some = (f"{texts[i % len(texts)][:200]} (row {i})" for i in range(count))
    return [(text, f"topic {i % LABELS}") for i, text in enumerate(some)]


def _embed(worker: NightWorker, texts: Sequence[str]) -> None:
    embedder = worker.model.embedder
    context = WorkContext(priority=Priority.BULK)
    embedder.embed(embedder.encoder.tokenise(list(texts)), context).result(_LIMIT_S)


if __name__ == "__main__":
    main()
