"""Classifiers on the object store: lookup, creation, changes by compare-and-set, and deletion.

A classifier exists once its record does. Objects that are written before the record (weights, a
claim on a name) have no effect until then; orphans that remain after a deletion are collected by
the keeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from shared import deletions, object_keys, observation_keys, service_clock
from shared.classifier_record import Classifier, digest
from shared.errors import (
    Conflict,
    FieldError,
    NotFound,
    ObjectMissing,
    PreconditionFailed,
    ResourceLimitExceeded,
)
from shared.ids import ClassifierRef, is_classifier_id
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.training_results import VersionReport
from shared.types import ClassifierVersion, NewClassifier, Value

_ATTEMPTS = 100  # of a change in conflict with other writers; each of them succeeds once
_CLAIM_S = 3600.0  # after this time, a claim on a name without a classifier is void
_LONG_AGO = 0.0


class NameClaim(Value):
    """The claim of a classifier on a name."""

    id: str
    at: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class ClassifierStore:
    """The classifiers of all accounts. `clock` returns seconds since 1970.

    With `accepted_at`, the time at which a job was accepted, classifiers that were deleted later
    are still readable.
    """

    store: ObjectStore
    clock: Callable[[], float] = service_clock.now
    accepted_at: float | None = None

    def load(self, account: str, classifier_id: str) -> tuple[Classifier, str]:
        """The record and its ETag.

        Raises:
            NotFound: The account has no such classifier.
        """
        try:
            name = object_keys.classifier(account, classifier_id)
            found = deletions.read(self.store, name, accepted_at=self.accepted_at)
        except ObjectMissing:
            raise _unknown() from None
        return decode(Classifier, found.data), found.etag

    def own(self, account: str, ref: ClassifierRef) -> Classifier:
        """The account's classifier with an id or name.

        Raises:
            NotFound: The account has none; the error does not tell whether another account has one.
        """
        if is_classifier_id(ref.name):
            return self.load(account, ref.name)[0]
        try:
            claim = decode(
                NameClaim, self.store.get(object_keys.name(account, digest(ref.name))).data
            )
        except ObjectMissing:
            raise _unknown() from None
        record, _ = self.load(account, claim.id)
        if record.name != ref.name:
            raise _unknown()
        return record

    def usable(self, account: str, ref: ClassifierRef) -> Classifier:
        """A classifier that the account may use: its own, or a public one by id.

        Raises:
            NotFound: There is none.
        """
        try:
            return self.own(account, ref)
        except NotFound:
            if not is_classifier_id(ref.name):
                raise
        try:
            owner = self.store.get(object_keys.public(ref.name)).data.decode()
        except ObjectMissing:
            raise _unknown() from None
        record, _ = self.load(owner, ref.name)
        if record.access != "public":
            raise _unknown()
        return record

    def ids(self, account: str) -> Iterator[str]:
        """The ids of the account's classifiers, and of remains of deleted ones."""
        return self.store.children(object_keys.classifiers_of(account))

    def all(self, account: str) -> Iterator[Classifier]:
        """The account's classifiers, by id."""
        for classifier_id in self.ids(account):
            with suppress(NotFound):
                yield self.load(account, classifier_id)[0]

    def check_new(self, account: str, new: NewClassifier, *, most: int) -> None:
        """Refuse an invalid new classifier; its creation checks the name again.

        Raises:
            Conflict: The account has another classifier with the name.
            ResourceLimitExceeded: The account has `most` classifiers, the maximum.
        """
        if new.name is not None and self._has(account, new.name):
            raise _taken(new.name)
        # The listing includes remains of deleted ones, so a listing at the limit is verified.
        listed = sum(1 for _ in islice(self.ids(account), most))
        if listed >= most and sum(1 for _ in islice(self.all(account), most)) >= most:
            raise ResourceLimitExceeded(
                f"an account may have at most {most} classifiers (max_classifiers); delete one "
                "first"
            )

    def report(self, record: Classifier, file: str) -> VersionReport:
        """The report of a version.

        Raises:
            NotFound: The version was deleted.
        """
        return self._report(record.account, record.id, file)

    def labels(self, version: ClassifierVersion) -> tuple[str, ...]:
        """The labels of a version.

        Raises:
            NotFound: The version was deleted.
        """
        return self._report(version.account, version.classifier_id, version.file).labels

    def _report(self, account: str, classifier_id: str, file: str) -> VersionReport:
        try:
            name = object_keys.report(account, classifier_id, file)
            data = deletions.read(self.store, name, accepted_at=self.accepted_at).data
        except ObjectMissing:
            raise NotFound("the version was deleted") from None
        return decode(VersionReport, data)

    def create(self, record: Classifier) -> bool:
        """Create a classifier; False if it exists already.

        Raises:
            Conflict: The account has another classifier with the name.
        """
        if record.name is not None:
            self.claim_name(record.account, record.name, record.id)
        self._publish(record)
        try:
            self.store.put(
                object_keys.classifier(record.account, record.id), encode(record), if_absent=True
            )
        except PreconditionFailed:
            return False
        return True

    def replace(self, record: Classifier, etag: str) -> bool:
        """Write the record unless it has changed since it was read with `etag`.

        Raises:
            NotFound: It was deleted in the meantime.
        """
        name = object_keys.classifier(record.account, record.id)
        try:
            self.store.put(name, encode(record), if_match=etag)
        except (PreconditionFailed, ObjectMissing):
            try:
                self.store.get(name)
            except ObjectMissing:
                raise _unknown() from None
            return False
        return True

    def change(
        self, account: str, classifier_id: str, change: Callable[[Classifier], Classifier]
    ) -> Classifier:
        """Apply a change to the current record, with any number of concurrent writers.

        A new name is claimed before the record has it; the old name is freed afterwards.

        Raises:
            NotFound: There is no such classifier.
            Conflict: Too many concurrent changes, or another classifier has the new name.
            PigeonholeError: What the change raises.
        """
        for _ in range(_ATTEMPTS):
            record, etag = self.load(account, classifier_id)
            changed = change(record)
            if changed == record:
                return record
            if changed.name is not None and changed.name != record.name:
                self.claim_name(account, changed.name, classifier_id)
            self._publish(changed)
            if self.replace(changed, etag):
                if record.name is not None and record.name != changed.name:
                    self.free_name(account, record.name, classifier_id)
                self.drop(record, changed)
                return changed
        raise Conflict("too many concurrent changes to the classifier; try again", retry_after_s=1)

    def claim_name(self, account: str, name: str, classifier_id: str) -> None:
        """Claim a name for a classifier that has it, or is about to have it.

        Raises:
            Conflict: Another classifier of the account has it.
        """
        place = object_keys.name(account, digest(name))
        claim = encode(NameClaim(id=classifier_id, at=self.clock()))
        for _ in range(_ATTEMPTS):
            try:
                found = self.store.get(place)
            except ObjectMissing:
                condition: dict[str, Any] = {"if_absent": True}
            else:
                holder = decode(NameClaim, found.data)
                if holder.id != classifier_id and self._holds(account, holder, name):
                    raise _taken(name)
                condition = {"if_match": found.etag}
            with suppress(PreconditionFailed):
                self.store.put(place, claim, **condition)
                return
        raise _taken(name)

    def free_name(self, account: str, name: str, classifier_id: str) -> None:
        """Free a name at once that a classifier has no longer.

        The claim is not deleted, because another classifier may hold it by then. It is made old
        instead: an old claim is valid only while the record has the name.
        """
        place = object_keys.name(account, digest(name))
        with suppress(ObjectMissing, PreconditionFailed):
            found = self.store.get(place)
            if decode(NameClaim, found.data).id == classifier_id:
                old = NameClaim(id=classifier_id, at=_LONG_AGO)
                self.store.put(place, encode(old), if_match=found.etag)

    def delete(self, record: Classifier) -> None:
        """Delete a classifier: first the record, which ends its existence, then its other objects.

        The versions are deleted once no open job of any account may use them, because the
        classifier may have been public. Examples are deleted at once: no job that can still succeed
        reads them.
        """
        place = object_keys.classifier(record.account, record.id)
        versions = list(self.store.list(object_keys.versions(record.account, record.id)))
        later = [*versions, object_keys.public(record.id)]
        deletions.delete(self.store, place, later, account="", now=self.clock())
        if record.name is not None:
            self.free_name(record.account, record.name, record.id)
        for name in list(self.store.list(object_keys.classifier_prefix(record.account, record.id))):
            if name not in versions:
                self.store.delete(name)

    def drop(self, before: Classifier, after: Classifier) -> None:
        """Delete the files of versions that the record has dropped, once no open job needs them."""
        for file in sorted(before.files() - after.files()):
            report = object_keys.report(before.account, before.id, file)
            weights = object_keys.weights(before.account, before.id, file)
            reference = observation_keys.reference(before.account, before.id, file)
            place = object_keys.evaluations(before.account, before.id, file)
            evaluations = list(self.store.list(place))
            deletions.delete(
                self.store,
                report,
                [weights, reference, *evaluations],
                account="",
                now=self.clock(),
            )
            for name in list(
                self.store.list(observation_keys.observations(before.account, before.id, file))
            ):
                self.store.delete(name)

    def _has(self, account: str, name: str) -> bool:
        try:
            self.own(account, ClassifierRef(name, None, None))
        except NotFound:
            return False
        return True

    def _holds(self, account: str, claim: NameClaim, name: str) -> bool:
        """Whether the claim is valid: its classifier has the name, or claimed it recently."""
        try:
            return self.load(account, claim.id)[0].name == name or self._fresh(claim)
        except NotFound:
            return self._fresh(claim)

    def _fresh(self, claim: NameClaim) -> bool:
        return self.clock() - claim.at < _CLAIM_S

    def _publish(self, record: Classifier) -> None:
        """Publish the owner of a public classifier; the record decides about access."""
        if record.access == "public":
            self.store.put(object_keys.public(record.id), record.account.encode())


def _unknown() -> NotFound:
    return NotFound("no such classifier")


def _taken(name: str) -> Conflict:
    message = (
        f"you have another classifier called {name[:40]!r}; choose another name, or train that one "
        "by its classifier_id"
    )
    return Conflict(f"name: {message}", fields=(FieldError(field="name", message=message),))
