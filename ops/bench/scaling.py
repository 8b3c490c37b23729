"""What one Redis serves, and what workers add: `python -m ops.bench.scaling [--rows N]`.

Claims: processes take parts of a job of their own out of the ledger and complete them, as workers
do that need no time. Redis counts its own processor time, so a claim's cost is known even where its
clients share its cores. Then a batch by the hashing model, which costs nothing, with 1, 2 and 4
workers on this machine: API, keeper and Redis share its cores with them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from ops.bench import batch_runs, million, targets
from ops.bench.cluster import fleet
from shared import ids
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.jobs import Job, Progress
from shared.types import JobKind

_COUNTS = (1, 2, 4)
_SECONDS = 5.0
_PARTS = 50_000  # of each client: more than it claims in time
_ROWS_OF_PART = 500
_LEASE_S = 10.0
_QUEUE = "cpu.bulk.bench"
_JOIN_S = 60.0


def main(rows: int = 200_000) -> None:
    """Print a table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=rows)
    rows = parser.parse_args().rows
    targets.head()
    _claims()
    _rows(rows)


def _claims() -> None:
    first = 0.0
    with fleet(hashing=True) as service:
        for count in _COUNTS:
            before = service.redis_cpu_s()
            claimed = sum(_in_processes(service.settings.redis_url, count))
            part_s = (service.redis_cpu_s() - before) / claimed
            rate = claimed / _SECONDS
            first = first or rate
            targets.line(
                f"parts claimed and completed a second, clients: {count}; baseline: one client. "
                "Redis's own time for one, and its share of a core",
                f"{rate:.0f}; {1e6 * part_s:.0f} µs, {rate * part_s:.0%}",
                f"{first:.0f}",
                rate / first,
            )


def _in_processes(url: str, count: int) -> list[int]:
    """How many parts each of the processes claimed and completed."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), SimpleQueue[int](ctx=context)
    clients = [
        context.Process(target=claim_parts, args=(url, ready, results)) for _ in range(count)
    ]
    for each in clients:
        each.start()
    for each in clients:
        each.join(_JOIN_S)
    return [results.get() for _ in clients]


def claim_parts(url: str, ready: Barrier, results: SimpleQueue[int]) -> None:
    """Claim and complete parts for `_SECONDS`; of a job that no other process takes parts of."""
    now = datetime.now(UTC)
    job = Job(
        id=ids.job_id(int(now.timestamp() * 1000), ids.random_bits()),
        account=f"account-{os.getpid()}",
        kind=JobKind.CLASSIFY,
        queue=f"{_QUEUE}{os.getpid()}",
        created_at=now,
        expires_at=now + timedelta(hours=1),
        progress=Progress(total=_PARTS * _ROWS_OF_PART),
    )
    with connect(url, timeout_s=5) as client:
        ledger = RedisLedger(client)
        ledger.create_job(job, parts=_PARTS)
        ready.wait()
        until, claimed = time.monotonic() + _SECONDS, 0
        while time.monotonic() < until:
            for claim in ledger.claim(job.queue, None, calls=0, parts=1, lease_s=_LEASE_S).claims:
                ledger.complete(claim, lease_s=_LEASE_S, outcome=b"{}", completed=_ROWS_OF_PART)
                claimed += 1
        results.put(claimed)


def _rows(rows: int) -> None:
    first = 0.0
    for count in _COUNTS:
        with fleet(workers=count, hashing=True) as service:
            path = batch_runs.write_rows(service.folder / "rows.jsonl", million.texts_of(rows))
            account = service.account("bulk")
            file = batch_runs.upload(account, path)
            before = service.redis_cpu_s()
            took_s = batch_runs.timed(account, file, rows=rows)
            cpu_s = service.redis_cpu_s() - before
        rate = rows / took_s
        first = first or rate
        targets.line(
            f"a batch of {rows:,} rows, hashing model, workers: {count}, rows/s; baseline: one "
            "worker. Redis's share of a core",
            f"{rate:.0f}; {cpu_s / took_s:.1%}",
            f"{first:.0f}",
            rate / first,
        )


if __name__ == "__main__":
    main()
