"""The charge of an ended job: written once, after its final record and before its marker goes.

If the process is killed in between, the end of the job is repeated, by another worker or by job
recovery, and writes the same charge under the same name.
"""

from __future__ import annotations

from shared import object_keys
from shared.errors import MessageTooNew, MessageUndecodable
from shared.jobs import Job
from shared.messages import decode
from shared.ports import ObjectStore
from shared.statements import Statements
from shared.telemetry import Log
from shared.usage import charge_of

log = Log("charging")


def charge(store: ObjectStore, job: Job) -> None:
    """Charge the account of a job by its final record as it is stored. It is idempotent.

    Raises:
        Unavailable: The object store is unavailable; run it again.
    """
    Statements(store=store).charge(job.account, charge_of(job))


def charge_recorded(store: ObjectStore, account: str, job_id: str) -> None:
    """As `charge`, for a job of which only the final record is known.

    Raises:
        ObjectMissing: There is no final record.
        MessageTooNew: A newer version wrote it; only a process of that version can read it.
    """
    try:
        job = decode(Job, store.get(object_keys.job(account, job_id)).data)
    except MessageTooNew:
        raise
    except MessageUndecodable as exc:  # it must not prevent the end of the job
        log.error("charge.no_job", job_id=job_id, reason=exc.detail)
        return
    charge(store, job)
