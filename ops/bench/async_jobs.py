"""Small jobs to be polled: `python -m ops.bench.async_jobs [--jobs N] [--callers N]`.

How fast they are accepted, whether all of them end, and whether any is run twice: each run of a
job is a line in the worker's log. The baseline is the same texts as plain calls.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ops.bench import batch_runs, targets
from ops.bench.cluster import Cluster, fleet
from ops.bench.service import HttpCaller, Service, call_all

_ACCEPTED_PER_S = 100
_END_LIMIT_S = 300.0


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=16)
    options = parser.parse_args()
    targets.head()
    measure(options.jobs, options.callers)


def measure(jobs: int, callers: int) -> None:
    """Print the rows of the table."""
    with fleet() as service:
        ours = service.account("jobs")
        bodies = [
            {"input": f"Where is my parcel {number}?", "labels": batch_runs.LABELS}
            for number in range(jobs)
        ]
        plain = [ours.request(body) for body in bodies]
        call_all(ours, plain[: jobs // 10], callers=callers)  # warms connections and labels
        began = time.monotonic()
        call_all(ours, plain, callers=callers)
        plain_s = time.monotonic() - began

        durable = [ours.request(body, durable=True) for body in bodies]
        began = time.monotonic()
        with ThreadPoolExecutor(callers) as pool:
            shares = [durable[number::callers] for number in range(callers)]
            accepted = [job for ids in pool.map(lambda s: _submit(ours, s), shares) for job in ids]
        accepted_s = time.monotonic() - began
        ended = _await_ends(service, jobs)
        done_s = time.monotonic() - began
        states = Counter(batch_runs.get(ours, f"/v1/jobs/{job}")["status"] for job in accepted)
        runs = Counter(event["job_id"] for event in service.events("worker", "part.started"))
    rate = jobs / accepted_s
    targets.line(
        f"{jobs:,} small jobs from {callers} connections, accepted/s; "
        "baseline: the same as plain calls",
        f"{rate:.0f}",
        f"{jobs / plain_s:.0f}",
        rate * plain_s / jobs,
        f">= {_ACCEPTED_PER_S}",
        met=rate >= _ACCEPTED_PER_S,
    )
    targets.line("the same, until the last has ended, jobs/s", f"{jobs / done_s:.0f}")
    targets.line(
        "jobs that succeeded, of those accepted",
        f"{states['succeeded']}",
        f"{len(set(accepted))}",
        asked="all",
        met=states["succeeded"] == len(set(accepted)) == jobs,
    )
    twice = sum(1 for job in accepted if runs[job] != 1 or ended[job] != 1)
    targets.line("jobs not run exactly once", f"{twice}", asked="0", met=twice == 0)


def _submit(service: Service, requests: list[bytes]) -> list[str]:
    """The ids of the jobs, sent one after the other over one connection."""
    caller = HttpCaller(service)
    try:
        return [str(json.loads(caller.call(request))["id"]) for request in requests]
    finally:
        caller.close()


def _await_ends(service: Cluster, jobs: int) -> Counter[str]:
    """How often each job has ended, once so many have.

    Raises:
        TimeoutError: They have not in time.
    """
    until = time.monotonic() + _END_LIMIT_S
    while True:
        ended = Counter(event["job_id"] for event in service.events("worker", "job.ended"))
        if len(ended) >= jobs:
            return ended
        if time.monotonic() > until:
            raise TimeoutError(f"{len(ended)} of {jobs} jobs have ended after {_END_LIMIT_S:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
