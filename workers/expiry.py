"""What has expired is deleted: old jobs with their results, used-up Idempotency-Keys."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime

from shared import ids, layout
from shared.errors import IllegalTransition, ObjectMissing, PreconditionFailed
from shared.jobs import Expire, advance
from shared.messages import encode
from shared.ports import Ledger, ObjectStore
from shared.telemetry import Log

log = Log("expiry")
_HOT_S = 3600.0  # how long an ended job still answers from the ledger


def expire(store: ObjectStore, ledger: Ledger, *, before: float, now: float) -> int:
    """Delete jobs made before a time and keys remembered until `now`; both seconds since 1970.

    A job of that age that has not ended ends as expired, and is deleted the next time. Job ids
    sort newest first, so a listing can begin at the first one that has expired.

    Returns:
        How many jobs were deleted.
    """
    oldest_kept = ids.job_id(int(before * 1000), 0)
    deleted = 0
    for account in store.children(layout.JOBS):
        for job_id in store.children(layout.jobs_of(account), after=oldest_kept):
            if any(store.list(layout.open_marker(job_id))):
                _end(store, ledger, job_id, datetime.fromtimestamp(now, UTC))
            else:
                _delete_job(store, account, job_id)
                deleted += 1
    for name in store.list(layout.IDEMPOTENCY):
        try:
            until = json.loads(store.get(name).data)["until"]
            expired = float(until) < now
        except ObjectMissing:
            continue
        except (ValueError, KeyError, TypeError):
            log.error("idempotency.unreadable", name=name)
            continue
        if expired:
            store.delete(name)
    if deleted:
        log.info("job.expired", count=deleted)
    return deleted


def _delete_job(store: ObjectStore, account: str, job_id: str) -> None:
    """Delete a job, its final record last, so that a half-deleted one is met again."""
    final = layout.job(account, job_id)
    for name in list(store.list(layout.job_prefix(account, job_id))):
        if name != final:
            store.delete(name)
    store.delete(final)


def _end(store: ObjectStore, ledger: Ledger, job_id: str, now: datetime) -> None:
    """End a job that was given all the time there is; the keeper's audit knows it by then."""
    job = ledger.record(job_id)
    if job is None:
        return
    try:
        expired = advance(job, Expire(), now)
    except IllegalTransition:
        return  # it is just ending by itself
    if ledger.replace(job, expired):
        with suppress(PreconditionFailed):
            store.put(layout.job(job.account, job_id), encode(expired), if_absent=True)
        ledger.retire(expired, keep_s=_HOT_S)
        store.delete(layout.open_marker(job_id))
        log.warning("job.ended", job_id=job_id, state=expired.state)
