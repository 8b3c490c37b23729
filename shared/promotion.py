"""Promotion: the alias of a classifier moves to the version that a run made, or does not."""

from __future__ import annotations

from datetime import datetime

from shared.classifier_record import PREVIOUS, Classifier, Version, promoted, rejected
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict
from shared.ids import ClassifierRef
from shared.retraining import Run


def live_version(record: Classifier, alias: str) -> Version:
    """The version that callers of the alias get: the latest, until the alias exists."""
    number = record.aliases.get(alias)
    return record.latest if number is None else record.find(ClassifierRef(record.id, number, None))


def promote(records: ClassifierStore, run: Run, *, alias: str, now: datetime) -> Classifier:
    """Move the alias to the challenger of a run, unless it was moved since the run began.

    Raises:
        Conflict: The alias points to another version than the champion of the run.
        NotFound: The classifier or the challenger was deleted.
    """

    def moved(record: Classifier) -> Classifier:
        version = record.find(ClassifierRef(record.id, run.challenger, None))
        if version.promoted_by == run.id:
            return record  # by an earlier attempt; the alias may have moved on since then
        live = live_version(record, alias)
        if live.number != run.champion:
            raise Conflict(
                f"the alias {alias!r} points to version {live.number}, but the run compared with "
                f"version {run.champion}: it was moved during the run"
            )
        labels = records.report(record, version.file).labels
        return promoted(record, version, alias=alias, run=run.id, labels=labels, now=now)

    return records.change(run.account, run.classifier_id, moved)


def reject(records: ClassifierStore, run: Run) -> None:
    """Mark the challenger of a run as rejected.

    Raises:
        NotFound: The classifier was deleted.
    """
    if run.challenger is not None:
        number = run.challenger
        records.change(
            run.account, run.classifier_id, lambda record: rejected(record, number, run=run.id)
        )


def roll_back(records: ClassifierStore, account: str, classifier_id: str, *, alias: str) -> int:
    """Move the alias back to the version before the last promotion; the number of that version.

    Raises:
        Conflict: There is no version to go back to.
        NotFound: The classifier was deleted.
    """

    def back(record: Classifier) -> Classifier:
        previous, current = record.aliases.get(PREVIOUS), record.aliases.get(alias)
        if previous is None or current is None or previous == current:
            raise Conflict("there is no promotion to undo: no alias `previous` names a version")
        return record.model_copy(
            update={"aliases": {**record.aliases, alias: previous, PREVIOUS: current}}
        )

    return records.change(account, classifier_id, back).aliases[alias]
