"""The acceptance of a job: four writes, in this order and no other.

    request on the object store → marker → hot record in the ledger → doorbell

A job is accepted when its marker is on the object store. What comes after may fail: the keeper
gives the ledger every marked job that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared import ids, object_keys, service_clock, tracing
from shared.errors import BrokerUnavailable, ObjectMissing, PreconditionFailed, Unavailable
from shared.job_kinds import JOB_KINDS, Body
from shared.jobs import Job, Progress
from shared.messages import Submission, decode, encode, queue_for
from shared.ports import Doorbell, Ledger, ObjectStore
from shared.telemetry import Log
from shared.types import JobKind, Priority
from shared.usage import usage_model

log = Log("intake")


def queue_of(request: Body, *, device: str, priority: Priority = Priority.STANDARD) -> str:
    """The queue of a request on a device. Kinds with a lane of their own have no priority."""
    lane = JOB_KINDS[request.kind].lane
    return queue_for(device, priority if lane is None else lane, request.queue_model)


def add_to_ledger(ledger: Ledger, job: Job) -> str | None:
    """Make the parts of an accepted job ready, or its plan; nothing if the ledger knows it.

    Returns:
        The queue to ring, if one must be rung.
    """
    return ledger.create_job(job, parts=0 if JOB_KINDS[job.kind].planned else 1)


@dataclass(frozen=True, kw_only=True)
class JobIntake:
    """Accepts jobs; each is kept for `result_retention_s`. `clock` gives seconds since 1970."""

    store: ObjectStore
    ledger: Ledger
    doorbell: Doorbell
    result_retention_s: float
    clock: Callable[[], float] = service_clock.now

    def accept(
        self,
        request: Body,
        *,
        account: str,
        queue: str,
        request_id: str,
        dialect: str,
        key_id: str = "",
        metered: bool = False,
        rate_limited: bool = False,
        job_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Job:
        """Accept a job: after this returns it will end, whatever dies.

        With the `job_id` of a job that was accepted before, it is that job again. The `model` of
        the request is the name in the catalogue, not an alias.

        Raises:
            Unavailable: The object store did not take the request; nothing was accepted.
        """
        spec = JOB_KINDS[request.kind]
        now = self.clock()
        created_at = datetime.fromtimestamp(now, UTC)
        deadline = spec.deadline(request)
        job = Job(
            id=job_id or ids.job_id(int(now * 1000), ids.random_bits()),
            account=account,
            key_id=key_id,
            kind=JobKind(request.kind),
            queue=queue,
            created_at=created_at,
            deadline=None if deadline is None else datetime.fromtimestamp(deadline, UTC),
            expires_at=created_at + timedelta(seconds=self.result_retention_s),
            progress=Progress(total=spec.size(request)),
            metered=metered,
            rate_limited=rate_limited,
            classifier=spec.classifier(request),
            model=usage_model(request),
            metadata=dict(metadata or spec.metadata(request)),
            traceparent=tracing.traceparent(),
        )
        if not self._put(Submission(job=job, request_id=request_id, dialect=dialect, body=request)):
            job = self._accepted_before(job)
        if job.state.terminal:
            return job
        try:
            if to_ring := add_to_ledger(self.ledger, job):
                self.doorbell.ring(to_ring)
        except BrokerUnavailable as exc:
            log.warning("job.left_to_keeper", job_id=job.id, reason=exc.detail)
        return job

    def _put(self, submission: Submission) -> bool:
        """Put request and marker on the store; False if the job was accepted before."""
        job = submission.job
        request = object_keys.request(job.account, job.id)
        try:
            self.store.put(request, encode(submission), if_absent=True)
            self._mark(job)
        except PreconditionFailed:
            return False
        except Unavailable:
            # Whether the marker was written is unknown: taking all away leaves no half-made job.
            with suppress(Unavailable):
                self.store.delete(object_keys.open_marker(job.id))
                for name in _index(job):
                    self.store.delete(name)
                self.store.delete(request)
            raise
        return True

    def _mark(self, job: Job) -> None:
        for name in _index(job):
            self.store.put(name, b"")
        self.store.put(object_keys.open_marker(job.id), job.account.encode())

    def _accepted_before(self, job: Job) -> Job:
        """The job of the same call, which came at least as far as its request on the store."""
        with suppress(ObjectMissing):
            return decode(Job, self.store.get(object_keys.job(job.account, job.id)).data)
        self._mark(job)
        return decode(Submission, self.store.get(object_keys.request(job.account, job.id)).data).job


def _index(job: Job) -> tuple[str, ...]:
    index = JOB_KINDS[job.kind].index
    return () if index is None else (index(job.account, job.id),)
