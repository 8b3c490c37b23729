"""The use cases of feedback: store, list and delete the true labels of classified items."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from api.services.classifiers import ClassifierService
from shared.classifier_record import Classifier
from shared.errors import Conflict, NotFound
from shared.limits import Limits
from shared.retraining import FeedbackItem
from shared.retraining_store import RetrainingStore
from shared.types import Example, Item, TrainRequest

_WRITERS = 8  # one after the other, 1,000 items take 10 s on S3


@dataclass(frozen=True, kw_only=True)
class FeedbackService:
    """Feedback as accounts see it."""

    classifiers: ClassifierService
    limits: Limits

    @property
    def records(self) -> RetrainingStore:
        """The records on the store."""
        return RetrainingStore(store=self.classifiers.store)

    def add(self, account: str, ref: str, items: Sequence[FeedbackItem]) -> None:
        """Store feedback on a classifier; items of the same id replace earlier ones.

        Raises:
            Conflict: The classifier keeps no examples and is not retrained from feedback.
            InvalidRequest: An item is outside of the limits.
            NotFound: The account has no such classifier.
        """
        classifier = self.classifiers.own(account, ref)[0]
        if not self._wanted(classifier):
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
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="feedback") as writers:
            list(
                writers.map(
                    lambda item: self.records.put_feedback(account, classifier.id, item), items
                )
            )

    def list(
        self, account: str, ref: str, *, after: str, limit: int
    ) -> tuple[Sequence[FeedbackItem], bool]:
        """Feedback after the item with the id `after`; and whether there is more.

        Raises:
            NotFound: As for `add`.
        """
        classifier = self.classifiers.whole(account, ref)
        found = list(self.records.feedback(account, classifier.id, after=after, limit=limit + 1))
        return found[:limit], len(found) > limit

    def delete(self, account: str, ref: str, item_id: str | None) -> int:
        """Delete one item of feedback, or all; how many were deleted.

        Raises:
            NotFound: As for `add`, or there is no item of the id.
        """
        classifier = self.classifiers.whole(account, ref)
        deleted = self.records.delete_feedback(account, classifier.id, item_id)
        if item_id is not None and not deleted:
            raise NotFound("no feedback has this id")
        return deleted

    def _wanted(self, classifier: Classifier) -> bool:
        if classifier.keep_examples:
            return True
        with suppress(NotFound):
            record, _ = self.records.load(classifier.account, classifier.id)
            return any(source.feedback for source in record.settings.sources)
        return False
