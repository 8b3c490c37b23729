"""Deadlines: a job whose time is over starts nothing more, and what was finished is put together.

Who notices it first, a worker about to start a part or the keeper where no worker lives, says so.
"""

from __future__ import annotations

from datetime import datetime

from shared import service_clock
from shared.jobs import TRANSITIONS, Job, Lapse, advance
from shared.ports import Ledger
from shared.telemetry import Log

log = Log("lapse")


def over(job: Job, now: datetime) -> bool:
    """Whether a job that has not begun to end has had all the time it was given.

    Never on a machine whose clock differs from the service's: with two of them nobody knows which
    is wrong, and a process whose machine agrees will notice it.
    """
    if job.deadline is None or now <= job.deadline or service_clock.CLOCK.is_off():
        return False
    return (job.state, Lapse) in TRANSITIONS


def lapse(ledger: Ledger, job: Job, now: datetime) -> bool:
    """End a job whose time is over; True: ring `control`.

    Killed in between, it is done again by the next worker that meets a part of the job.
    """
    if not over(job, now) or not ledger.replace(job, advance(job, Lapse(), now)):
        return False
    log.info("job.lapsed", job_id=job.id, state=job.state)
    return ledger.abort_job(job.id)
