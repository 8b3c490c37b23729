"""How batches stand: counts and speed from the ledger, plan and result from the object store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from api.schemas.openai.batch import BatchStatus
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from shared import object_keys
from shared.batches import BatchRequest, BatchResult, Plan
from shared.errors import BrokerUnavailable, ModelNotFound, ObjectMissing
from shared.jobs import Job, State
from shared.messages import decode
from shared.ports import Ledger, ObjectStore
from shared.work_rate import WorkDone


@dataclass(frozen=True, kw_only=True)
class BatchStatuses:
    """Reads the status of batches."""

    submit: JobSubmission
    jobs: JobService
    ledger: Ledger
    store: ObjectStore

    def of(self, job: Job, request: BatchRequest, plan: Plan | None = None) -> BatchStatus:
        """How the batch of a job stands; `plan`: if it is known already."""
        job, done = self._counted(job)
        now = self.submit.clock()
        return BatchStatus(
            job=job,
            request=request,
            plan=plan or self.plan(job),
            completed=done.completed,
            failed=done.failed,
            rate_per_s=done.rate_per_s,
            result=self.result(job),
            attended=job.deadline is None or now < job.deadline.timestamp() or self._attended(),
            waiting_for=self._waiting_for(job, request),
        )

    def _attended(self) -> bool:
        """Whether a worker lives that could put a batch together."""
        try:
            return bool(self.submit.members.workers())
        except BrokerUnavailable:
            return True  # for all we know

    def _waiting_for(self, job: Job, request: BatchRequest) -> str | None:
        """What the rows of a batch wait for, as far as that is their model."""
        if job.state not in {State.QUEUED, State.RUNNING}:
            return None
        try:
            model = self.submit.catalogue.find(request.model)
        except ModelNotFound:
            return f"a worker with the model {request.model}; none is running"
        return self.submit.members.waiting_for(model)

    def _counted(self, job: Job) -> tuple[Job, WorkDone]:
        """The job, its rows that came out and that did not, and how fast it is of late."""
        if not job.state.terminal:
            with suppress(BrokerUnavailable):
                done = self.ledger.progress(job.id)
                if done is not None:
                    return job, done
                job = self.jobs.get(job.account, job.id)  # it may have ended this moment
        return job, WorkDone(completed=job.progress.completed, failed=job.progress.failed)

    def plan(self, job: Job) -> Plan | None:
        """How the batch is cut; None before that."""
        if job.state is State.QUEUED:
            return None
        try:
            return decode(Plan, self.store.get(object_keys.plan(job.account, job.id)).data)
        except ObjectMissing:
            return None

    def result(self, job: Job) -> BatchResult | None:
        """What came out, however the batch ended."""
        if not job.state.terminal:
            return None
        try:
            return decode(BatchResult, self.store.get(object_keys.result(job.account, job.id)).data)
        except ObjectMissing:
            return None
