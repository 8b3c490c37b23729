"""Deadlines: an overdue job starts no more parts, and its finished parts become the result.

A worker that is about to start a part ends an overdue job; the keeper does so if no worker lives.
"""

from __future__ import annotations

from datetime import datetime

from shared import service_clock
from shared.jobs import TRANSITIONS, Job, Lapse, advance
from shared.ports import Ledger
from shared.telemetry import Log

log = Log("lapse")


def over(job: Job, now: datetime) -> bool:
    """Whether the deadline of a job has passed and the job has not begun to end.

    Always False on a machine whose clock differs from the service clock, since it is unknown which
    of the two is wrong; a process on another machine ends the job.
    """
    if job.deadline is None or now <= job.deadline or service_clock.CLOCK.is_off():
        return False
    return (job.state, Lapse) in TRANSITIONS


def lapse(ledger: Ledger, job: Job, now: datetime) -> bool:
    """End a job if it is overdue. If True, the caller rings the `control` queue.

    If the process is killed meanwhile, the next worker that claims a part of the job repeats it.
    """
    if not over(job, now) or not ledger.replace(job, advance(job, Lapse(), now)):
        return False
    log.info("job.lapsed", job_id=job.id, state=job.state)
    return ledger.abort_job(job.id)
