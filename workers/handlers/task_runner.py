"""Runs a task of a durable job, from its lease to its completion. Durability depends on this order:

    result object → outcome and completion in the ledger → (elected) `finalise`

A task that runs twice writes the same bytes under the same name and is counted once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared import object_keys, service_clock, tracing
from shared.batches import BatchRequest
from shared.dialects.protocol import own_fields
from shared.dialects.registry import own_error_of
from shared.errors import (
    BrokerUnavailable,
    IllegalTransition,
    LeaseLost,
    MessageTooNew,
    PigeonholeError,
    Unavailable,
    WorkFailed,
)
from shared.job_kinds import JOB_KINDS
from shared.jobs import Job, Start, State, advance
from shared.messages import Submission, decode, encode, failure_of
from shared.ports import FINALISE, PLAN, Claim, Doorbell, Ledger, ObjectStore
from shared.telemetry import Log, bound
from shared.types import JobKind, JobResult
from workers.balance_check import BalanceCheck
from workers.handlers.batch.cut_parts import BatchPlanner
from workers.handlers.batch.run_part import PartRunner
from workers.handlers.finalise import Finaliser, put_result
from workers.job_completion.deadlines import lapse, over
from workers.leases import Lease, Leases

log = Log("part")
_OUTAGE_S = 60.0  # how long a finished part insists on being counted while Redis is away
_MAX_RETRY_S = 30.0

Work = Callable[[Job, Any, Lease], JobResult]
"""What one kind of job does with its request; the second argument is of that kind's `Body`.

It raises CancelledError where the hold ended, and may be run twice: it leaves the same behind.
"""


@dataclass(frozen=True, kw_only=True)
class TaskRunner:
    """Runs claimed tasks. `stopping` is set when the process is told to end."""

    ledger: Ledger
    store: ObjectStore
    work: Mapping[JobKind, Work]
    planner: BatchPlanner
    part_runner: PartRunner
    finaliser: Finaliser
    leases: Leases
    doorbell: Doorbell
    balance: BalanceCheck
    stopping: threading.Event
    max_attempts: int
    lease_s: float
    clock: Callable[[], float] = service_clock.now

    def run(self, claim: Claim) -> None:
        """Do the task and say so, or give it back; never raises."""
        elected = claim if claim.task == FINALISE else self._guarded(claim, self._work)
        if elected is not None:
            self._guarded(elected, self._finalise)

    def _guarded(
        self, claim: Claim, action: Callable[[Claim, Lease], Claim | None]
    ) -> Claim | None:
        """Run one task under its lease; every way it can fail ends here."""
        with bound(job_id=claim.job_id, task=claim.task):
            try:
                with self.leases.held(claim) as hold, self._span(claim):
                    return action(claim, hold)
            except (LeaseLost, IllegalTransition) as exc:
                log.warning("part.dropped", reason=exc.detail, attempt=claim.attempt)
            except (Unavailable, MessageTooNew) as exc:
                log.warning("part.given_back", reason=exc.detail, attempt=claim.attempt)
                delay_s = float(exc.retry_after_s or 1)
                self._release(claim, delay_s=delay_s, burn=False)  # not the job's fault
            except Exception as exc:  # noqa: BLE001  a bug must count as an attempt
                log.error("part.crashed", exc=exc, attempt=claim.attempt)
                if claim.task != FINALISE and claim.attempt >= self.max_attempts:
                    reason = f"given up after {claim.attempt} attempts: {type(exc).__name__}"
                    return self._failed(claim, WorkFailed(reason))
                delay_s = min(_MAX_RETRY_S, 0.25 * 2 ** min(claim.attempt, 10))
                self._release(claim, delay_s=delay_s, burn=True)
            return None

    def _span(self, claim: Claim) -> AbstractContextManager[None]:
        """The span of a task in the trace of its job.

        The ledger does not know when a further part of a planned job became ready, nor one that
        runs again: their spans have no time on the queue.
        """
        job = self.ledger.record(claim.job_id) if tracing.on() else None
        if job is None:
            return nullcontext()
        attributes: dict[str, str | int | float] = {
            "pigeonhole.job.id": job.id,
            "pigeonhole.task": claim.task,
            "pigeonhole.attempt": claim.attempt,
        }
        first = PLAN if JOB_KINDS[job.kind].planned else "part:0"
        if claim.task == first and claim.attempt == 1:
            attributes[tracing.QUEUE_WAIT] = max(0.0, self.clock() - job.created_at.timestamp())
        name = f"{claim.task.partition(':')[0]} {job.kind}"
        return tracing.span(name, kind="consumer", parent=job.traceparent, attributes=attributes)

    def _work(self, claim: Claim, hold: Lease) -> Claim | None:
        """Do the part; the claim to finalise with, if this was the last one."""
        job = self._started(claim)
        if job is None:
            # The process that ended it may have died, or lost Redis, before it abandoned the call.
            self.ledger.abort_job(claim.job_id)
            self._release(claim, delay_s=0, burn=False)
            return None
        log.info("part.started", attempt=claim.attempt)
        name = object_keys.request(job.account, job.id)
        try:
            submission = decode(Submission, self.store.get(name).data)
            output = self._said(claim, job, submission, hold)
        except CancelledError:
            log.info("part.stopped", abandoned=hold.abandoned)
            self._release(claim, delay_s=0, burn=False)
            return None
        except PigeonholeError as exc:
            if exc.outage:
                raise
            return self._failed(claim, exc)
        outcome, completed, failed = output
        return self._insist(
            lambda: self.ledger.complete(
                claim, lease_s=self.lease_s, outcome=outcome, completed=completed, failed=failed
            )
        )

    def _said(
        self, claim: Claim, job: Job, submission: Submission, hold: Lease
    ) -> tuple[bytes, int, int]:
        """What the task says once its result is on the store: its outcome, and how many items.

        Raises:
            PigeonholeError: With the fields as the dialect of the job calls them.
        """
        spec, body = JOB_KINDS[job.kind], submission.body
        if spec.planned:
            assert isinstance(body, BatchRequest)
            if claim.task == PLAN:
                self.planner.run(claim, job, body, hold)
                return b"", 0, 0
            self.balance.check(job)
            report = self.part_runner.run(claim, job, body, hold)
            self.balance.count(job, report.usage)
            return encode(report), report.completed, report.failed
        self.balance.check(job)
        with own_fields(own_error_of(submission.dialect)):
            result = self.work[job.kind](job, body, hold)
        self.balance.count(job, result.usage)
        outcome = put_result(self.store, job, body, result)
        return encode(outcome), outcome.completed, outcome.failed

    def _finalise(self, claim: Claim, hold: Lease) -> None:  # noqa: ARG002  its end is not stopped
        self.finaliser.run(claim)

    def _started(self, claim: Claim) -> Job | None:
        """The running job; None if it was cancelled, its time is over or it is not known."""
        while True:
            job = self.ledger.record(claim.job_id)
            if job is None or job.state in {State.CANCELLING, State.EXPIRING}:
                return None
            now = datetime.fromtimestamp(self.clock(), UTC)
            if over(job, now):
                lapse(self.ledger, job, now)
                continue
            started = advance(job, Start(attempt=max(claim.attempt, job.attempt)), now)
            if started == job or self.ledger.replace(job, started):
                return started

    def _failed(self, claim: Claim, error: PigeonholeError) -> Claim | None:
        """End the job with the error."""
        log.warning("part.failed", code=error.code, reason=error.detail, attempt=claim.attempt)
        if (span := tracing.current()) is not None:
            tracing.fail(span, error.code)
        failure = encode(failure_of(error))
        try:
            return self._insist(
                lambda: self.ledger.complete(claim, lease_s=self.lease_s, failure=failure)
            )
        except (LeaseLost, BrokerUnavailable) as exc:
            log.warning("part.dropped", reason=exc.detail, attempt=claim.attempt)
            return None

    def _insist(self, action: Callable[[], Claim | str | None]) -> Claim | None:
        """Repeat while Redis is away: the work is done, it should not be done again."""
        until = time.monotonic() + _OUTAGE_S
        while True:
            try:
                answer = action()
                break
            except BrokerUnavailable:
                if self.stopping.wait(0.5) or time.monotonic() > until:
                    raise
        if isinstance(answer, str):
            with suppress(BrokerUnavailable):  # then the keeper rings
                self.doorbell.ring(answer)
            return None
        return answer

    def _release(self, claim: Claim, *, delay_s: float, burn: bool) -> None:
        try:
            self.ledger.requeue(claim, delay_s=delay_s, burn=burn)
        except BrokerUnavailable as exc:
            log.warning("part.left_to_keeper", reason=exc.detail)
