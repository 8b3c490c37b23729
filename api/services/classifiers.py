"""The use cases of classifiers: list, get, use, change and delete. Training is a job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from api.schemas.classifier import ClassifierChangeBody
from api.services.hit_counter import HitCount, used
from shared import object_keys, service_clock
from shared.classifier_record import Classifier, Version, check_aliases, rolled_back
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict, NotFound
from shared.ids import ClassifierRef, parse_ref
from shared.ports import ObjectStore
from shared.tiers import NO_LIMITS, Tier
from shared.types import NewClassifier
from shared.validation import refuse

_READERS = 8  # of a listing: one after the other, 100 rows take a second on S3


@dataclass(frozen=True, kw_only=True)
class ClassifierService:
    """Classifiers as accounts see them. `clock` gives seconds since 1970, `tier_of` the tier of an
    account, whose limit on classifiers holds besides `max_classifiers`.
    """

    store: ObjectStore
    max_classifiers: int
    versions_kept: int
    tier_of: Callable[[str], Tier] = lambda _: NO_LIMITS
    clock: Callable[[], float] = service_clock.now

    @property
    def records(self) -> ClassifierStore:
        """The records on the store."""
        return ClassifierStore(store=self.store, clock=self.clock)

    def usable(self, account: str, ref: str) -> tuple[Classifier, Version]:
        """The version that a reference means, of the caller's classifier or a public one.

        Raises:
            InvalidRequest: The reference has no form that one has.
            NotFound: The caller may use no such classifier, or it has no such version.
        """
        parsed = parse_ref(ref)
        record = self.records.usable(account, parsed)
        return record, record.find(parsed)

    def own(self, account: str, ref: str) -> tuple[Classifier, Version]:
        """As `usable`, but only the caller's own."""
        parsed = parse_ref(ref)
        record = self.records.own(account, parsed)
        return record, record.find(parsed)

    def whole(self, account: str, ref: str) -> Classifier:
        """As `own`, for what is done to a classifier and not to one of its versions.

        Raises:
            InvalidRequest: The reference names a version or an alias.
            NotFound: As for `own`.
        """
        parsed = parse_ref(ref)
        if parsed.version is not None or parsed.alias is not None:
            refuse(
                "classifier_id",
                "must not include a version, because this applies to the whole classifier: "
                "remove '@' and what follows it",
            )
        return self.records.own(account, parsed)

    def listing(self, account: str) -> list[tuple[Classifier, HitCount]]:
        """The caller's classifiers, newest first, and how often each was asked."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="listing") as readers:
            rows = list(
                readers.map(lambda each: self._row(account, each), self.records.ids(account))
            )
        found = [row for row in rows if row is not None]
        return sorted(found, key=lambda row: (row[0].created_at, row[0].id), reverse=True)

    def used(self, record: Classifier) -> HitCount:
        """How often a classifier was asked."""
        return used(self.store, record.account, record.id)

    def change(self, account: str, ref: str, body: ClassifierChangeBody) -> Classifier:
        """Change what is said of one of the caller's classifiers.

        Raises:
            InvalidRequest: An alias is wrong, or means no version.
            Conflict: Another of the caller's classifiers has the name.
            NotFound: As for `own`.
        """

        def changed(record: Classifier) -> Classifier:
            fields = body.model_dump(include=set(body.given))
            if "aliases" in fields:
                fields["aliases"] = check_aliases(record, body.aliases)
            after = record.model_copy(update=fields)
            return record if after == record else self._now(after)

        return self.records.change(account, self.whole(account, ref).id, changed)

    def roll_back(
        self, account: str, ref: str, *, version: int | None, alias: str | None
    ) -> Classifier:
        """Make a new version that is an old one again; the reference or the rest says which.

        Raises:
            InvalidRequest: None is named, or more than one.
            NotFound: As for `own`; also if the version is no longer kept.
            Conflict: The latest version is that one.
        """
        target = _target(parse_ref(ref), version, alias)

        def back(record: Classifier) -> Classifier:
            to = record.find(target)
            if to.file == record.latest.file:
                raise Conflict(f"the latest version, {record.latest.number}, is that one already")
            labels = self.records.report(record, to.file).labels
            now = datetime.fromtimestamp(self.clock(), UTC)
            return rolled_back(record, to, labels=labels, now=now, keep=self.versions_kept)

        return self.records.change(account, self.records.own(account, target).id, back)

    def delete(self, account: str, ref: str) -> None:
        """Delete one of the caller's classifiers, with all its versions and what it kept.

        Raises:
            InvalidRequest: The reference names a version.
            NotFound: As for `own`.
        """
        self.records.delete(self.whole(account, ref))

    def keeps_examples(self, record: Classifier) -> bool:
        """Whether any examples of a classifier are kept, whatever is to be kept from now on."""
        return any(self.store.list(object_keys.examples(record.account, record.id)))

    def forget_examples(self, account: str, ref: str) -> int:
        """Keep no more examples of one of the caller's classifiers, and delete those there are.

        In this order, and whether or not any are to be kept: what an interruption left behind goes
        when the call is repeated.

        Returns:
            How many calls' examples were deleted.

        Raises:
            InvalidRequest: The reference names a version.
            NotFound: As for `own`.
        """
        record = self.whole(account, ref)

        def forgetful(record: Classifier) -> Classifier:
            after = record.model_copy(update={"keep_examples": False})
            return record if after == record else self._now(after)

        self.records.change(account, record.id, forgetful)
        names = list(self.store.list(object_keys.examples(account, record.id)))
        for name in [*self.store.list(object_keys.embeddings(account, record.id)), *names]:
            self.store.delete(name)
        return len(names)

    def check_new(self, account: str, new: NewClassifier) -> None:
        """Refuse a classifier that could not be made; the training job checks the name again.

        Raises:
            Conflict: The caller has another of the name.
            ResourceLimitExceeded: The account has as many as its tier allows.
        """
        self.records.check_new(
            account, new, most=self.tier_of(account).max_classifiers(self.max_classifiers)
        )

    def _row(self, account: str, classifier_id: str) -> tuple[Classifier, HitCount] | None:
        try:
            record, _ = self.records.load(account, classifier_id)
        except NotFound:
            return None  # deleted meanwhile, or what is left of one that was
        return record, self.used(record)

    def _now(self, record: Classifier) -> Classifier:
        """The record as one that was changed just now."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        return record.model_copy(update={"updated_at": now})


def _target(ref: ClassifierRef, version: int | None, alias: str | None) -> ClassifierRef:
    """The version that a rollback means, whichever of three places names it.

    Raises:
        InvalidRequest: None of them does, or more than one.
    """
    named = ref.version is not None or ref.alias is not None
    if version is None and alias is None:
        if not named:
            refuse("version", 'is missing: send {"version": 3} or {"alias": "champion"}')
        return ref
    if named:
        refuse(
            "version" if alias is None else "alias",
            "conflicts with the version in the path: send only one of them",
        )
    return ref._replace(version=version, alias=alias)
