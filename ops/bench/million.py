"""Many rows with a model that costs nothing: `python -m ops.bench.million [--rows N]`.

What is left is the service itself: reading, planning, parts, scores, the two files, and what all
that takes in memory, in Redis and on the store. The first look at memory is at the idle service.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator

from ops.bench import batch_runs, targets
from ops.bench.cluster import Cluster, fleet
from ops.bench.resource_sampler import Samples, watching
from ops.bench.speed import seconds
from ops.bench.texts import WORDS

_ROWS_PER_S = 5000
_MORE_MIB = 200  # than idle
_FLAT_MIB = 50  # from the second quarter of the time to the last
_REDIS_MIB = 100
_ROWS_PER_OBJECT = 200
_SPARE_OBJECTS = 50  # keys, probes, the records of the batch: there however few rows there are
_LIMIT_S = 3600.0
_WATCHED = ("api", "worker", "keeper")


def main(rows: int = 1_000_000) -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=rows)
    rows = parser.parse_args().rows
    targets.head()
    measure(rows)


def measure(rows: int) -> None:
    """Print the rows of the table."""
    with fleet(hashing=True) as service:
        ours = service.account("bulk")
        path = batch_runs.write_rows(service.folder / "rows.jsonl", texts_of(rows))
        sent: list[str] = []
        with watching(lambda: _look(service)) as seen:
            sent_s = seconds(lambda: sent.append(batch_runs.upload(ours, path)))
            took_s = batch_runs.timed(ours, sent[0], rows=rows, timeout_s=_LIMIT_S)
        _print(rows, sent_s, took_s, path.stat().st_size / 2**20, seen)


def texts_of(rows: int) -> Iterator[str]:
    """Ten words each; few are alike."""
    rng = random.Random(0)
    return (" ".join(rng.choices(WORDS, k=10)) for _ in range(rows))


def _look(service: Cluster) -> dict[str, float]:
    rss = service.rss_mib()
    return {
        **{name: rss[name] for name in _WATCHED},
        "redis": service.redis_mib(),
        "objects": float(service.objects()),
    }


def _print(rows: int, sent_s: float, took_s: float, file_mib: float, seen: Samples) -> None:
    targets.line(
        f"send a file of {rows:,} rows, {file_mib:.0f} MiB, MiB/s", f"{file_mib / sent_s:.0f}"
    )
    rate = rows / took_s
    targets.line(
        f"{rows:,} rows, hashing model, created to completed ({took_s:.0f} s), rows/s",
        f"{rate:.0f}",
        asked=f">= {_ROWS_PER_S}",
        met=rate >= _ROWS_PER_S,
    )
    for name in _WATCHED:
        first, peak, last = seen.series[name][0], seen.peak(name), seen.series[name][-1]
        targets.line(
            f"memory of {name}, peak (end), MiB; baseline: idle",
            f"{peak:.0f} ({last:.0f})",
            f"{first:.0f}",
            peak / first,
            f"<= {first + _MORE_MIB:.0f}",
            met=peak <= first + _MORE_MIB,
        )
        growth = seen.growth(name)
        targets.line(
            f"memory of {name}, from the second quarter of the time to the last, MiB",
            f"{growth:+.0f}",
            asked=f"<= {_FLAT_MIB}",
            met=growth <= _FLAT_MIB,
        )
    targets.line(
        "memory that Redis says it uses, peak, MiB; baseline: idle",
        f"{seen.peak('redis'):.1f}",
        f"{seen.series['redis'][0]:.1f}",
        asked=f"< {_REDIS_MIB}",
        met=seen.peak("redis") < _REDIS_MIB,
    )
    most = rows / _ROWS_PER_OBJECT + _SPARE_OBJECTS
    targets.line(
        "objects on the store, peak; baseline: idle",
        f"{seen.peak('objects'):.0f}",
        f"{seen.series['objects'][0]:.0f}",
        asked=f"<= {most:.0f}",
        met=seen.peak("objects") <= most,
    )


if __name__ == "__main__":
    main()
