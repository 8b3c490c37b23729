"""Drift watch: detects drift of live versions, starts a run if its owner wants it, tells webhooks.

Looks at the classifiers that classified in this hour or the one before, as workers have listed
them. Run and deliveries have ids that follow from the detection, so that each may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from shared import observation_keys
from shared.classifier_record import Classifier, Version
from shared.drift_detection import Detection, DetectionStore, detection_of
from shared.drift_report import drift_report
from shared.errors import NotFound, PigeonholeError, Unavailable
from shared.observation_store import ObservationStore
from shared.ports import ObjectStore
from shared.promotion import live_version
from shared.retraining import RetrainingRecord
from shared.telemetry import Log
from shared.webhook_messages import drift_delivery
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook
from workers.keeper.schedules import Schedules

log = Log("drift_watch")

EVENT = "drift.detected"
_WINDOW = timedelta(days=1)
_LISTED = timedelta(hours=2)  # an entry of an earlier hour is deleted once it was looked at


@dataclass(frozen=True, kw_only=True)
class DriftWatch:
    """Watches all classifiers in use. `clock` gives seconds since 1970."""

    store: ObjectStore
    schedules: Schedules
    clock: Callable[[], float]

    @property
    def webhooks(self) -> WebhookStore:
        """The webhooks of all accounts."""
        return WebhookStore(store=self.store, clock=self.clock)

    def look(self) -> int:
        """Check each classifier in use; the number of drifts that were detected.

        An error of one classifier, such as a record that cannot be decoded, is logged.

        Raises:
            Unavailable: The object store is away; run it again.
        """
        now = datetime.fromtimestamp(self.clock(), UTC)
        entries = {
            name: entry
            for name in self.store.list(observation_keys.OBSERVED)
            if (entry := observation_keys.hour_of(name)) is not None
        }
        detected = 0
        subscribed = cache(self._subscribed)  # an account has many classifiers
        for account, classifier_id in dict.fromkeys(entry[1:] for entry in entries.values()):
            try:
                detected += self._check(account, classifier_id, now, subscribed)
            except Unavailable:
                raise
            except NotFound:  # deleted meanwhile
                continue
            except PigeonholeError as exc:
                log.error("drift_watch.failed", exc=exc, classifier=classifier_id)
        for name, (hour, _, _) in entries.items():
            if hour < now - _LISTED:
                self.store.delete(name)
        return detected

    def _check(
        self,
        account: str,
        classifier_id: str,
        now: datetime,
        subscribed: Callable[[str], Sequence[Webhook]],
    ) -> bool:
        classifier, _ = self.schedules.records.load(account, classifier_id)
        retraining = self._retraining(classifier)
        webhooks = subscribed(account)
        if not classifier.observe or not (webhooks or _starts(retraining)):
            return False
        detections = DetectionStore(store=self.store)
        last, etag = detections.load(account, classifier_id)
        if last is not None and not last.announced:  # a keeper was killed, or another run works
            self._announce(last, etag, classifier, retraining, webhooks)
            return False
        version = classifier.weights(_live(classifier, retraining))
        if last is not None and last.covers(version, now):
            return False
        report = drift_report(
            ObservationStore(store=self.store), version, start=now - _WINDOW, end=now
        )
        if report.drift is None or not report.drift.drifted:
            return False
        found = detection_of(version, report.drift, report.observed.items, now)
        etag = detections.replace(found, etag)
        if not etag:
            return False
        log.info("drift.detected", classifier_id=classifier_id, version=version.version)
        self._announce(found, etag, classifier, retraining, webhooks)
        return True

    def _announce(
        self,
        detection: Detection,
        etag: str,
        classifier: Classifier,
        retraining: RetrainingRecord | None,
        webhooks: Sequence[Webhook],
    ) -> None:
        for webhook in webhooks:
            self.webhooks.add(drift_delivery(detection.data, webhook, detection.at))
        if retraining is not None and _starts(retraining):
            version = _live(classifier, retraining)
            if not self.schedules.start(retraining, version, at=detection.at, trigger="drift"):
                return  # another run has not ended: the next check starts this one
        DetectionStore(store=self.store).replace(
            detection.model_copy(update={"announced": True}), etag
        )

    def _subscribed(self, account: str) -> Sequence[Webhook]:
        return [each for each in self.webhooks.all(account) if each.wants(EVENT)]

    def _retraining(self, classifier: Classifier) -> RetrainingRecord | None:
        with suppress(NotFound):
            return self.schedules.retrainings.load(classifier.account, classifier.id)[0]
        return None


def _starts(retraining: RetrainingRecord | None) -> bool:
    """Whether drift starts a run."""
    return retraining is not None and retraining.settings.enabled and retraining.settings.on_drift


def _live(classifier: Classifier, retraining: RetrainingRecord | None) -> Version:
    if retraining is None:
        return classifier.latest
    return live_version(classifier, retraining.settings.alias)
