"""The end of a durable job. Durability depends on the order of the writes:

    decision in the ledger → job.json (written once) → charge (written once) →
    hot record, waiters woken → webhooks' deliveries → examples forgotten → marker gone

If the process is killed between two writes, the end runs again and continues.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

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
from shared.types import Failure, Usage, Value
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


@dataclass(frozen=True, kw_only=True)
class Finaliser:
    """Ends jobs. `clock` gives seconds since 1970."""

    ledger: Ledger
    store: ObjectStore
    assembler: OutputAssembler
    balance: BalanceCheck
    rates: RateLimiter
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
        made = spec.irreversible and bool(self.ledger.outcomes(job.id))
        if job.state is State.CANCELLING and not made:
            return Settle()
        if claim.failure:
            return Fail(error=decode(Failure, claim.failure))
        outcomes = [decode(Outcome, data) for data in self.ledger.outcomes(job.id).values()]
        self.ledger.heartbeat(claim, lease_s=self.lease_s)  # else they may be those of a new ledger
        if not outcomes:
            return Fail(error=failure_of(WorkFailed("the job ended without an outcome")))
        completed = sum(o.completed for o in outcomes)
        failed = sum(o.failed for o in outcomes)
        total = max(job.progress.total, completed + failed)  # of a file it was not known before
        return Succeed(
            progress=Progress(total=total, completed=completed, failed=failed),
            usage=sum((o.usage for o in outcomes), Usage()),
        )

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
