"""Retention: deletes expired jobs, files, uploads, deliveries, batches of texts, and records of
calls and idempotency keys.

An id contains its creation time and sorts newest first, so a listing can begin at the first expired
object. `deletion_limit` bounds the number of deletions per run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from operator import itemgetter
from typing import Any

from shared import ids, object_keys
from shared.batches import StoredFile
from shared.deletions import OpenJobs
from shared.errors import (
    IllegalTransition,
    MessageUndecodable,
    ObjectMissing,
    PreconditionFailed,
)
from shared.job_kinds import JOB_KINDS
from shared.jobs import TRANSITIONS, Expire, Job, Lapse, advance
from shared.messages import decode, encode
from shared.ports import Ledger, ObjectStore
from shared.telemetry import Log
from workers import metrics
from workers.job_completion.charging import charge_recorded
from workers.job_completion.webhook_events import announce
from workers.keeper.deletion_limit import DeletionLimit

log = Log("expiry")
_HOT_S = 3600.0  # how long the ledger still holds an ended job
_ASSEMBLY = timedelta(days=1)  # time in which a worker writes the files of an expired batch
_UNDATED_S = 30 * 86400.0  # age at which a record without an end expires
_MAX_LISTED = 100_000  # names per run, all in memory; the next run takes the rest


def expire_jobs(
    store: ObjectStore, ledger: Ledger, *, before: float, now: float, limit: DeletionLimit
) -> int:
    """Delete the jobs created before `before`; all times are seconds since 1970.

    A job of that age that has not ended becomes `expired`, and a later run deletes it.

    Returns:
        The number of deleted jobs.
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
    """Delete the idempotency records and call records that have expired at `now`.

    Returns:
        The number of deleted records.
    """
    names = chain(store.list(object_keys.IDEMPOTENCY), store.list(object_keys.CALLS))
    return _expire_records(store, names, itemgetter("until"), now=now, limit=limit)


def expire_text_batches(store: ObjectStore, *, now: float, limit: DeletionLimit) -> int:
    """Delete the records of batches of texts that have expired at `now`.

    Their texts and results are files, which expire by themselves.

    Returns:
        The number of deleted records.
    """
    names = store.list(object_keys.TEXT_BATCHES)
    deleted = _expire_records(store, names, _end_of_text_batch, now=now, limit=limit)
    if deleted:
        log.info("text_batch.expired", count=deleted)
    return deleted


def expire_files(store: ObjectStore, *, before: float, now: float, limit: DeletionLimit) -> int:
    """Delete expired files that no open job may read, and orphaned contents older than `before`.

    An orphaned content is one without a file record. The id of an output file is as old as its
    batch, whose content is written last and whose record follows. `before` must therefore be
    earlier than the creation of any running job.

    Returns:
        The number of deleted files.
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
        store.delete(
            object_keys.file(account, file_id)
        )  # last, so that an interrupted deletion is repeated
    if allowed:
        log.info("file.expired", count=len(allowed))
    return len(allowed)


def expire_uploads(store: ObjectStore, *, before: float, limit: DeletionLimit) -> int:
    """Delete the remains of multipart uploads created before `before`.

    Returns:
        The number of deleted uploads.
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
    """Delete the records of webhook deliveries created before `before`, in any state.

    Returns:
        The number of deleted deliveries.
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


def _end_of_text_batch(record: dict[str, Any]) -> float:
    """When the record of a batch of texts expires; older versions wrote no time."""
    expires_at: float | None = record.get("expires_at")
    return record["created_at"] + _UNDATED_S if expires_at is None else expires_at


def _expire_records(
    store: ObjectStore,
    names: Iterable[str],
    end: Callable[[dict[str, Any]], float],
    *,
    now: float,
    limit: DeletionLimit,
) -> int:
    """Delete the records whose `end`, in seconds since 1970, is before `now`."""
    expired: list[tuple[float, str]] = []
    kept = 0
    for name in names:
        try:
            until = float(end(json.loads(store.get(name).data)))
        except ObjectMissing:
            continue
        except (ValueError, KeyError, TypeError):
            log.error("record.unreadable", name=name)
            continue
        if until < now:
            expired.append((until, name))
        else:
            kept += 1
    allowed = limit.allowed(sorted(expired), range(kept))
    for _, name in allowed:
        store.delete(name)
    return len(allowed)


def _by_age(
    store: ObjectStore, prefix: str, names_of: Callable[[str], str], oldest_kept: str
) -> tuple[list[tuple[str, str]], Iterator[str]]:
    """The (account, id) pairs below `prefix` older than `oldest_kept`, oldest first; and, lazily,
    the remaining ids.
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


def _id(account_and_id: tuple[str, str]) -> str:
    return account_and_id[1]


def _is_retried(store: ObjectStore, account: str, job_id: str) -> bool:
    """Whether an open batch retries this one and therefore reads its output."""
    try:
        retry = json.loads(store.get(object_keys.retry(account, job_id)).data)
    except ObjectMissing:
        return False
    return any(store.list(object_keys.open_marker(str(retry["job_id"]))))


def _delete_job(store: ObjectStore, account: str, job_id: str) -> None:
    """Delete a job, its final record last, so that an interrupted deletion is repeated."""
    final = object_keys.job(account, job_id)
    for name in list(store.list(object_keys.job_prefix(account, job_id))):
        if name != final:
            store.delete(name)
    store.delete(object_keys.batch(account, job_id))
    store.delete(final)


def _end(store: ObjectStore, ledger: Ledger, job_id: str, now: datetime) -> None:
    """Expire a job that has exceeded the retention time; job recovery has added it by then."""
    job = ledger.record(job_id)
    if job is None:
        return
    spec = JOB_KINDS[job.kind]
    if (spec.planned or spec.irreversible) and _end_to_come(ledger, job, now):
        return
    try:
        expired = advance(job, Expire(), now)
    except IllegalTransition:
        return  # a worker is ending it
    if ledger.replace(job, expired):
        with suppress(PreconditionFailed):
            store.put(object_keys.job(job.account, job_id), encode(expired), if_absent=True)
            metrics.job_ended(expired)
        charge_recorded(store, job.account, job_id)
        ledger.finish_job(expired, keep_s=_HOT_S)
        announce(store, job.account, job_id)
        store.delete(object_keys.open_marker(job_id))
        log.warning("job.ended", job_id=job_id, state=expired.state)


def _end_to_come(ledger: Ledger, job: Job, now: datetime) -> bool:
    """Whether a worker still has to write the files of a batch, or has to find out what attempts of
    a job have made; asks the worker to end it.
    """
    if (job.state, Lapse) in TRANSITIONS:
        if ledger.replace(job, advance(job, Lapse(), now)):
            ledger.abort_job(job.id)
        return True
    return job.finalising_at is not None and now < job.finalising_at + _ASSEMBLY
