"""The last phase of a run: the alias moves or does not, and what the run leaves is stored.

    alias or mark on the record of the classifier → snapshot → state → record of the run
        → deletion of the snapshot before

Each step finds out whether it was done before, so that all may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from shared.classifier_record import Version
from shared.errors import Conflict
from shared.promotion import promote, reject
from shared.retraining import ENDED, Decision, RetrainingSettings, RetrainingState, Run, RunStatus
from shared.retraining_store import RetrainingStore
from workers.classifier_cache import ClassifierCache
from workers.handlers.retrain.collect import Collected
from workers.handlers.retrain.snapshot import (
    MAX_REJECTIONS,
    NewRow,
    RejectedRow,
    Snapshot,
    SnapshotStore,
)

_STATUS: dict[str, RunStatus] = {
    "promote": "promoted",
    "reject": "rejected",
    "ask": "waiting",
    "skip": "skipped",
}
_LISTED = 20  # rows set aside that the record of a run names


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What a run does once it has decided."""

    classifiers: ClassifierCache
    store: RetrainingStore
    snapshots: SnapshotStore
    settings: RetrainingSettings
    collected: Collected
    snapshot: Snapshot

    def apply(self, run: Run, *, now: datetime) -> Run:
        """Carry out the decision of the run, which is stored; the run as it ended."""
        assert run.decision is not None
        if run.dry_run or run.decision.outcome == "skip":
            return self._ended(run, "skipped", now)
        run = self._moved(run, now)
        assert run.decision is not None
        rejected, set_aside = self._left(run, run.decision)
        after = Snapshot(
            consumed=self.snapshot.consumed | set(map(bytes.fromhex, self.collected.consumed)),
            holdout=(*self.snapshot.holdout, *self.collected.held_out),
            rejected=rejected,
            set_aside=(*self.snapshot.set_aside, *self.collected.set_aside, *set_aside),
            vectors=self.snapshot.vectors,
        )
        state = self.store.state(run.account, run.classifier_id)
        if state.snapshot != run.id:  # else an earlier attempt has come so far
            self.snapshots.save(run.id, after)
            state = self.store.change_state(run.account, run.classifier_id, _snapshot(run.id))
        decided = run.decision
        run = run.model_copy(
            update={
                "counts": run.counts.model_copy(update={"set_aside": len(after.set_aside)}),
                "set_aside": tuple(row.place for row in after.set_aside[-_LISTED:]),
            }
        )
        run = self._ended(run, _STATUS[decided.outcome], now)
        # Last: a second attempt reads it; so does the next run, where this one was cancelled.
        if self.collected.base is not None and state.snapshot == run.id:
            self.snapshots.delete(self.collected.base)
        return run

    def _moved(self, run: Run, now: datetime) -> Run:
        """Promote the challenger or mark it; where the alias has moved meanwhile, it is marked."""
        assert run.decision is not None
        records = self.classifiers.records
        if run.decision.outcome == "promote":
            try:
                promote(records, run, alias=self.settings.alias, now=now)
            except Conflict as exc:
                run = self.store.change_run(run, _refused(run.decision, exc.detail))
        if run.decision is not None and run.decision.outcome == "reject":
            reject(records, run)
        return run

    def _left(
        self, run: Run, decision: Decision
    ) -> tuple[tuple[RejectedRow, ...], tuple[NewRow, ...]]:
        """The rows that the next run tries again, and those that are set aside."""
        new = [RejectedRow(row=row) for row in self.collected.new]
        again = list(self.collected.rejected)
        alone = run.rejected_rows == "without"
        if decision.outcome == "reject":
            return _set_aside([_rejected(each) for each in (*again, *new)], self.collected.live)
        learnt = [
            each.model_copy(update={"waiting": run.id, "version": run.challenger})
            for each in (new if alone else [*again, *new])
        ]
        learnt += [_rejected(each) for each in again] if alone else []
        # Once this one is promoted, an earlier one cannot be rolled back.
        live = self.collected.live if decision.outcome == "ask" else ()
        return _set_aside(learnt, live)

    def _ended(self, run: Run, status: RunStatus, now: datetime) -> Run:
        run = self.store.end_run(run.model_copy(update={"status": status, "finished_at": now}))
        state = self.store.state(run.account, run.classifier_id)
        for old in islice(
            self.store.run_ids(run.account, run.classifier_id), self.settings.keep_runs, None
        ):
            if old != state.snapshot:  # the next run reads it, however many were skipped since
                self.store.delete_run(run.account, run.classifier_id, old)
        return run


def resolved(
    rows: tuple[RejectedRow, ...], champion: Version, run_of: Callable[[str], Run | None]
) -> tuple[tuple[RejectedRow, ...], tuple[RejectedRow, ...], tuple[NewRow, ...]]:
    """The rows to try again, those that only the champion's last run has learnt, and those to set
    aside: waiting runs were decided meanwhile, and promotions undone.
    """
    runs = {name: run_of(name) for name in {each.waiting for each in rows if each.waiting}}
    again: list[RejectedRow] = []
    live: list[RejectedRow] = []
    for each in rows:
        run = runs.get(each.waiting) if each.waiting else None
        if each.version is None and run is not None:  # written before rows had a version
            each = each.model_copy(update={"version": run.challenger})
        if each.version is not None and _learnt(champion, each.version):
            if each.version == champion.number:
                live.append(each)
        elif each.waiting is None or (run is not None and run.status == "waiting"):
            again.append(each)
        else:
            again.append(_rejected(each))
    kept, set_aside = _set_aside(again)
    return kept, tuple(live), set_aside


def _learnt(champion: Version, number: int) -> bool:
    """Whether the champion is a version, or was trained from it."""
    return any(first <= number <= last for first, last in champion.learnt)


def _rejected(row: RejectedRow) -> RejectedRow:
    return row.model_copy(
        update={"rejections": row.rejections + 1, "waiting": None, "version": None}
    )


def _set_aside(
    rows: list[RejectedRow], live: tuple[RejectedRow, ...] = ()
) -> tuple[tuple[RejectedRow, ...], tuple[NewRow, ...]]:
    kept = tuple(each for each in rows if each.rejections < MAX_REJECTIONS)
    set_aside = tuple(each.row for each in rows if each.rejections >= MAX_REJECTIONS)
    return (*kept, *live), set_aside


def _refused(promoting: Decision, reason: str) -> Callable[[Run], Run]:
    """The run promotes nothing, unless another attempt has changed its decision meanwhile."""
    decision = Decision(outcome="reject", reasons=(reason, *promoting.reasons))

    def refused(now: Run) -> Run:
        if now.status in ENDED or now.decision != promoting:
            return now
        return now.model_copy(update={"decision": decision})

    return refused


def _snapshot(run_id: str) -> Callable[[RetrainingState], RetrainingState]:
    """The snapshot of the run holds, unless another attempt has ended the run meanwhile."""

    def saved(state: RetrainingState) -> RetrainingState:
        return state.model_copy(update={"snapshot": run_id}) if state.active == run_id else state

    return saved
