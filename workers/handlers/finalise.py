"""The end of a durable job. Durability depends on the order of the writes:

    decision in the ledger → job.json (written once) → charge (written once) →
    hot record, waiters woken → webhooks' deliveries → examples forgotten → marker gone

If the process is killed between two writes, the end runs again and continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared import object_keys, service_clock
from shared.batches import BatchRequest
from shared.errors import ObjectMissing, PreconditionFailed, WorkFailed
from shared.job_kinds import JOB_KINDS
from shared.jobs import (
    Event,
    Expire,
    Fail,
    Finalise,
    Job,
    Progress,
    Settle,
    State,
    Succeed,
    advance,
)
from shared.messages import Submission, decode, encode, failure_of
from shared.ports import Claim, Ledger, ObjectStore
from shared.rate_limits import RateLimiter
from shared.telemetry import Log
from shared.types import Failure, JobKind, JobRequest, JobResult, Usage, Value
from workers import metrics
from workers.balance_check import BalanceCheck
from workers.handlers.batch.assemble_output import OutputAssembler
from workers.job_completion.charging import charge
from workers.job_completion.purge_inputs import forget
from workers.job_completion.webhook_events import announce

log = Log("finalise")
_ENDING = frozenset({State.CANCELLING, State.EXPIRING})
_HOT_S = 3600.0  # how long an ended job still answers from the ledger


class Outcome(Value):
    """What a finished part says: how many items came out, how many did not, what they cost."""

    completed: int
    failed: int = 0
    usage: Usage = Usage()


Conclude = Callable[[Job, Any, Failure | None], JobResult | None]
"""Ends what the attempts of a job have left that ends without an outcome. Its second argument is of
the `Body` of the kind, the third is the error of a job that fails.

Returns the result of the job if one of them has made what stays, else None. It may be repeated.
"""


def put_result(store: ObjectStore, job: Job, body: JobRequest, result: JobResult) -> Outcome:
    """Write the result of a job that is one part; its outcome."""
    store.put(object_keys.result(job.account, job.id), encode(result))
    completed, failed = JOB_KINDS[job.kind].counts(body, result)
    return Outcome(completed=completed, failed=failed, usage=result.usage)


@dataclass(frozen=True, kw_only=True)
class Finaliser:
    """Ends jobs. `clock` gives seconds since 1970."""

    ledger: Ledger
    store: ObjectStore
    assembler: OutputAssembler
    balance: BalanceCheck
    rates: RateLimiter
    conclude: Mapping[JobKind, Conclude] = field(default_factory=dict)
    lease_s: float = 10.0
    clock: Callable[[], float] = service_clock.now

    def run(self, claim: Claim) -> None:
        """Bring the job to its terminal state, once.

        Raises:
            Unavailable: The store or Redis is away; run it again.
        """
        job = self._decided(claim)
        if job is None:
            return  # the ledger was lost: the keeper adopts the job anew
        if not job.state.terminal:
            job = self._written(advance(job, self._ending(job, claim), self._now()))
        else:
            with suppress(ObjectMissing):  # the record that is charged is the one on the store
                job = decode(Job, self.store.get(object_keys.job(job.account, job.id)).data)
        charge(self.store, job)  # before the waiters: one of them may drop the job
        self.balance.forget(job)
        if job.rate_limited:
            self.rates.settle_job(job.id, job.usage.total_tokens)
        self.ledger.finish_job(job, keep_s=_HOT_S)
        spec = JOB_KINDS[job.kind]
        if spec.announced:
            announce(self.store, job.account, job.id)
        if spec.planned:
            self.assembler.tidy(job)
        if spec.purge is not None:
            forget(self.store, job.account, job.id)
        self.store.delete(object_keys.open_marker(job.id))

    def _decided(self, claim: Claim) -> Job | None:
        """The job once it can no longer be cancelled, or was, or its time is over."""
        while True:
            job = self.ledger.record(claim.job_id)
            if job is None or job.state.terminal or job.state in _ENDING:
                return job
            decided = advance(job, Finalise(attempt=claim.attempt), self._now())
            if decided == job or self.ledger.replace(job, decided):
                return decided

    def _ending(self, job: Job, claim: Claim) -> Event:
        spec = JOB_KINDS[job.kind]
        if spec.planned:
            return self._batch_ending(job, claim)
        outcomes = [decode(Outcome, data) for data in self.ledger.outcomes(job.id).values()]
        self.ledger.heartbeat(claim, lease_s=self.lease_s)  # else they may be those of a new ledger
        made = None if outcomes else self._made(job, claim)
        if made is not None:
            outcomes = [made]
        if job.state is State.CANCELLING and not (spec.irreversible and outcomes):
            return Settle()
        if claim.failure and made is None:
            return Fail(error=decode(Failure, claim.failure))
        if not outcomes and job.state is State.EXPIRING:
            return Expire()
        if not outcomes:
            return Fail(error=failure_of(WorkFailed("the job ended without an outcome")))
        completed = sum(o.completed for o in outcomes)
        failed = sum(o.failed for o in outcomes)
        total = max(job.progress.total, completed + failed)  # of a file it was not known before
        return Succeed(
            progress=Progress(total=total, completed=completed, failed=failed),
            usage=sum((o.usage for o in outcomes), Usage()),
        )

    def _made(self, job: Job, claim: Claim) -> Outcome | None:
        """The outcome of what an attempt had made before it died; None if nothing stays of it."""
        conclude = self.conclude.get(job.kind)
        if conclude is None:
            return None
        data = self.store.get(object_keys.request(job.account, job.id)).data
        body = decode(Submission, data).body
        result = conclude(job, body, decode(Failure, claim.failure) if claim.failure else None)
        return None if result is None else put_result(self.store, job, body, result)

    def _batch_ending(self, job: Job, claim: Claim) -> Event:
        """A batch keeps what was finished, however it ends."""
        data = self.store.get(object_keys.request(job.account, job.id)).data
        body = decode(Submission, data).body
        assert isinstance(body, BatchRequest)

        def check() -> None:
            self.ledger.heartbeat(claim, lease_s=self.lease_s)

        failure = decode(Failure, claim.failure) if claim.failure else None
        result, done = self.assembler.run(job, body, check=check, failure=failure)
        check()
        if job.state is State.CANCELLING:
            return Settle(progress=done, usage=result.usage)
        if failure is not None:
            return Fail(error=failure, progress=done, usage=result.usage)
        if result.undelivered is not None:
            return Fail(error=result.undelivered, progress=done, usage=result.usage)
        if job.state is State.EXPIRING and not 0 < done.total == done.completed + done.failed:
            return Expire(progress=done, usage=result.usage)
        return Succeed(progress=done, usage=result.usage)

    def _written(self, job: Job) -> Job:
        """The final record on the store: this one, or the one that was there first."""
        name = object_keys.job(job.account, job.id)
        try:
            self.store.put(name, encode(job), if_absent=True)
        except PreconditionFailed:
            return decode(Job, self.store.get(name).data)
        log.info("job.ended", state=job.state, items=job.progress.total)
        metrics.job_ended(job)
        return job

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)
