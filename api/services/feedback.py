"""The use cases of feedback: store, list and delete the true labels of classified items."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from api.services.classifiers import ClassifierService
from shared.classifier_record import Classifier
from shared.errors import Conflict, NotFound
from shared.feedback_store import FeedbackStore
from shared.limits import Limits
from shared.live_accuracy import DailyAccuracy, VersionDay, by_day
from shared.retraining import FeedbackItem, RetrainingSettings
from shared.retraining_store import RetrainingStore
from shared.types import Example, Item, TrainRequest

_WRITERS = 8  # one after the other, 1,000 items take 10 s on S3


@dataclass(frozen=True, kw_only=True)
class FeedbackService:
    """Feedback as accounts see it."""

    classifiers: ClassifierService
    limits: Limits

    @property
    def records(self) -> FeedbackStore:
        """The feedback on the store."""
        return FeedbackStore(store=self.classifiers.store)

    def add(self, account: str, ref: str, items: Sequence[FeedbackItem]) -> None:
        """Store feedback on a classifier; an item replaces an earlier one of the same id, also in
        the same call.

        Raises:
            Conflict: The classifier keeps no examples and is not retrained from feedback.
            InvalidRequest: An item is outside of the limits.
            NotFound: The account has no such classifier.
        """
        classifier = self.classifiers.own(account, ref)[0]
        settings = self._settings(classifier)
        if not (classifier.keep_examples or any(each.feedback for each in settings.sources)):
            raise Conflict(
                "the classifier stores no feedback: set `keep_examples`, or give its retraining "
                'the source {"feedback": true}'
            )
        self.limits.check_training(
            TrainRequest(
                model="",
                classifier_id=classifier.id,
                num_iters=1,
                examples=tuple(
                    each.example or Example(item=Item(text="-"), label=each.label) for each in items
                ),
            ),
            place=lambda index: f"items[{index}]",
        )
        last = {each.id: each for each in items}.values()  # writers overtake each other
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="feedback") as writers:
            list(writers.map(lambda item: self.records.put(account, classifier.id, item), last))
        if settings.auto_rollback is not None:
            self.records.request_check(account, classifier.id)

    def list(
        self, account: str, ref: str, *, after: str, limit: int
    ) -> tuple[Sequence[FeedbackItem], bool]:
        """Feedback after the item with the id `after`; and whether there is more.

        Raises:
            NotFound: As for `add`.
        """
        classifier = self.classifiers.whole(account, ref)
        found = list(self.records.items(account, classifier.id, after=after, limit=limit + 1))
        return found[:limit], len(found) > limit

    def delete(self, account: str, ref: str, item_id: str | None) -> int:
        """Delete one item of feedback, or all; how many were deleted.

        Raises:
            NotFound: As for `add`, or there is no item of the id.
        """
        classifier = self.classifiers.whole(account, ref)
        deleted = self.records.delete(account, classifier.id, item_id)
        if item_id is not None and not deleted:
            raise NotFound("no feedback has this id")
        return deleted

    def accuracy(
        self, account: str, ref: str, *, after: VersionDay, limit: int
    ) -> tuple[Sequence[DailyAccuracy], bool]:
        """The live accuracy by version and day, after one of them; and whether there is more.

        Raises:
            NotFound: As for `add`.
        """
        classifier = self.classifiers.whole(account, ref)
        days = by_day(self.records.outcomes(account, classifier.id, first=after.version))
        found = list(islice((each for each in days if each[:2] > after), limit + 1))
        return found[:limit], len(found) > limit

    def _settings(self, classifier: Classifier) -> RetrainingSettings:
        """The settings of its retraining; without one, those that take no feedback."""
        retrainings = RetrainingStore(store=self.classifiers.store)
        with suppress(NotFound):
            return retrainings.load(classifier.account, classifier.id)[0].settings
        return RetrainingSettings()
