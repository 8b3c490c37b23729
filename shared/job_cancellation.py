"""The cancellation of a job: its record changes, then no task of it can be claimed any more."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from shared.errors import BrokerUnavailable
from shared.jobs import Cancel, Job, advance
from shared.messages import CONTROL
from shared.ports import Doorbell, Ledger


def cancel_job(ledger: Ledger, doorbell: Doorbell, job: Job, *, now: datetime) -> Job | None:
    """Ask for the end of a job; what runs stops at the next microbatch.

    Returns:
        The job that is being cancelled; None if its record has changed meanwhile.

    Raises:
        IllegalTransition: The job has ended, or is putting its result together.
        BrokerUnavailable: Redis is unavailable; nothing has changed.
    """
    cancelled = advance(job, Cancel(), now)
    if not ledger.replace(job, cancelled):
        return None
    with suppress(BrokerUnavailable):  # it is cancelling; the keeper will ring
        if ledger.abort_job(job.id):
            doorbell.ring(CONTROL)
    return cancelled
