"""The use case of drift: how far what a version classifies differs from its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api.services.classifiers import ClassifierService
from shared.classifier_record import Classifier, Version
from shared.drift_report import DriftReport, drift_report
from shared.observation_store import ObservationStore
from shared.ports import ObjectStore


@dataclass(frozen=True, kw_only=True)
class DriftService:
    """Drift as accounts see it. `clock` gives seconds since 1970."""

    store: ObjectStore
    classifiers: ClassifierService
    clock: Callable[[], float]

    def report(
        self, account: str, ref: str, *, window: timedelta
    ) -> tuple[Classifier, Version, DriftReport]:
        """The drift of a version of the account's classifier over the last time.

        Raises:
            InvalidRequest: The reference has no form that one has.
            NotFound: The account has no such classifier, or it has no such version.
        """
        record, version = self.classifiers.own(account, ref)
        end = datetime.fromtimestamp(self.clock(), UTC)
        store = ObservationStore(store=self.store)
        weights = record.weights(version)
        return record, version, drift_report(store, weights, start=end - window, end=end)
