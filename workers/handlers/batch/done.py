"""Which rows of a file have come out: of a batch, and of those whose failed rows it runs again."""

from __future__ import annotations

from collections.abc import Iterable

from shared import layout
from shared.batches import BatchRequest, PartReport
from shared.errors import InvalidRequest, ObjectMissing
from shared.jobs import Job
from shared.ports import ObjectStore
from workers.handlers.batch.row_set import RowSet


def before(store: ObjectStore, job: Job, body: BatchRequest) -> RowSet:
    """The rows that are not the batch's to work on: they came out of those that it retries.

    Raises:
        InvalidRequest: What is known of the batch that it retries has been deleted.
    """
    if not body.retry_of:
        return RowSet()
    for job_id in (job.id, body.retry_of):  # its own is kept: the other batch may be deleted
        try:
            return RowSet(store.get(layout.done_rows(job.account, job_id)).data)
        except ObjectMissing:
            continue
    raise InvalidRequest("retry_of: the batch has been deleted meanwhile; create a new one")


def keep(store: ObjectStore, job: Job, rows: RowSet) -> None:
    """Remember which rows have come out, for a batch that retries this one."""
    store.put(layout.done_rows(job.account, job.id), rows.dumps())


def after(
    store: ObjectStore, job: Job, body: BatchRequest, reports: Iterable[PartReport]
) -> tuple[list[PartReport], RowSet | None]:
    """Remember what came out before and what the parts say came out.

    Returns:
        The parts' reports without the rows, and the rows; None where it is not known any more what
        came out before.
    """
    try:
        rows = before(store, job, body)
    except InvalidRequest:  # the batch failed of it, and a retry would
        return [report.short for report in reports], None
    found = []
    for report in reports:
        for first, last in report.done:
            rows.add(first, last)
        found.append(report.short)
    keep(store, job, rows)
    return found, rows
