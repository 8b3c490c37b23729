"""Two workers against one: `python -m ops.bench.two_workers [--data DIR] [--texts N]`.

One worker uses all the cores of its machine for each forward pass, so a second one beside it has
nothing left to use. What more workers bring is measured with as many cores for each: a worker on
one half of the cores, then two on a half each, with the batches of two accounts. Two workers
without such bounds are measured as well, for what they are worth on one machine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from ops.bench import batch_runs, targets
from ops.bench.cluster import fleet
from ops.bench.texts import mixed_texts

_ASKED = 0.6  # of the time of one
_FREE_CORES = 4  # below that, API, Redis and this program take from the workers what is measured


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=5000, help="of each of the two batches")
    options = parser.parse_args()
    targets.head()
    measure(mixed_texts(options.data, 2 * options.texts))


def measure(texts: list[str]) -> None:
    """Print the rows of the table."""
    cores = len(os.sched_getaffinity(0))
    what = f"two batches of {len(texts) // 2:,} texts by two workers"
    if cores < 2:
        targets.line(
            what, "not tried: there is one core, and a worker uses it", asked=f"<= {_ASKED}"
        )
        return
    one_s, two_s = (_taken_s(texts, workers=count, pinned=True) for count in (1, 2))
    ratio = two_s / one_s
    enough = cores >= _FREE_CORES
    targets.line(
        f"{what}, {cores // 2} of {cores} cores each, s; baseline: one such worker",
        f"{two_s:.1f}",
        f"{one_s:.1f}",
        ratio,
        f"<= {_ASKED}",
        met=ratio <= _ASKED if enough or ratio <= _ASKED else None,
    )
    if not enough:
        note = f"only {cores} cores: API, Redis and callers share those of the workers"
        targets.line("", note)
    one_s, two_s = (_taken_s(texts, workers=count, pinned=False) for count in (1, 2))
    targets.line(
        f"{what}, {cores} threads each on {cores} cores, s; baseline: one worker, {cores} threads",
        f"{two_s:.1f}",
        f"{one_s:.1f}",
        two_s / one_s,
    )


def _taken_s(texts: list[str], *, workers: int, pinned: bool) -> float:
    """Seconds until both batches have ended."""
    half = len(texts) // 2
    with fleet(workers=workers, pinned=pinned) as service:
        begun = []
        for name, share in (("first", texts[:half]), ("second", texts[half:])):
            account = service.account(name)
            path = batch_runs.write_rows(service.folder / f"{name}.jsonl", share)
            begun.append((account, batch_runs.upload(account, path), len(share)))
        began = time.monotonic()
        running = [
            (account, batch_runs.create(account, file), rows) for account, file, rows in begun
        ]
        for account, batch_id, rows in running:
            batch_runs.await_end(account, batch_id, rows=rows)
        return time.monotonic() - began


if __name__ == "__main__":
    main()
