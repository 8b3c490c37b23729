"""Work goes to where a worker of its model lives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared import ids
from shared.jobs import Job, Progress
from shared.member_reports import WorkerReport
from shared.messages import encode, queues_of
from shared.ports import Ledger
from shared.types import JobKind
from workers.keeper.queue_failover import reroute

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def live(ledger: Ledger, device: str, *models: str, ttl_s: float = 60) -> None:
    report = WorkerReport(device=device, queues=queues_of(device, models), models=models)
    ledger.report("worker", device, encode(report), ttl_s=ttl_s)


def enrol(ledger: Ledger, queue: str) -> Job:
    job = Job(
        id=ids.job_id(10**12, ids.random_bits()),
        account="acme",
        kind=JobKind.CLASSIFY,
        queue=queue,
        created_at=NOW,
        expires_at=NOW + timedelta(days=7),
        progress=Progress(total=1),
    )
    ledger.create_job(job, parts=1)
    return job


@pytest.mark.parametrize("lane", ["fast", "standard", "bulk", "train"])
def test_what_waits_for_a_gpu_is_done_on_a_cpu_when_no_gpu_worker_lives(
    ledger: Ledger, lane: str
) -> None:
    live(ledger, "cpu", "a")
    job = enrol(ledger, f"gpu.{lane}.a")
    ledger.enqueue_call(f"gpu.{lane}.a", b"call", bound=9)

    assert reroute(ledger) == 1

    taken = ledger.claim(f"cpu.{lane}.a", None, calls=9, parts=9, lease_s=9)
    assert ([c.job_id for c in taken.claims], taken.messages) == ([job.id], (b"call",))


def test_what_waits_for_a_cpu_goes_to_a_gpu_that_came_back(ledger: Ledger) -> None:
    live(ledger, "cpu", "a")
    live(ledger, "gpu", "a")
    enrol(ledger, "cpu.bulk.a")

    reroute(ledger)

    ledger.reclaim_expired(attempts=5)
    assert ledger.queues() == ("gpu.bulk.a",)


@pytest.mark.parametrize(
    "alive", [{}, {"cpu": ("b",)}, {"gpu": ("a",)}, {"gpu": ("a",), "cpu": ("a",)}]
)
def test_what_is_in_its_place_or_has_no_other_stays(
    ledger: Ledger, alive: dict[str, tuple[str, ...]]
) -> None:
    for device, models in alive.items():
        live(ledger, device, *models)
    enrol(ledger, "gpu.standard.a")

    assert reroute(ledger) == 0
    assert ledger.queues() == ("gpu.standard.a",)


def test_control_stays_where_it_is(ledger: Ledger) -> None:
    live(ledger, "cpu", "a")
    ledger.abort_job(enrol(ledger, "cpu.bulk.a").id)

    assert reroute(ledger) == 0
    ledger.reclaim_expired(attempts=5)
    assert ledger.queues() == ("control",)
