"""The reports of runs: a run, what both versions predict for the holdout, and the runs before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from api.schemas.run_report import RunReport
from api.services.retraining import RetrainingService
from shared.errors import NotFound

MAX_EARLIER = 49  # runs of the learning curve, beside the one of the report


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
        )
