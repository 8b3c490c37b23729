"""Automatic rollback: a promoted version that does worse on feedback is replaced by the one before.

A call that brings feedback leaves a request on the store, which goes when it was done. The outcome
of the check is stored in the run before the alias moves by compare-and-set: killed in between, or
done by two keepers at once, it moves once and is announced once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice

from shared.classifier_record import PREVIOUS, Classifier, Version
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict, NotFound, PigeonholeError, Unavailable
from shared.feedback_store import FeedbackStore
from shared.ids import ClassifierRef
from shared.live_accuracy import Baseline, baseline_of, check
from shared.promotion import live_version, record_rollback, roll_back
from shared.retraining import AutoRollback, LiveCheck, Rollback, Run
from shared.retraining_store import RetrainingStore
from shared.telemetry import Log
from shared.webhook_store import WebhookStore

log = Log("auto_rollback")


@dataclass(frozen=True, kw_only=True)
class LiveChecks:
    """Checks promoted versions. `clock` gives seconds since 1970."""

    retrainings: RetrainingStore
    records: ClassifierStore
    feedback: FeedbackStore
    webhooks: WebhookStore
    clock: Callable[[], float]

    def run_requested(self) -> int:
        """Check each classifier with new feedback; the number of aliases that were moved back.

        An error of one classifier, such as a record that cannot be decoded, is logged. One of its
        requests stays, for the next run.

        Raises:
            Unavailable: The object store is away; run it again.
        """
        moved = 0
        requests = self.feedback.check_requests()
        for (account, classifier_id), group in groupby(requests, lambda each: each[1:]):
            done = list(group)  # before the check: later ones are of later feedback
            try:
                moved += self._check(account, classifier_id)
            except Unavailable:
                raise
            except NotFound:  # deleted, or without a retraining by now
                pass
            except PigeonholeError as exc:
                log.error("auto_rollback.failed", exc=exc, classifier=classifier_id)
                done.pop()
            for request in done:
                self.feedback.drop_request(request)
        return moved

    def _check(self, account: str, classifier_id: str) -> bool:
        settings = self.retrainings.load(account, classifier_id)[0].settings
        if settings.auto_rollback is None:
            return False
        classifier, _ = self.records.load(account, classifier_id)
        moved = self._moved_before(classifier, settings.alias)
        if moved is not None:
            self._record(moved)
            return True
        run = self._promotion_of(classifier, live_version(classifier, settings.alias))
        if run is None or run.status != "promoted" or run.rolled_back_at is not None:
            return False
        run = self._compared(settings.auto_rollback, run)
        if run.live_check is None or run.live_check.outcome != "worse" or run.rolled_back_at:
            return False
        try:
            roll_back(
                self.records,
                account,
                classifier_id,
                alias=settings.alias,
                live=run.challenger,
                to=run.champion,
            )
        except Conflict as exc:  # moved by hand or by the next run, or the champion was deleted
            log.warning("auto_rollback.left", run=run.id, reason=exc.detail)
            return False
        self._record(run)
        return True

    def _moved_before(self, classifier: Classifier, alias: str) -> Run | None:
        """The run whose version an interrupted check has replaced without saying so."""
        number = classifier.aliases.get(PREVIOUS)
        if number is None:
            return None
        run = self._promotion_of(
            classifier, classifier.find(ClassifierRef(classifier.id, number, None))
        )
        if run is None or run.rolled_back_at is not None or run.live_check is None:
            return None
        moved = live_version(classifier, alias).number == run.champion
        return run if moved and run.live_check.outcome == "worse" else None

    def _promotion_of(self, classifier: Classifier, version: Version) -> Run | None:
        """The run that promoted a version; None if there was none, or it is not kept."""
        if version.promoted_by is None:
            return None
        with suppress(NotFound):
            return self.retrainings.run(classifier.account, classifier.id, version.promoted_by)
        return None

    def _compared(self, settings: AutoRollback, run: Run) -> Run:
        """The run with its check as far as the feedback goes; an outcome is final."""
        if run.live_check is not None and run.live_check.outcome != "running":
            return run
        after = list(islice(self._outcomes(run, run.challenger), settings.window))
        baseline = self._baseline(settings, run) if after else None
        if baseline is None:
            return run
        found = check(settings, baseline=baseline, after=after)
        if found == run.live_check:
            return run
        return self.retrainings.change_run(
            run,  # stays as it is where another keeper has changed it since it was read
            lambda now: now.model_copy(update={"live_check": found}) if now == run else now,
        )

    def _baseline(self, settings: AutoRollback, run: Run) -> Baseline | None:
        """That of the first check: to list all feedback on the champion each time is slow."""
        if run.live_check is not None:
            return Baseline(run.live_check.baseline, run.live_check.baseline_items)
        newest = deque(self._outcomes(run, run.champion), maxlen=settings.window)
        return baseline_of(newest, run.metrics.champion.accuracy if run.metrics else None)

    def _outcomes(self, run: Run, version: int | None) -> Iterator[bool]:
        if version is None:  # the first version has none before it
            return iter(())
        found = self.feedback.outcomes(run.account, run.classifier_id, version=version)
        return (each.correct for each in found)

    def _record(self, run: Run) -> None:
        assert run.live_check is not None
        assert run.champion is not None
        assert run.challenger is not None
        rollback = Rollback(
            run=run.id,
            automatic=True,
            from_version=run.challenger,
            to_version=run.champion,
            reason=_reason(run.live_check),
            at=datetime.fromtimestamp(self.clock(), UTC),
        )
        record_rollback(self.retrainings, self.webhooks, run, rollback)
        log.info("auto_rollback.moved", run=run.id, reason=rollback.reason)


def _reason(found: LiveCheck) -> str:
    """The reason of a rollback, in words."""
    baseline = (
        f"the {found.baseline_items} newest items of feedback"
        if found.baseline_items
        else "the holdout of the run"
    )
    return (
        f"live {found.metric}: {found.correct} of {found.items} items of feedback are correct; the "
        f"version before has {found.baseline:.3f} on {baseline}, so that the fall is more than "
        f"{found.drop:g} in {found.window} items, whatever the rest says"
    )
