"""What has expired is deleted: old jobs with their results, used-up Idempotency-Keys and records of
calls, files and what is left of those that were sent in parts, and the log of webhooks.

Ids say when something was made, and sort newest first, so a listing can begin at the first one that
has expired. How much may go at once is decided in `deletion_limit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile

from shared import ids, object_keys
from shared.batches import StoredFile
from shared.deletions import OpenJobs
from shared.errors import (
    IllegalTransition,
    MessageUndecodable,
    ObjectMissing,
    PreconditionFailed,
)
from shared.jobs import TRANSITIONS, Expire, Job, Lapse, advance
from shared.messages import decode, encode
from shared.ports import Ledger, ObjectStore
from shared.telemetry import Log
from shared.types import JobKind
from workers import metrics
from workers.job_completion.webhook_events import announce
from workers.keeper.deletion_limit import DeletionLimit

log = Log("expiry")
_HOT_S = 3600.0  # how long an ended job still answers from the ledger
_ASSEMBLY = timedelta(days=1)  # in which a worker writes the files of a batch whose time is over
_MAX_LISTED = 100_000  # names of one sweep, in memory at once; what is more waits for the next


def expire_jobs(
    store: ObjectStore, ledger: Ledger, *, before: float, now: float, limit: DeletionLimit
) -> int:
    """Delete jobs made before a time; both in seconds since 1970.

    A job of that age that has not ended ends as expired, and is deleted the next time.

    Returns:
        How many jobs were deleted.
    """
    oldest_kept = ids.job_id(int(before * 1000), 0)
    expired, kept = _by_age(store, object_keys.JOBS, object_keys.jobs_of, oldest_kept)
    deleted = 0
    for account, job_id in limit.allowed(expired, kept):
        if any(store.list(object_keys.open_marker(job_id))):
            _end(store, ledger, job_id, datetime.fromtimestamp(now, UTC))
        elif not _is_retried(store, account, job_id):
            _delete_job(store, account, job_id)
            deleted += 1
    if deleted:
        log.info("job.expired", count=deleted)
    return deleted


def expire_call_records(store: ObjectStore, *, now: float, limit: DeletionLimit) -> int:
    """Delete used-up Idempotency-Keys and records of calls, remembered until `now`.

    Returns:
        How many were deleted.
    """
    expired: list[tuple[float, str]] = []
    kept = 0
    for name in chain(store.list(object_keys.IDEMPOTENCY), store.list(object_keys.CALLS)):
        try:
            until = float(json.loads(store.get(name).data)["until"])
        except ObjectMissing:
            continue
        except (ValueError, KeyError, TypeError):
            log.error("idempotency.unreadable", name=name)
            continue
        if until < now:
            expired.append((until, name))
        else:
            kept += 1
    allowed = limit.allowed(sorted(expired), range(kept))
    for _, name in allowed:
        store.delete(name)
    return len(allowed)


def expire_files(store: ObjectStore, *, before: float, now: float, limit: DeletionLimit) -> int:
    """Delete files that have expired, unless open jobs may read them, and bytes without a record
    whose id was made before a time.

    The id of what a batch puts out is as old as the batch, so `before` must be further back than
    any job that still runs: its bytes are written last, and their record after them.

    Returns:
        How many files were deleted.
    """
    oldest_kept = ids.file_id(int(before * 1000), 0)
    open_jobs = OpenJobs(store)
    old: list[tuple[str, str]] = []
    kept = 0
    for account in store.children(object_keys.FILES):
        for file_id in store.children(object_keys.files_of(account)):
            record = object_keys.file(account, file_id)
            try:
                expires_at = decode(StoredFile, store.get(record).data).expires_at
                expired = expires_at is not None and expires_at <= now
                if expires_at is not None and expired:
                    expired = not open_jobs.need(account, at=expires_at)
            except ObjectMissing:
                expired = file_id > oldest_kept and not any(
                    store.list(object_keys.deletion(record))
                )
            except MessageUndecodable:
                log.error("file.unreadable", name=record)
                continue
            if expired:
                old.append((account, file_id))
            else:
                kept += 1
    allowed = limit.allowed(sorted(old, key=_id, reverse=True), range(kept))
    for account, file_id in allowed:
        store.delete(object_keys.file_content(account, file_id))
        store.delete(object_keys.file(account, file_id))  # last: a half-deleted file is met again
    if allowed:
        log.info("file.expired", count=len(allowed))
    return len(allowed)


def expire_uploads(store: ObjectStore, *, before: float, limit: DeletionLimit) -> int:
    """Delete what is left of files that were sent in parts, if they were begun before a time.

    Returns:
        How many uploads were deleted.
    """
    oldest_kept = ids.upload_id(int(before * 1000), 0)
    expired, kept = _by_age(store, object_keys.UPLOADS, object_keys.uploads_of, oldest_kept)
    allowed = limit.allowed(expired, kept)
    for account, upload_id in allowed:
        for name in list(store.list(object_keys.upload_prefix(account, upload_id))):
            store.delete(name)
    if allowed:
        log.info("upload.expired", count=len(allowed))
    return len(allowed)


def expire_deliveries(store: ObjectStore, *, before: float, limit: DeletionLimit) -> int:
    """Delete what webhooks were told before a time, whatever became of it.

    Returns:
        How many deliveries were deleted.
    """
    oldest_kept = ids.delivery_id(int(before * 1000), 0)
    expired: list[str] = []
    kept = 0
    for account in store.children(object_keys.DELIVERIES):
        for webhook_id in store.children(object_keys.deliveries_to(account)):
            last_kept = object_keys.delivery(account, webhook_id, oldest_kept)
            for name in store.list(object_keys.deliveries_of(account, webhook_id)):
                if name > last_kept:
                    expired.append(name)
                else:
                    kept += 1
    expired.sort(key=lambda name: name.rpartition("/")[2], reverse=True)
    allowed = limit.allowed(expired, range(kept))
    for name in allowed:
        store.delete(name)
    if allowed:
        log.info("webhook.expired", count=len(allowed))
    return len(allowed)


def _by_age(
    store: ObjectStore, prefix: str, names_of: Callable[[str], str], oldest_kept: str
) -> tuple[list[tuple[str, str]], Iterator[str]]:
    """What all accounts have below `prefix` that is older than an id, the oldest first, each with
    its account; and, lazily, the ids of the rest.
    """

    def rest() -> Iterator[str]:
        for account in store.children(prefix):
            yield from takewhile(
                lambda each: each <= oldest_kept, store.children(names_of(account))
            )

    old = (
        (account, each)
        for account in store.children(prefix)
        for each in store.children(names_of(account), after=oldest_kept)
    )
    return sorted(islice(old, _MAX_LISTED), key=_id, reverse=True), rest()


def _id(found: tuple[str, str]) -> str:
    return found[1]


def _is_retried(store: ObjectStore, account: str, job_id: str) -> bool:
    """Whether a retry of a batch is open, that begins with what came out of that batch."""
    try:
        retry = json.loads(store.get(object_keys.retry(account, job_id)).data)
    except ObjectMissing:
        return False
    return any(store.list(object_keys.open_marker(str(retry["job_id"]))))


def _delete_job(store: ObjectStore, account: str, job_id: str) -> None:
    """Delete a job, its final record last, so that a half-deleted one is met again."""
    final = object_keys.job(account, job_id)
    for name in list(store.list(object_keys.job_prefix(account, job_id))):
        if name != final:
            store.delete(name)
    store.delete(object_keys.batch(account, job_id))
    store.delete(final)


def _end(store: ObjectStore, ledger: Ledger, job_id: str, now: datetime) -> None:
    """End a job that was given all the time there is; the keeper's audit knows it by then."""
    job = ledger.record(job_id)
    if job is None or (job.kind is JobKind.BATCH and _files_to_come(ledger, job, now)):
        return
    try:
        expired = advance(job, Expire(), now)
    except IllegalTransition:
        return  # it is just ending by itself
    if ledger.replace(job, expired):
        with suppress(PreconditionFailed):
            store.put(object_keys.job(job.account, job_id), encode(expired), if_absent=True)
            metrics.job_ended(expired)
        ledger.finish_job(expired, keep_s=_HOT_S)
        announce(store, job.account, job_id)
        store.delete(object_keys.open_marker(job_id))
        log.warning("job.ended", job_id=job_id, state=expired.state)


def _files_to_come(ledger: Ledger, job: Job, now: datetime) -> bool:
    """Whether a batch is left to a worker, that writes its error file; it is told to end here."""
    if (job.state, Lapse) in TRANSITIONS:
        if ledger.replace(job, advance(job, Lapse(), now)):
            ledger.abort_job(job.id)
        return True
    return job.finalising_at is not None and now < job.finalising_at + _ASSEMBLY
