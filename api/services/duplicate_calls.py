"""Deduplicates calls without an `Idempotency-Key`: a repeated call gets the running job.

A client that gets no answer in time sends its call again; a second training of the same examples
would be a second version. So a call that makes a job leaves a record, found by the hash of its API
key, path and body:

    absent → the job's id → (the job has ended and a call got its outcome) → absent

The record is made by a conditional write on the object store, so that two API processes agree: of
two equal calls at once, both submit a job of the same id, which is one job. Decided here:

- While the job has not ended, an equal call with the same API key gets that job.
- Once a call was answered with the outcome, an equal call is new: training the same examples twice
  on purpose, one call after the other, works.
- If the wait of every call ran out before, an equal call within `GRACE_S` after the job's end gets
  the outcome. Later it is new.
- A call with an `Idempotency-Key` has no record here: the key says which calls are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from api.services.caller import Caller
from api.services.jobs import JobService
from shared import ids, object_keys
from shared.errors import NotFound, ObjectMissing, PreconditionFailed, Unavailable
from shared.jobs import Job
from shared.ports import ObjectStore
from shared.types import Value

GRACE_S = 10.0  # clients wait less than this before they send a call again
_ACCEPTANCE_S = 60.0  # longest time between the record of a call and the acceptance of its job
_ATTEMPTS = 20  # of a record that others always change first
_FORGOTTEN = 0.0


class CallRecord(Value):
    """Which job an equal call gets. The keeper deletes it after `until`, as it does used keys."""

    job_id: str
    at: float  # seconds since 1970: when the job's id was given
    until: float
    waited_out: bool = False  # a call was answered before the job ended


@dataclass(frozen=True, kw_only=True)
class JobCall:
    """A call, and the job that it gets: `job` where that was accepted before, else None.

    `first` says that no equal call came before.
    """

    name: str
    etag: str
    record: CallRecord
    job: Job | None = None
    first: bool = False

    @property
    def job_id(self) -> str:
        """The id of the job to make, where there is none."""
        return self.record.job_id


@dataclass(frozen=True, kw_only=True)
class DuplicateCalls:
    """The calls whose jobs run. `clock` gives seconds since 1970."""

    jobs: JobService
    store: ObjectStore
    keep_s: float
    clock: Callable[[], float]

    def begin(self, caller: Caller, payload: bytes, *, job_id: str | None = None) -> JobCall:
        """Find the job of an equal call, or say which id the job of this call has.

        Args:
            caller: Whose call it is; calls of two API keys are not equal.
            payload: What makes two calls equal: path and body.
            job_id: The id of a new job, if the call needs a certain one.

        Raises:
            Unavailable: The store is away, or other calls always changed the record first.
        """
        digest = hashlib.sha256(b"\0".join((caller.key_id.encode(), payload))).hexdigest()
        name = object_keys.job_call(caller.account, digest)
        for _ in range(_ATTEMPTS):
            now = self.clock()
            new_id = job_id or ids.job_id(int(now * 1000), ids.random_bits())
            fresh = CallRecord(job_id=new_id, at=now, until=now + self.keep_s)
            with suppress(PreconditionFailed):
                etag = self.store.put(name, _bytes(fresh), if_absent=True)
                return JobCall(name=name, etag=etag, record=fresh, first=True)
            try:
                stored = self.store.get(name)
            except ObjectMissing:
                continue  # deleted this moment
            record = CallRecord.model_validate_json(stored.data)
            same, job = self._same(caller.account, record, now)
            if same:
                return JobCall(name=name, etag=stored.etag, record=record, job=job)
            with suppress(PreconditionFailed, ObjectMissing):
                etag = self.store.put(name, _bytes(fresh), if_match=stored.etag)
                return JobCall(name=name, etag=etag, record=fresh, first=True)
        raise Unavailable("too many equal calls are in flight; try again", retry_after_s=1)

    def answered(self, call: JobCall, *, ended: bool) -> None:
        """Note how a call was answered: with the outcome of its job, or before the job ended."""
        changes: dict[str, object] = {"until": _FORGOTTEN} if ended else {"waited_out": True}
        record = call.record.model_copy(update=changes)
        if record != call.record:
            # If another call was faster, or the store is away, an equal call finds the job's state.
            with suppress(PreconditionFailed, ObjectMissing, Unavailable):
                self.store.put(call.name, _bytes(record), if_match=call.etag)

    def _same(self, account: str, record: CallRecord, now: float) -> tuple[bool, Job | None]:
        """Whether an equal call gets the job of the record, and the job if it was accepted."""
        if record.until <= now:
            return False, None
        try:
            job = self.jobs.get(account, record.job_id)
        except NotFound:  # its call is accepting it, was refused, or died
            return now - record.at < _ACCEPTANCE_S, None
        if not job.state.terminal:
            return True, job
        ended_at = job.finished_at.timestamp() if job.finished_at else 0.0
        return record.waited_out and now - ended_at < GRACE_S, job


def _bytes(record: CallRecord) -> bytes:
    return record.model_dump_json().encode()
