"""The record of a classifier: its versions and aliases, and the changes to it. Pure.

The weights of a version are immutable, and versions count 1, 2, 3, … A candidate is a version that
has a number but is not live: the latest is the highest version that is no candidate. A rollback
adds a version that repeats an old one, so that no training is lost. `shared.classifier_store`
stores the record and resolves concurrent writes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.errors import Conflict, FieldError, InvalidRequest, NotFound
from shared.ids import LATEST, ClassifierRef, is_classifier_id
from shared.types import Access, ClassifierVersion, Value

SCHEMA = 1
MAX_NAME_CHARS = 128
MAX_DESCRIPTION_CHARS = 2000
MAX_ALIASES = 16
PREVIOUS = "previous"  # the alias of the version that was live before the last promotion
_NAME = re.compile(rf"[^@\s/]{{1,{MAX_NAME_CHARS}}}")
_ALIAS = re.compile(r"(?!v\d)[a-z][a-z0-9-]{0,63}")
_REMEMBERED = 256  # jobs whose version is recorded, so that a redelivered job does not learn twice

MadeBy = Literal["train", "rebuild", "relabel", "import", "rollback", "retrain"]


class Version(Value):
    """One version: the file of its weights, and the versions whose examples are in it.

    `learnt` holds ranges of versions, both ends included, whose examples are in this one, in order.
    A relabelled version has no examples of its own, and changes the labels of the versions before
    it.
    """

    number: int
    file: str
    model: str
    made_by: MadeBy
    of: int | None = None  # the version that a rollback repeats
    created_at: datetime
    samples: int  # examples in the version, over all train calls
    label_count: int
    accuracy: float | None = None  # progressive accuracy over the train call that made the version
    learnt: tuple[tuple[int, int], ...] = ()
    candidate: bool = False  # not live until it is promoted
    promoted_by: str | None = None  # the run that promoted it
    rejected_by: str | None = None  # the run that rejected it
    # How it changed the labels of the version before it: new names by old ones, None if removed.
    relabelled: dict[str, str | None] = Field(
        default_factory=dict, exclude_if=lambda changes: not changes
    )


class Classifier(Value):
    """The record of a classifier. `jobs`: the version that each recent job made."""

    schema_number: int = SCHEMA
    id: str
    account: str
    name: str | None = None
    description: str = ""
    access: Access = "private"
    keep_examples: bool = False
    closed_labels: bool = False
    observe: bool = True  # count what it classifies, for drift
    labels: tuple[str, ...]  # of the latest version
    versions: tuple[Version, ...]  # ascending
    aliases: dict[str, int] = Field(default_factory=dict)
    jobs: dict[str, int] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime

    @property
    def latest(self) -> Version:
        """The version of a reference that names none: the highest that is no candidate."""
        return next(each for each in reversed(self.versions) if not each.candidate)

    @property
    def next_number(self) -> int:
        """The number of the next version; the highest version is always kept."""
        return self.versions[-1].number + 1

    def find(self, ref: ClassifierRef) -> Version:
        """The version to which a reference to this classifier points.

        Raises:
            NotFound: There is no such version or alias, or the version was deleted.
        """
        number = ref.version
        if ref.alias is not None:
            number = self.aliases.get(ref.alias)
            if number is None:
                raise NotFound(f"the classifier has no alias {ref.alias!r}")
        if number is None:
            return self.latest
        found = next((v for v in self.versions if v.number == number), None)
        if found is None:
            raise NotFound(
                f"the classifier has no version {number}; available versions: {self.kept}"
            )
        return found

    @property
    def kept(self) -> str:
        """The numbers of the available versions, in words: `1, 4 to 23`."""
        return _ranges([version.number for version in self.versions])

    def led_to(self, version: Version) -> tuple[Version, ...]:
        """The available versions from which one was trained, and that version; oldest first.

        Versions that a rollback skipped, and versions of another model, are not included.
        """
        learnt = {n for first, last in version.learnt for n in range(first, last + 1)}
        return tuple(
            each
            for each in self.versions
            if each.number == version.number
            or (
                each.number < version.number
                and each.model == version.model
                and each.learnt  # its last learnt range is its own, or that of its origin
                and each.learnt[-1][1] in learnt
            )
        )

    def relabelled_before(self, version: Version) -> tuple[Version, ...]:
        """The available versions that changed labels which a version has, oldest first."""
        learnt = {n for first, last in version.learnt for n in range(first, last + 1)}
        first = min(learnt, default=0)  # a rebuild has learnt all examples under the names it found
        rebuilt = any(each.number == first and each.made_by == "rebuild" for each in self.versions)
        return tuple(
            each
            for each in self.versions
            if each.relabelled
            and each.number <= version.number
            and (each.number in learnt or (rebuilt and each.number < first))
        )

    def weights(self, version: Version) -> ClassifierVersion:
        """The location of the weights of a version."""
        return ClassifierVersion(
            account=self.account,
            classifier_id=self.id,
            version=version.number,
            file=version.file,
            observe=self.observe,
        )

    def files(self) -> frozenset[str]:
        """The files of all available versions; a rollback shares the file of its origin."""
        return frozenset(version.file for version in self.versions)


def with_version(
    record: Classifier,
    version: Version,
    *,
    labels: tuple[str, ...],
    keep: int,
    job_id: str | None = None,
) -> Classifier:
    """The record with one more version. Beyond `keep`, rejected candidates are removed first and
    then the oldest versions, except those with an alias and the latest. A candidate does not change
    the labels of the record.

    Raises:
        ValueError: The version's number is not the next one.
    """
    if version.number != record.next_number:
        raise ValueError(f"version {version.number} cannot follow {record.next_number - 1}")
    versions = _within((*record.versions, version), frozenset(record.aliases.values()), keep)
    jobs = dict(record.jobs)
    if job_id is not None:
        jobs[job_id] = version.number
        for oldest in sorted(jobs, key=lambda job: jobs[job])[:-_REMEMBERED]:
            del jobs[oldest]
    changes = {
        "versions": versions,
        "labels": record.labels if version.candidate else labels,
        "jobs": jobs,
        "updated_at": version.created_at,
    }
    return record.model_copy(update=changes)


def rolled_back(
    record: Classifier, to: Version, *, labels: tuple[str, ...], now: datetime, keep: int
) -> Classifier:
    """The record with a new version that repeats an old one."""
    again = to.model_copy(
        update={
            "number": record.next_number,
            "made_by": "rollback",
            "candidate": False,
            "promoted_by": None,
            "rejected_by": None,
            "of": to.number,
            "relabelled": {},
            "created_at": now,
        }
    )
    return with_version(record, again, labels=labels, keep=keep)


def promoted(
    record: Classifier,
    version: Version,
    *,
    alias: str,
    run: str,
    labels: tuple[str, ...],
    now: datetime,
) -> Classifier:
    """The record after a run promoted a version: `alias` points to it, and `previous` to the
    version to which the alias pointed before, so that it stays available.

    Args:
        record: The record.
        version: The version.
        alias: The alias of the live version.
        run: The run that promotes it.
        labels: The labels of the version.
        now: The time of the promotion.
    """
    before = record.aliases.get(alias, record.latest.number)
    aliases = {**record.aliases, alias: version.number}
    if before != version.number:
        aliases[PREVIOUS] = before
    changes = {"candidate": False, "promoted_by": run, "rejected_by": None}
    after = record.model_copy(
        update={
            "versions": _changed(record, version.number, changes),
            "aliases": aliases,
            "updated_at": now,
        }
    )
    latest = after.latest.number == version.number
    return after.model_copy(update={"labels": labels}) if latest else after


def rejected(record: Classifier, number: int, *, run: str) -> Classifier:
    """The record with a candidate marked as rejected by a run; nothing else changes."""
    versions = _changed(record, number, {"rejected_by": run})
    return record.model_copy(update={"versions": versions})


def learnt_after(
    record: Classifier, number: int, *, base: Version | None = None
) -> tuple[tuple[int, int], ...]:
    """The ranges of versions whose examples are in a version trained on `base`, or on the latest.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> v = Version(number=3, file="f", model="m", made_by="rollback", of=1, created_at=now,
    ...             samples=4, label_count=2, learnt=((1, 1),))
    >>> record = Classifier(id="x", account="a", labels=("p", "q"), versions=(v,), created_at=now,
    ...                     updated_at=now)
    >>> learnt_after(record, 4)
    ((1, 1), (4, 4))
    """
    ranges = (base or record.latest).learnt
    if ranges and ranges[-1][1] == number - 1:
        return (*ranges[:-1], (ranges[-1][0], number))
    return (*ranges, (number, number))


def check_name(name: str, *, field: str = "name") -> None:
    """Refuse an invalid name of a classifier.

    Raises:
        InvalidRequest: It is empty or too long, has a space, `@`, `/` or an invisible character, or
            has the form of an id or of a path segment such as `..`.
    """
    if _NAME.fullmatch(name) is None or not name.isprintable():
        _refuse(field, f"must have 1 to {MAX_NAME_CHARS} characters, without spaces, '@' or '/'")
    if name in {".", ".."}:  # HTTP clients remove these from a URL
        _refuse(field, "must not consist of dots only")
    if is_classifier_id(name.lower()):
        _refuse(field, "must not have the form of a classifier id")


def check_description(text: str, *, field: str = "description") -> None:
    """Refuse a description that is too long.

    Raises:
        InvalidRequest: It is.
    """
    if len(text) > MAX_DESCRIPTION_CHARS:
        most = f"at most {MAX_DESCRIPTION_CHARS} characters are allowed"
        _refuse(field, f"{most}, got {len(text)}: shorten it")


def check_aliases(record: Classifier, aliases: dict[str, int | None]) -> dict[str, int]:
    """The aliases of the record after a change; None removes one.

    Raises:
        InvalidRequest: An alias is malformed, there are too many, or a version does not exist.
    """
    after = dict(record.aliases)
    known = {version.number for version in record.versions}
    for alias, number in aliases.items():
        field = f"aliases[{alias[:40]}]"
        if alias == LATEST and number is not None:
            _refuse(field, "is reserved: name@latest always means the latest version")
        if _ALIAS.fullmatch(alias) is None:
            _refuse(
                field,
                "must be a name such as 'champion': a-z, 0-9 and '-', first a letter; a version "
                "such as v3 is not allowed",
            )
        if number is None:
            after.pop(alias, None)
        elif number in known:
            after[alias] = number
        else:
            _refuse(field, f"there is no version {number}; available versions: {record.kept}")
    if len(after) > MAX_ALIASES:
        _refuse("aliases", f"at most {MAX_ALIASES} aliases are allowed")
    return after


def check_model(record: Classifier, model: str, *, version: Version | None = None) -> None:
    """Refuse a model that differs from the model of the version, or of the latest version.

    Raises:
        Conflict: The models differ.
    """
    learnt_with = (version or record.latest).model
    if model != learnt_with:
        message = f"the classifier was trained with {learnt_with}, not with {model}"
        raise Conflict(
            f"model: {message}; leave the model out, or rebuild the classifier",
            fields=(FieldError(field="model", message=message),),
        )


def _within(versions: tuple[Version, ...], named: frozenset[int], keep: int) -> tuple[Version, ...]:
    """At most `keep` of the versions, and those with an alias."""
    live = max((each.number for each in versions if not each.candidate), default=0)
    longest_kept = sorted(versions, key=lambda each: (each.rejected_by is not None, -each.number))
    kept = named | {live, versions[-1].number} | {each.number for each in longest_kept[:keep]}
    return tuple(each for each in versions if each.number in kept)


def _changed(record: Classifier, number: int, changes: dict[str, object]) -> tuple[Version, ...]:
    return tuple(
        each.model_copy(update=changes) if each.number == number else each
        for each in record.versions
    )


def digest(name: str) -> str:
    """The digest under which a name is stored."""
    return hashlib.sha256(name.encode()).hexdigest()


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words.

    >>> _ranges([1, 4, 5, 6])
    '1, 4 to 6'
    """
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)


def _refuse(field: str, message: str) -> None:
    raise InvalidRequest(f"{field}: {message}", fields=(FieldError(field=field, message=message),))
