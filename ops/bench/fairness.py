"""What a batch costs others: `python -m ops.bench.fairness [--data DIR] [--texts N]`.

While a batch of one account keeps the only worker busy, another account calls, and sends a small
batch. The baseline is the same without the large batch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ops.bench import batch_runs, targets
from ops.bench.cluster import fleet
from ops.bench.service import HttpCaller, Service
from ops.bench.speed import SHORT_CHARS, TWO, seconds
from ops.bench.texts import mixed_texts

_ASKED_MS = {"fast": 200, "standard": 600}  # 95 % of calls
_CALLS_PER_S = 2.0
_KEPT = 0.8  # of the speed of the batch, beside so many calls
_SMALL_ROWS = 200
_LONGER = 3.0
_ALONE = 100  # calls to the idle service
_ROUNDS = 5
_UNDER_WAY = 20  # a share of the batch: when it has so much behind it, the worker is saturated
_JOIN_S = 600.0


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=20_000)
    options = parser.parse_args()
    targets.head()
    measure(mixed_texts(options.data, options.texts))


def measure(texts: list[str]) -> None:
    """Print the rows of the table."""
    with fleet() as service:
        bulk, other = service.account("bulk"), service.account("other")
        path = service.folder / "rows.jsonl"
        large = batch_runs.upload(bulk, batch_runs.write_rows(path, texts))
        small = batch_runs.upload(other, batch_runs.write_rows(path, texts[:_SMALL_ROWS]))
        batch_runs.timed(other, small, rows=_SMALL_ROWS)
        short = [text for text in texts if len(text) < SHORT_CHARS]
        alone_s = batch_runs.timed(bulk, large, rows=len(texts))
        for priority in _ASKED_MS:
            bodies = [{"input": text, "labels": TWO, "priority": priority} for text in short]
            requests = itertools.cycle(map(other.request, bodies))
            _calls(bulk, other, large, len(texts), requests, priority, alone_s)
        _small_beside_large(bulk, other, large, small, len(texts))


def _calls(
    bulk: Service,
    other: Service,
    large: str,
    rows: int,
    requests: Iterator[bytes],
    priority: str,
    alone_s: float,
) -> None:
    caller = HttpCaller(other)
    alone = [seconds(partial(caller.call, next(requests))) for _ in range(_ALONE)]
    caller.close()
    for name, pause_s in (("one at a time", 0.0), (f"{_CALLS_PER_S:g} a second", 1 / _CALLS_PER_S)):
        took, batch_s = _beside(bulk, other, large, rows, requests, pause_s)
        worst_ms = 1e3 * _share(took, 0.95)
        targets.line(
            f"a call beside a batch, {priority}, {name} ({len(took)}), median (95 %) ms; "
            "baseline: no batch",
            f"{1e3 * statistics.median(took):.0f} ({worst_ms:.0f})",
            f"{1e3 * statistics.median(alone):.0f} ({1e3 * _share(alone, 0.95):.0f})",
            statistics.median(took) / statistics.median(alone),
            f"95 % <= {_ASKED_MS[priority]}",
            met=worst_ms <= _ASKED_MS[priority],
        )
        kept = alone_s / batch_s
        targets.line(
            f"the batch beside such calls, {priority}, {name}, rows/s; baseline: no calls",
            f"{rows / batch_s:.0f}",
            f"{rows / alone_s:.0f}",
            kept,
            f">= {_KEPT}" if pause_s else "",
            met=kept >= _KEPT if pause_s else None,
        )


def _beside(
    bulk: Service,
    other: Service,
    large: str,
    rows: int,
    requests: Iterator[bytes],
    pause_s: float,
) -> tuple[list[float], float]:
    """Seconds of each call while a batch runs, and those of the batch."""
    over = threading.Event()
    took: list[float] = []
    failed: list[BaseException] = []

    def call() -> None:
        caller = HttpCaller(other)
        try:
            due = time.monotonic()
            while not over.is_set():
                took.append(seconds(partial(caller.call, next(requests))))
                due = max(due + pause_s, time.monotonic())
                over.wait(due - time.monotonic())
        except BaseException as exc:  # noqa: BLE001  raised again by who started the thread
            failed.append(exc)
        finally:
            caller.close()

    began = time.monotonic()
    batch_id = batch_runs.create(bulk, large)
    batch_runs.await_rows(bulk, batch_id, rows // _UNDER_WAY)
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        batch_runs.await_end(bulk, batch_id, rows=rows)
    finally:
        over.set()
        thread.join(_JOIN_S)
    if failed:
        raise failed[0]
    return took, time.monotonic() - began


def _small_beside_large(bulk: Service, other: Service, large: str, small: str, rows: int) -> None:
    alone_s = statistics.median(
        batch_runs.timed(other, small, rows=_SMALL_ROWS) for _ in range(_ROUNDS)
    )
    beside_s, outlasted = [], 0
    for _ in range(_ROUNDS):
        batch_id = batch_runs.create(bulk, large)
        batch_runs.await_rows(bulk, batch_id, rows // _UNDER_WAY)
        beside_s.append(batch_runs.timed(other, small, rows=_SMALL_ROWS))
        if batch_runs.counted(bulk, batch_id) < rows:
            batch_runs.cancel(bulk, batch_id)
        else:
            outlasted += 1  # the large one had ended: with more rows it would have taken longer
            batch_runs.await_end(bulk, batch_id, rows=rows)
    ratio = statistics.median(beside_s) / alone_s
    targets.line(
        f"a batch of {_SMALL_ROWS} rows beside another account's of {rows:,}, median (longest) s; "
        "baseline: alone",
        f"{statistics.median(beside_s):.2f} ({max(beside_s):.2f})"
        + (f", {outlasted} of {_ROUNDS} outlasted the large one" if outlasted else ""),
        f"{alone_s:.2f}",
        ratio,
        f"<= {_LONGER:g}",
        met=ratio <= _LONGER and not outlasted,
    )


def _share(took: Sequence[float], share: float) -> float:
    return sorted(took)[int(len(took) * share)]


if __name__ == "__main__":
    main()
