"""What has expired is deleted: old jobs with their results, used-up Idempotency-Keys."""

from __future__ import annotations

import json

from shared import ids, layout
from shared.errors import ObjectMissing
from shared.ports import ObjectStore
from shared.telemetry import Log

log = Log("expiry")


def expire(store: ObjectStore, *, before: float, now: float) -> int:
    """Delete jobs made before a time and keys remembered until `now`; both seconds since 1970.

    Job ids sort newest first, so a listing can begin at the first one that has expired.

    Returns:
        How many jobs were deleted.
    """
    oldest_kept = ids.job_id(int(before * 1000), 0)
    deleted = 0
    for account in store.children(layout.JOBS):
        for job_id in store.children(layout.jobs_of(account), after=oldest_kept):
            deleted += _delete_job(store, account, job_id)
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


def _delete_job(store: ObjectStore, account: str, job_id: str) -> bool:
    """Delete an ended job, its final record last, so that a half-deleted one is met again."""
    final = layout.job(account, job_id)
    names = list(store.list(layout.job_prefix(account, job_id)))
    if final not in names and any(store.list(layout.open_marker(job_id))):
        return False  # it still runs, however old it is
    for name in names:
        if name != final:
            store.delete(name)
    store.delete(final)
    return True
