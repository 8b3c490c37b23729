"""A file of mixed texts as a batch: `python -m ops.bench.bulk_tagging [--data DIR] [--texts N]`.

Beside it, in the same run: bare `SentenceTransformer.encode` in float32, and the worker's own
encoder in this process, a part's texts at a time. What the batch takes longer than that is the
price of queue, store, scores and files.
"""

from __future__ import annotations

import argparse
import re
import statistics
import urllib.request
from functools import partial
from pathlib import Path

from ops.bench import baselines, batch_runs, targets
from ops.bench.cluster import Cluster, fleet
from ops.bench.service import HOST, free_port
from ops.bench.speed import seconds
from ops.bench.texts import mixed_texts
from shared.telemetry import FORWARD_PASS_SECONDS

_FASTER = 2.5  # than the bare library
_OVERHEAD = 1.08  # of the worker's own encoder
_PART_ROWS = 1000
_WARM_UP = 1000
_PASSES = re.compile(rf"^{FORWARD_PASS_SECONDS}_sum{{[^}}]*}} (\S+)$", re.MULTILINE)


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the batch and the worker's encoder"
    )
    options = parser.parse_args()
    targets.head()
    measure(mixed_texts(options.data, options.texts), options.rounds)


def measure(texts: list[str], rounds: int) -> None:
    """Print the rows of the table."""
    bare = baselines.bare()
    bare(texts[:_WARM_UP])
    bare_s = seconds(partial(bare, texts))
    del bare
    own = baselines.product(texts_at_once=_PART_ROWS)
    own(texts[:_WARM_UP])
    taken = []
    with fleet(metrics_port=free_port()) as service:
        ours = service.account("bulk")
        few = batch_runs.write_rows(service.folder / "few.jsonl", texts[:_WARM_UP])
        batch_runs.timed(ours, batch_runs.upload(ours, few), rows=_WARM_UP)
        file_id = batch_runs.upload(
            ours, batch_runs.write_rows(service.folder / "rows.jsonl", texts)
        )
        before_s = _passes_s(service)
        for _ in range(rounds):  # in turns, so that what else the machine does falls on both
            own_s = seconds(partial(own, texts))
            taken.append((batch_runs.timed(ours, file_id, rows=len(texts)), own_s))
        passes_s = (_passes_s(service) - before_s) / rounds
    _print(texts, taken, bare_s, passes_s)


def _print(
    texts: list[str], taken: list[tuple[float, float]], bare_s: float, passes_s: float
) -> None:
    count = len(texts)
    batch_s, own_s = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = bare_s / batch_s
    targets.line(
        f"a batch of {count:,} mixed texts, created to completed, texts/s; "
        "baseline: bare SentenceTransformer.encode, float32",
        f"{count / batch_s:.0f}",
        f"{count / bare_s:.0f}",
        ratio,
        f">= {_FASTER}",
        met=ratio >= _FASTER,
    )
    ratio = statistics.median(batch / own for batch, own in taken)
    targets.line(
        "the same, s; baseline: the worker's encoder in process, a part at a time",
        f"{batch_s:.1f}",
        f"{own_s:.1f}",
        ratio,
        f"<= {_OVERHEAD}",
        met=ratio <= _OVERHEAD,
    )
    targets.line(
        "the same, s; baseline: forward passes, by the worker's own meter",
        f"{batch_s:.1f}",
        f"{passes_s:.1f}",
        batch_s / passes_s,
    )


def _passes_s(service: Cluster) -> float:
    """Seconds that the worker has spent in forward passes."""
    url = f"http://{HOST}:{service.settings.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return sum(float(count) for count in _PASSES.findall(answer.read().decode()))


if __name__ == "__main__":
    main()
