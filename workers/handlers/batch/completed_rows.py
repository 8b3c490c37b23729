"""The outcome of each row of a file, in a batch and in the batches that retry it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared import object_keys
from shared.batches import BatchRequest, PartReport
from shared.errors import InvalidRequest, ObjectMissing
from shared.jobs import Job
from shared.ports import ObjectStore
from workers.handlers.batch.row_bitmap import RowBitmap


@dataclass(frozen=True, kw_only=True)
class RowOutcomes:
    """Rows of a file that are no longer to be worked on: `done` came out, `final` failed and no
    retry cures it.
    """

    done: RowBitmap = field(default_factory=RowBitmap)
    final: RowBitmap = field(default_factory=RowBitmap)

    @property
    def passed_over(self) -> RowBitmap:
        """Both."""
        return self.done | self.final


def before(store: ObjectStore, job: Job, body: BatchRequest) -> RowOutcomes:
    """The rows that are not the batch's to work on, for what became of them in those it retries.

    A batch that retries all rows works on the `final` ones too, so none are told.

    Raises:
        InvalidRequest: What is known of the batch that it retries has been deleted.
    """
    if not body.retry_of:
        return RowOutcomes()
    for job_id in (job.id, body.retry_of):  # its own is kept: the other batch may be deleted
        try:
            done = RowBitmap(store.get(object_keys.done_rows(job.account, job_id)).data)
        except ObjectMissing:
            continue
        if body.retry_rows == "all":
            return RowOutcomes(done=done)
        return RowOutcomes(done=done, final=_final(store, job.account, job_id))
    raise InvalidRequest("retry_of: the batch has been deleted meanwhile; create a new one")


def keep(store: ObjectStore, job: Job, rows: RowOutcomes) -> None:
    """Remember what became of rows, for a batch that retries this one."""
    store.put(object_keys.final_rows(job.account, job.id), rows.final.dumps())
    store.put(object_keys.done_rows(job.account, job.id), rows.done.dumps())


def after(
    store: ObjectStore, job: Job, body: BatchRequest, reports: Iterable[PartReport]
) -> tuple[list[PartReport], RowOutcomes | None]:
    """Remember what became of rows before, and in the parts.

    Returns:
        The parts' reports, and the rows; None where it is not known any more what came out before.
    """
    found = list(reports)
    try:
        rows = before(store, job, body)
    except InvalidRequest:  # the batch failed of it, and a retry would
        return found, None
    for report in found:
        for first, last in report.done:
            rows.done.add(first, last)
        for first, last in report.final:
            rows.final.add(first, last)
    keep(store, job, rows)
    return found, rows


def count_retryable(reports: Iterable[PartReport]) -> int:
    """How many of the failed rows of parts a retry can cure."""
    return sum(
        report.failed - sum(last - first + 1 for first, last in report.final) for report in reports
    )


def _final(store: ObjectStore, account: str, job_id: str) -> RowBitmap:
    """Those of one batch; none of a batch that ended under a version that did not keep them."""
    try:
        return RowBitmap(store.get(object_keys.final_rows(account, job_id)).data)
    except ObjectMissing:
        return RowBitmap()
