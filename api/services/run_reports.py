"""The reports of runs: a run, what both versions predict for the holdout, and the runs before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from api.schemas.run_report import RunReport
from api.services.retraining import RetrainingService
from shared.classifier_record import Classifier
from shared.drift_report import DayDrift, drift_report
from shared.errors import NotFound
from shared.ids import ClassifierRef
from shared.observation_store import ObservationStore
from shared.retraining import Run

MAX_EARLIER = 49  # runs of the learning curve, beside the one of the report
DRIFT_WINDOW = timedelta(days=14)  # before the run


@dataclass(frozen=True, kw_only=True)
class RunReports:
    """Collects what a report is made of."""

    retraining: RetrainingService

    def get(self, account: str, ref: str, run_id: str) -> RunReport:
        """The report of a run.

        Raises:
            NotFound: The account has no such classifier, or the classifier no such run.
        """
        run = self.retraining.run(account, ref, run_id)
        classifier = self.retraining.classifiers.whole(account, ref)
        record, _ = self.retraining.get(account, ref)
        records = self.retraining.records
        earlier = []
        for each in islice(records.run_ids(account, classifier.id, after=run.id), MAX_EARLIER):
            with suppress(NotFound):
                earlier.append(records.run(account, classifier.id, each))
        return RunReport(
            run=run,
            name=classifier.name or classifier.id,
            alias=record.settings.alias,
            comparison=records.comparison(run),
            earlier=tuple(earlier),
            drift=self._drift(run, classifier),
        )

    def _drift(self, run: Run, classifier: Classifier) -> tuple[DayDrift, ...]:
        """The drift of the champion before the run; empty if the run failed before it had one."""
        if run.champion is None:
            return ()
        try:
            champion = classifier.find(ClassifierRef(classifier.id, run.champion, None))
        except NotFound:  # the version was deleted
            return ()
        return drift_report(
            ObservationStore(store=self.retraining.store),
            classifier.weights(champion),
            start=run.started_at - DRIFT_WINDOW,
            end=run.started_at,
        ).days
