"""The end of a run whose job ends without it: cancelled, too late, or given up.

Its last attempt may have died at any step. Once the alias has moved, or the state names the
snapshot of the run, its decision counts, and the run ends as it was decided. Before that, nothing
has moved, and the run ends as its job does. Attempts that go on without a lease change nothing
then: the challenger is marked as rejected first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from shared import service_clock
from shared.classifier_record import Classifier
from shared.errors import Conflict, NotFound
from shared.jobs import Job, State
from shared.promotion import reject
from shared.retraining import (
    ENDED,
    RetrainingRecord,
    RetrainRequest,
    RetrainResult,
    Run,
    RunStatus,
    run_id_of,
)
from shared.retraining_store import RetrainingStore
from shared.types import Failure, Usage
from workers.classifier_cache import ClassifierCache
from workers.handlers.retrain.collect import collected_before
from workers.handlers.retrain.conclude import Conclusion
from workers.handlers.retrain.snapshot import SnapshotStore


def run_of(store: RetrainingStore, job: Job, body: RetrainRequest) -> Run:
    """The run of a job as its attempts have left it; a new one if none has begun."""
    with suppress(NotFound):
        return store.run(job.account, body.classifier_id, run_id_of(job.id))
    return Run(
        id=run_id_of(job.id),
        account=job.account,
        classifier_id=body.classifier_id,
        job_id=job.id,
        trigger=body.trigger,
        tick=body.tick,
        dry_run=body.dry_run,
        started_at=_now(),
    )


@dataclass(frozen=True, kw_only=True)
class UnfinishedRuns:
    """Ends runs for the end of their jobs."""

    classifiers: ClassifierCache

    def conclude(
        self, job: Job, body: RetrainRequest, failure: Failure | None
    ) -> RetrainResult | None:
        """End the run of a job; its result if its decision counts, else None.

        Raises:
            Unavailable: The store is away; run it again.
        """
        store = RetrainingStore(store=self.classifiers.store)
        try:
            settings, _ = store.load(job.account, body.classifier_id)
            record, _ = self.classifiers.records.load(job.account, body.classifier_id)
        except NotFound:
            return None
        run = run_of(store, job, body)
        if run.status not in ENDED:
            run = self._concluded(store, settings, record, run, job, failure)
        if run.status in {"failed", "cancelled"}:
            return None
        return RetrainResult(classifier_id=run.classifier_id, run=run, usage=Usage())

    def _concluded(
        self,
        store: RetrainingStore,
        settings: RetrainingRecord,
        record: Classifier,
        run: Run,
        job: Job,
        failure: Failure | None,
    ) -> Run:
        now = _now()
        collected = collected_before(store.store, run)
        if collected is not None and self._counts(store, record, run):
            snapshots = SnapshotStore(
                store=store.store, account=run.account, classifier_id=run.classifier_id
            )
            return Conclusion(
                classifiers=self.classifiers,
                store=store,
                snapshots=snapshots,
                settings=settings.settings,
                collected=collected,
                snapshot=snapshots.load(collected.base),
            ).apply(run, now=now)
        status, error = _end_of(job, failure)
        run = run.model_copy(update={"status": status, "error": error, "finished_at": now})
        return store.end_run(run)

    def _counts(self, store: RetrainingStore, record: Classifier, run: Run) -> bool:
        """Whether the decision of the run counts; if not, it cannot count any more."""
        if store.state(run.account, run.classifier_id).snapshot == run.id:
            return True
        made = run.model_copy(update={"challenger": record.jobs.get(run.job_id, run.challenger)})
        try:
            reject(self.classifiers.records, made)
        except Conflict:  # an attempt has moved the alias before it died
            return True
        return False


def _end_of(job: Job, failure: Failure | None) -> tuple[RunStatus, str | None]:
    if job.state is State.CANCELLING:
        return "cancelled", None
    if failure is not None:
        return "failed", failure.detail
    if job.state is State.EXPIRING:
        return "failed", "it did not end within PIGEONHOLE_RETRAINING_DEADLINE_S"
    return "failed", "its job ended without an outcome"


def _now() -> datetime:
    return datetime.fromtimestamp(service_clock.now(), UTC)
