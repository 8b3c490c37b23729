"""Job recovery: the ledger is rebuilt from the open markers on the object store.

Every marker `open/{job}` is a job that the ledger must hold, for example after a loss of Redis.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from itertools import islice

from shared import ids, object_keys
from shared.errors import MessageTooNew, MessageUndecodable, ObjectMissing, PreconditionFailed
from shared.job_intake import add_to_ledger
from shared.jobs import Fail, Job, Progress, advance
from shared.messages import CONTROL, Submission, decode, encode, failure_of, model_of
from shared.ports import Doorbell, Ledger, ObjectStore
from shared.telemetry import Log
from shared.types import JobKind
from workers import metrics
from workers.job_completion.charging import charge_recorded
from workers.job_completion.deadlines import lapse
from workers.job_completion.purge_inputs import forget
from workers.job_completion.webhook_events import announce

log = Log("adoption")
_PAGE = 200


def adopt(store: ObjectStore, ledger: Ledger, doorbell: Doorbell, *, now: datetime) -> int:
    """Add every accepted, unfinished job that the ledger lacks; end overdue jobs that it holds.

    Returns:
        The number of jobs that were added.

    Raises:
        Unavailable: The object store or Redis is unavailable; run it again.
    """
    names = store.list(object_keys.OPEN)
    adopted = 0
    queues: set[str] = set()
    while page := list(islice(names, _PAGE)):
        names_in_page = [name.removeprefix(object_keys.OPEN) for name in page]
        # Web consoles of object stores leave objects of their own.
        job_ids = [name for name in names_in_page if ids.is_job_id(name)]
        for job_id, record in zip(job_ids, ledger.records(job_ids), strict=True):
            if record is not None and not record.state.terminal:
                if lapse(ledger, record, now):
                    queues.add(CONTROL)
                continue
            try:
                submission = _unfinished(store, job_id, now)
            except MessageTooNew as exc:
                log.warning("job.too_new", job_id=job_id, reason=exc.detail)
                continue
            if submission is None:
                store.delete(object_keys.open_marker(job_id))
                continue
            if queue := add_to_ledger(ledger, _queued(submission)):
                queues.add(queue)
            adopted += 1
    for queue in queues:
        doorbell.ring(queue)
    if adopted:
        log.info("job.adopted", count=adopted)
    return adopted


def _queued(submission: Submission) -> Job:
    """The job with its queue. Before 0.2, queue names did not end with the model name."""
    job = submission.job
    if model_of(job.queue):
        return job
    return job.model_copy(update={"queue": f"{job.queue}.{submission.body.model}"})


def _unfinished(store: ObjectStore, job_id: str, now: datetime) -> Submission | None:
    """The request of a job; None if the job has ended or its acceptance was never completed.

    Raises:
        MessageTooNew: A newer version wrote the request; only a newer keeper can read it.
    """
    with suppress(ObjectMissing):
        account = store.get(object_keys.open_marker(job_id)).data.decode()
        with suppress(ObjectMissing):
            charge_recorded(store, account, job_id)
            announce(store, account, job_id)
            forget(store, account, job_id)
            return None
        try:
            return decode(Submission, store.get(object_keys.request(account, job_id)).data)
        except MessageTooNew:
            raise
        except MessageUndecodable as exc:
            log.error("job.undecodable", job_id=job_id, reason=exc.detail)
            _fail(store, account, job_id, exc, now)
    return None


def _fail(
    store: ObjectStore, account: str, job_id: str, error: MessageUndecodable, now: datetime
) -> None:
    """Fail a job whose request cannot be decoded: only its id is known."""
    job = Job(
        id=job_id,
        account=account,
        kind=JobKind.CLASSIFY,
        queue=CONTROL,
        created_at=now,
        expires_at=now,
        progress=Progress(total=0),
    )
    failed = advance(job, Fail(error=failure_of(error)), now)
    with suppress(PreconditionFailed):
        store.put(object_keys.job(account, job_id), encode(failed), if_absent=True)
        metrics.job_ended(failed)
    charge_recorded(store, account, job_id)
    announce(store, account, job_id)
