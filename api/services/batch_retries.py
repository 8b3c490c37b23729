"""Retries of batches: a batch has at most one, whichever process creates it.

    absent → reserved by a call, until a deadline → the retry is accepted

The reservation is an object beside the batch, made by a conditional write. It holds the id of the
future retry: if the call dies, the next call makes the same retry. The record of the retry itself
says whether it was accepted, so nothing is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from api.services.jobs import JobService
from shared import ids, object_keys
from shared.batches import Plan, RetryRows
from shared.errors import (
    Conflict,
    NotFound,
    ObjectMissing,
    PigeonholeError,
    PreconditionFailed,
    Unavailable,
)
from shared.jobs import Job
from shared.ports import ObjectStore
from shared.types import Value

_RESERVE_S = 30.0  # longest time that accepting a batch takes


class RetryMarker(Value):
    """What stands beside a batch that is retried."""

    job_id: str  # of the retry
    until: float  # seconds since 1970: end of the reservation


@dataclass(frozen=True, kw_only=True)
class BatchRetries:
    """The retries of batches. `clock` gives seconds since 1970."""

    jobs: JobService
    store: ObjectStore
    clock: Callable[[], float]

    @contextmanager
    def only(self, account: str, retried: str, job_id: str | None) -> Iterator[str]:
        """The id of the job that the block is to accept as the retry of the job `retried`.

        Args:
            account: Whose.
            retried: The job whose rows are run again.
            job_id: What the retry is to be called, where an `Idempotency-Key` says which.

        Raises:
            Conflict: There is a retry; names it.
            Unavailable: Another call is just making it.
        """
        name = object_keys.retry(account, retried)
        mark, etag = self._reserved(account, name, job_id)
        try:
            yield mark.job_id
        except PigeonholeError:
            freed = mark.model_copy(update={"until": self.clock()})
            with suppress(PreconditionFailed, ObjectMissing, Unavailable):
                self.store.put(name, _bytes(freed), if_match=etag)
            raise

    def check_left(self, job: Job, plan: Plan | None, rows: RetryRows) -> None:
        """Refuse a retry that would have no rows.

        Args:
            job: The batch, which has ended.
            plan: What is known of its file; None where that could not be read.
            rows: Which of the rows that did not come out are wanted.

        Raises:
            Conflict: None is left, or it is not known which rows came out.
        """
        done = self._count_rows(object_keys.done_rows(job.account, job.id))
        if done is None:
            raise Conflict("the record of its completed rows is missing; create a new batch")
        if plan is None:
            return
        left = (plan.rows_in_file or plan.total) - done
        if left <= 0:
            raise Conflict("nothing to retry: every row of the batch succeeded")
        final = self._count_rows(object_keys.final_rows(job.account, job.id)) or 0
        if rows == "retryable" and final >= left:
            raise Conflict(
                f"nothing to retry: the {left} failed rows have errors that a retry does not "
                f'cure; send {{"rows": "all"}} to run them anyway'
            )

    def _count_rows(self, name: str) -> int | None:
        """How many rows a set of rows on the store has; None where there is no such set."""
        try:
            return int.from_bytes(self.store.get(name).data, "little").bit_count()
        except ObjectMissing:
            return None

    def _reserved(self, account: str, name: str, job_id: str | None) -> tuple[RetryMarker, str]:
        now = self.clock()
        wanted = job_id or ids.job_id(int(now * 1000), ids.random_bits())
        mark = RetryMarker(job_id=wanted, until=now + _RESERVE_S)
        try:
            with suppress(PreconditionFailed):
                return mark, self.store.put(name, _bytes(mark), if_absent=True)
            stored = self.store.get(name)
            earlier = RetryMarker.model_validate_json(stored.data)
            if earlier.job_id != wanted:  # else it is the same call, sent again
                self._refuse_second(account, earlier.job_id)
                if earlier.until > now:
                    raise _busy()
            mark = mark.model_copy(update={"job_id": earlier.job_id})
            return mark, self.store.put(name, _bytes(mark), if_match=stored.etag)
        except (PreconditionFailed, ObjectMissing):
            raise _busy() from None

    def _refuse_second(self, account: str, job_id: str) -> None:
        """Refuse where the retry was accepted.

        Raises:
            Conflict: It was.
        """
        with suppress(NotFound):
            self.jobs.get(account, job_id)
            raise Conflict(
                f"the batch already has a retry, {ids.batch_id_of(job_id)}: if rows of that one "
                "fail too, retry that one after it has ended"
            )


def _bytes(mark: RetryMarker) -> bytes:
    return mark.model_dump_json().encode()


def _busy() -> Unavailable:
    # Not a conflict: that would be kept as the answer to an Idempotency-Key.
    return Unavailable("the retry of the batch is being created; try again", retry_after_s=1)
