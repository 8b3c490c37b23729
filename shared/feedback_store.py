"""Feedback on the object store: items by the hash of their id, and their outcomes by version.

An outcome is an empty object whose name says all, so that the live accuracy of a thousand items
costs one listing. An outcome is written before its item and deleted after it. Two calls that put
the same item at once may leave two outcomes of it: readers take the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import NamedTuple

from shared import ids, retraining_keys
from shared.errors import ObjectMissing
from shared.live_accuracy import FeedbackOutcome, outcome_of
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.retraining import FeedbackItem


class LiveCheckRequest(NamedTuple):
    """A classifier with a retraining about which new feedback has come; `key` is its object."""

    key: str
    account: str
    classifier_id: str


@dataclass(frozen=True, kw_only=True)
class FeedbackStore:
    """The feedback on all classifiers."""

    store: ObjectStore

    def put(self, account: str, classifier_id: str, item: FeedbackItem) -> None:
        """Keep an item of feedback; one of the same id is replaced, with its outcome."""
        digest = _digest(item.id)
        name = retraining_keys.feedback_item(account, classifier_id, digest)
        before, after = self._outcome(name), outcome_of(item, digest)
        if after is not None:
            self.store.put(_key(account, classifier_id, after), b"")
        self.store.put(name, encode(item))
        if before is not None and before != after:
            self.store.delete(_key(account, classifier_id, before))

    def items(
        self, account: str, classifier_id: str, *, after: str = "", limit: int | None = None
    ) -> Iterator[FeedbackItem]:
        """Items of feedback by the hash of their ids, after the one with the id `after`."""
        prefix = retraining_keys.feedback_of(account, classifier_id)
        start = f"{prefix}{_digest(after)}.json" if after else ""
        for name in islice(self.store.list(prefix, after=start), limit):
            with suppress(ObjectMissing):
                yield decode(FeedbackItem, self.store.get(name).data)

    def delete(self, account: str, classifier_id: str, item_id: str | None) -> int:
        """Delete one item of feedback, or all of them; the number of deleted items."""
        prefix = retraining_keys.feedback_of(account, classifier_id)
        if item_id is not None:
            prefix = retraining_keys.feedback_item(account, classifier_id, _digest(item_id))
        names = list(self.store.list(prefix))
        for name in names:
            outcome = self._outcome(name) if item_id is not None else None
            self.store.delete(name)
            if outcome is not None:
                self.store.delete(_key(account, classifier_id, outcome))
        if item_id is None:
            for name in list(self.store.list(retraining_keys.outcomes_of(account, classifier_id))):
                self.store.delete(name)
        return len(names)

    def outcomes(
        self, account: str, classifier_id: str, *, version: int | None = None, first: int = 0
    ) -> Iterator[FeedbackOutcome]:
        """The outcomes of all versions from `first` on or of one, by version, then oldest first.

        An item has one outcome of a version, its newest: those of one version are in memory.
        """
        found = self._listed_outcomes(account, classifier_id, version, first)
        for _, group in groupby(found, lambda each: each.version):
            newest: dict[str, FeedbackOutcome] = {}
            for each in group:
                newest.pop(each.digest, None)  # a replaced item has its place by its new time
                newest[each.digest] = each
            yield from newest.values()

    def request_check(self, account: str, classifier_id: str) -> None:
        """Have the keeper compare the live version with the one before."""
        self.store.put(retraining_keys.live_check(account, classifier_id, ids.token()), b"")

    def check_requests(self) -> Iterator[LiveCheckRequest]:
        """What the keeper is to check; a request stays until `drop_request`."""
        for name in self.store.list(retraining_keys.LIVE_CHECKS):
            account, classifier_id, _ = name.removeprefix(retraining_keys.LIVE_CHECKS).rsplit(
                ".", 2
            )
            yield LiveCheckRequest(name, account, classifier_id)

    def drop_request(self, request: LiveCheckRequest) -> None:
        """Remove a request that was done."""
        self.store.delete(request.key)

    def _listed_outcomes(
        self, account: str, classifier_id: str, version: int | None, first: int
    ) -> Iterator[FeedbackOutcome]:
        """The outcomes by the names of their objects, in the order of these."""
        prefix = retraining_keys.outcomes_of(account, classifier_id)
        if version is not None:
            prefix = retraining_keys.outcomes_of_version(account, classifier_id, version)
        skipped = len(retraining_keys.outcomes_of(account, classifier_id))
        start = retraining_keys.outcomes_of_version(account, classifier_id, first)
        for name in self.store.list(prefix, after=start):
            number, _, rest = name[skipped:].partition("/")
            ms, digest, correct = rest.split(".")
            at = datetime.fromtimestamp(int(ms) / 1000, UTC)
            yield FeedbackOutcome(int(number), at, digest, correct == "1")

    def _outcome(self, name: str) -> FeedbackOutcome | None:
        """The outcome of a stored item, by the name of its object."""
        with suppress(ObjectMissing):
            item = decode(FeedbackItem, self.store.get(name).data)
            return outcome_of(item, _digest(item.id))
        return None


def _key(account: str, classifier_id: str, outcome: FeedbackOutcome) -> str:
    return retraining_keys.outcome(
        account,
        classifier_id,
        version=outcome.version,
        ms=int(outcome.at.timestamp() * 1000),
        digest=outcome.digest,
        correct=outcome.correct,
    )


def _digest(item_id: str) -> str:
    return hashlib.sha256(item_id.encode()).hexdigest()
