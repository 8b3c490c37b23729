"""Schedules: a tick of cron becomes a job, once, whatever is killed and however many keepers run.

The index `ticks/` has the next tick of each schedule. A job id follows from classifier and tick, so
that two keepers accept the same job. Ticks that were missed are one run, the latest. A tick that
comes during a run waits in the index until the run has ended.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from shared import tracing
from shared.classifier_record import Version
from shared.classifier_store import ClassifierStore
from shared.cron import latest_tick
from shared.errors import Conflict, NotFound
from shared.job_intake import JobIntake, queue_of
from shared.member_reports import WorkerReport
from shared.messages import DEVICES
from shared.ports import Ledger
from shared.promotion import live_version
from shared.retraining import RetrainingRecord, RetrainRequest, Trigger, run_id_of, tick_job_id
from shared.retraining_store import DueTick, RetrainingStore
from shared.telemetry import Log

log = Log("schedules")


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """Starts the runs that are due. `deadline_s` is the longest time of a run."""

    retrainings: RetrainingStore
    records: ClassifierStore
    intake: JobIntake
    ledger: Ledger
    deadline_s: float

    def fire_due(self) -> int:
        """Start the run of each schedule that is due; the number of started runs.

        Raises:
            Unavailable: The object store is away; run it again.
        """
        now = datetime.fromtimestamp(self.intake.clock(), UTC)
        return sum(self._fire(due, now) for due in list(self.retrainings.due(now)))

    def _fire(self, due: DueTick, now: datetime) -> bool:
        try:
            record, etag = self.retrainings.load(due.account, due.classifier_id)
            classifier, _ = self.records.load(due.account, due.classifier_id)
        except NotFound:
            self.retrainings.drop_tick(due)
            return False
        schedule, tick = record.settings.schedule, record.next_tick
        if tick != due.at or schedule is None or not record.settings.enabled:
            self.retrainings.drop_tick(due)  # of settings that were changed since
            return False
        latest = latest_tick(schedule, record.settings.timezone, tick, now)
        version = live_version(classifier, record.settings.alias)
        if not self.start(record, version, at=latest, trigger="schedule"):
            return False  # a run has not ended: the tick stays due
        self._move_on(record, etag, due, latest)
        return True

    def start(
        self, record: RetrainingRecord, version: Version, *, at: datetime, trigger: Trigger
    ) -> bool:
        """Start the run of a tick, or of another cause at a time; once, however often it is called.

        Args:
            record: The retraining.
            version: The live version.
            at: The time of the cause; the id of the job follows from it.
            trigger: The cause.

        Returns:
            False if another run has not ended.
        """
        request = RetrainRequest(
            model=version.model,
            classifier_id=record.classifier_id,
            trigger=trigger,
            tick=at if trigger == "schedule" else None,
            deadline=self.intake.clock() + self.deadline_s,
        )
        job_id = tick_job_id(record.account, record.classifier_id, at)
        try:
            self.retrainings.begin(record.account, record.classifier_id, run_id_of(job_id))
        except Conflict:
            return False
        attributes = {"pigeonhole.trigger": trigger}
        with tracing.span("start retraining", kind="producer", attributes=attributes):
            self.intake.accept(
                request,
                account=record.account,
                queue=queue_of(request, device=self._device(version.model)),
                request_id=f"tick_{job_id}",
                dialect="native",
                job_id=job_id,
            )
        log.info("run.started", job_id=job_id, trigger=trigger, at=at.isoformat())
        return True

    def _move_on(self, record: RetrainingRecord, etag: str, due: DueTick, latest: datetime) -> None:
        """Go on to the next tick, unless another keeper or a change of settings was first."""
        with suppress(Conflict):
            self.retrainings.reschedule(record, etag, after=latest)
        self.retrainings.drop_tick(due)

    def _device(self, model: str) -> str:
        """A device with a worker that holds the model; its queue is moved if that worker goes."""
        reports = [
            WorkerReport.model_validate_json(each)
            for each in self.ledger.reports("worker").values()
        ]
        held = {each.device for each in reports if model in each.models}
        return next((each for each in DEVICES if each in held), DEVICES[-1])
