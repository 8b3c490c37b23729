"""The use case of the front end: a request becomes a job, in this order and no other.

    now:    limits → (quotas) → message on its queue → doorbell → wait for the reply
    later:  limits → (quotas) → request on the object store → marker → hot record → doorbell → 202

An inline call (`now`) leaves nothing behind: the client that waits is its durability. A durable job
(`later`) is accepted when its marker is on the object store; what comes after may fail, because
the keeper adopts every marker that the ledger does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api.services.caller import Caller
from api.services.worker_registry import WorkerRegistry
from shared import ids, object_keys, service_clock
from shared.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    ObjectMissing,
    PreconditionFailed,
    Unavailable,
)
from shared.job_kinds import JOB_KINDS, Body
from shared.jobs import Job, Progress
from shared.limits import Limits
from shared.messages import (
    Call,
    Reply,
    Submission,
    decode,
    encode,
    error_of,
    queue_for,
)
from shared.model_catalogue import Catalogue
from shared.ports import Doorbell, Ledger, ObjectStore, Replies
from shared.telemetry import Log
from shared.types import (
    ClassifyRequest,
    ClassifyResult,
    JobKind,
    Priority,
)

log = Log("submit")


@dataclass(frozen=True, kw_only=True)
class JobSubmission:
    """Turns checked requests into work. `clock` gives seconds since 1970."""

    ledger: Ledger
    replies: Replies
    doorbell: Doorbell
    store: ObjectStore
    catalogue: Catalogue
    members: WorkerRegistry
    limits: Limits
    max_queued_calls: int
    result_retention_s: float
    clock: Callable[[], float] = service_clock.now

    def now(
        self,
        request: ClassifyRequest,
        *,
        caller: Caller,
        request_id: str,
        timeout_s: float,
        priority: Priority = Priority.STANDARD,
    ) -> ClassifyResult:
        """Classify while the caller waits.

        Raises:
            PigeonholeError: What the limits refuse, or what the worker answered.
            TooBusy: The queue holds as many calls as it may.
            DeadlineExceeded: No answer within `timeout_s`.
            Unavailable: No worker offers the model, or Redis is away.
        """
        until = time.monotonic() + timeout_s  # the clock may be set while the caller waits
        request = self.limits.check(request)
        model = self.catalogue.find(request.model)
        queue = queue_for(self.members.device_for(model), priority, model.name)
        deadline = self.clock() + timeout_s
        call = Call(
            request_id=request_id,
            reply_to=ids.token(),
            deadline=deadline,
            priority=priority,
            account=caller.account,
            body=request.model_copy(update={"model": model.name}),
        )
        if self.ledger.enqueue_call(
            queue, encode(call), bound=self.max_queued_calls, account=caller.account
        ):
            self.doorbell.ring(queue)
        answer = self.replies.wait(call.reply_to, timeout_s=until - time.monotonic())
        if answer is None:
            raise DeadlineExceeded(
                f"no answer within {timeout_s:g} s; send fewer inputs, or send "
                "'Prefer: respond-async' and poll the job"
            )
        reply = decode(Reply, answer)
        if reply.failure is not None:
            raise error_of(reply.failure)
        assert reply.result is not None
        return reply.result

    def later(
        self,
        request: Body,
        *,
        caller: Caller,
        request_id: str,
        dialect: str,
        priority: Priority = Priority.STANDARD,
        job_id: str | None = None,
        waited_for: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Job:
        """Accept a durable job: after this returns it will end, whatever dies.

        With the `job_id` of a job that was accepted before, it is that job again. One that is
        `waited_for` is not accepted where no worker lives that could run it. Only classify
        requests are checked against the limits here; whoever reads another kind knows its places.
        A batch is planned by a worker: how many items and parts it has is not known yet.

        Raises:
            PigeonholeError: What the limits refuse.
            Unavailable: The object store did not take the request, or no worker offers the model
                of a job that is waited for; nothing was accepted.
        """
        if isinstance(request, ClassifyRequest):
            request = self.limits.check(request)
        model = self.catalogue.find(request.model)
        if waited_for:
            self.members.device_for(model)
        spec, device = JOB_KINDS[request.kind], self.members.usual_device(model)
        deadline = spec.deadline(request)
        now = self.clock()
        created_at = datetime.fromtimestamp(now, UTC)
        job = Job(
            id=job_id or ids.job_id(int(now * 1000), ids.random_bits()),
            account=caller.account,
            key_id=caller.key_id,
            kind=JobKind(request.kind),
            queue=queue_for(device, priority if spec.lane is None else spec.lane, model.name),
            created_at=created_at,
            deadline=None if deadline is None else datetime.fromtimestamp(deadline, UTC),
            expires_at=created_at + timedelta(seconds=self.result_retention_s),
            progress=Progress(total=spec.size(request)),
            metadata=dict(metadata or spec.metadata(request)),
        )
        body = request.model_copy(update={"model": model.name})
        submission = Submission(job=job, request_id=request_id, dialect=dialect, body=body)
        if not self._accept(submission):
            job = self._accepted_before(job)
        if job.state.terminal:
            return job
        try:
            if queue := self.ledger.create_job(job, parts=0 if spec.planned else 1):
                self.doorbell.ring(queue)
        except BrokerUnavailable as exc:
            log.warning("job.left_to_keeper", job_id=job.id, reason=exc.detail)
        return job

    def _accept(self, submission: Submission) -> bool:
        """Put request and marker on the store; False if the job was accepted before.

        The marker is the moment of acceptance.
        """
        job = submission.job
        request, marker = object_keys.request(job.account, job.id), object_keys.open_marker(job.id)
        listed = object_keys.batch(job.account, job.id)
        try:
            self.store.put(request, encode(submission), if_absent=True)
            if job.kind is JobKind.BATCH:
                self.store.put(listed, b"")
            self.store.put(marker, job.account.encode())
        except PreconditionFailed:
            return False
        except Unavailable:
            # Whether the marker was written is unknown: taking both away leaves no half-made job.
            with suppress(Unavailable):
                self.store.delete(marker)
                self.store.delete(listed)
                self.store.delete(request)
            raise
        return True

    def _accepted_before(self, job: Job) -> Job:
        """The job of the same call, which came at least as far as its request on the store."""
        with suppress(ObjectMissing):
            return decode(Job, self.store.get(object_keys.job(job.account, job.id)).data)
        if job.kind is JobKind.BATCH:
            self.store.put(object_keys.batch(job.account, job.id), b"")
        self.store.put(object_keys.open_marker(job.id), job.account.encode())
        return decode(Submission, self.store.get(object_keys.request(job.account, job.id)).data).job
