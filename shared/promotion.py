"""Promotion: the alias of a classifier moves to the version that a run made, or does not."""

from __future__ import annotations

from datetime import datetime

from shared.classifier_record import PREVIOUS, Classifier, Version, promoted, rejected
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict
from shared.ids import ClassifierRef
from shared.retraining import RetrainingState, Rollback, Run
from shared.retraining_store import RetrainingStore
from shared.webhook_store import WebhookStore


def live_version(record: Classifier, alias: str) -> Version:
    """The version that callers of the alias get: the latest, until the alias exists."""
    number = record.aliases.get(alias)
    return record.latest if number is None else record.find(ClassifierRef(record.id, number, None))


def promote(records: ClassifierStore, run: Run, *, alias: str, now: datetime) -> Classifier:
    """Move the alias to the challenger of a run, unless it was moved since the run began.

    Raises:
        Conflict: The alias points to another version than the champion of the run, or the
            challenger was rejected.
        NotFound: The classifier or the challenger was deleted.
    """

    def moved(record: Classifier) -> Classifier:
        version = record.find(ClassifierRef(record.id, run.challenger, None))
        if version.promoted_by == run.id:
            return record  # by an earlier attempt; the alias may have moved on since then
        if version.rejected_by == run.id:
            raise Conflict(f"version {version.number} was rejected meanwhile")
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
        Conflict: It was promoted.
        NotFound: The classifier was deleted.
    """
    number = run.challenger
    if number is None:
        return

    def marked(record: Classifier) -> Classifier:
        if any(each.number == number and each.promoted_by == run.id for each in record.versions):
            raise Conflict(f"version {number} was promoted meanwhile")
        return rejected(record, number, run=run.id)

    records.change(run.account, run.classifier_id, marked)


def roll_back(
    records: ClassifierStore,
    account: str,
    classifier_id: str,
    *,
    alias: str,
    live: int | None = None,
    to: int | None = None,
) -> int:
    """Move the alias back to the version before the last promotion; the number of that version.

    After a rollback, `previous` names the version that the alias left. `to` names the version to
    go back to in its place.

    Args:
        records: The classifiers.
        account: The owner.
        classifier_id: The classifier.
        alias: The alias.
        live: The version that it must point to; None: any.
        to: The version that it points to then; None: the one that `previous` names.

    Raises:
        Conflict: There is no version to go back to, `to` was deleted, or the alias points to
            another version.
        NotFound: The classifier was deleted.
    """

    def back(record: Classifier) -> Classifier:
        current = record.aliases.get(alias)
        target = record.aliases.get(PREVIOUS) if to is None else to
        if target is None or current is None or target == current:
            raise Conflict("there is no promotion to undo: no alias `previous` names a version")
        if live not in {None, current}:
            raise Conflict(f"the alias {alias!r} points to version {current}, not to {live}")
        if all(each.number != target for each in record.versions):
            raise Conflict(f"version {target} was deleted; available versions: {record.kept}")
        return record.model_copy(
            update={"aliases": {**record.aliases, alias: target, PREVIOUS: current}}
        )

    return records.change(account, classifier_id, back).aliases[alias]


def record_rollback(
    retrainings: RetrainingStore, webhooks: WebhookStore, run: Run, rollback: Rollback
) -> Run:
    """Say in the state of the retraining, to webhooks and in the run that it was moved back.

    May be repeated, also at the same time: the rollback of a run that the state has holds, and a
    run that was moved back since it was read stays as it is.
    """

    def change(state: RetrainingState) -> RetrainingState:
        before = state.last_rollback
        if before is not None and before.run == run.id and run.rolled_back_at is None:
            return state
        return state.model_copy(update={"last_rollback": rollback})

    state = retrainings.change_state(run.account, run.classifier_id, change)
    rollback = state.last_rollback or rollback
    changes = {"rolled_back_at": rollback.at, "rollback_reason": rollback.reason}
    webhooks.announce_run(run.model_copy(update=changes), "retraining.rolled_back", rollback.at)

    def moved_back(now: Run) -> Run:
        return now.model_copy(update=changes) if now.rolled_back_at == run.rolled_back_at else now

    return retrainings.change_run(run, moved_back)
