"""Retraining on the object store: settings, state and runs of a classifier.

The state moves by compare-and-set, and names the run whose snapshot holds: a run that dies before
has changed nothing that the next one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from shared import object_keys, retraining_keys
from shared.cron import next_tick
from shared.errors import Conflict, NotFound, ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.retraining import (
    ENDED,
    HoldoutComparison,
    RetrainingRecord,
    RetrainingState,
    Run,
    job_id_of_run,
)
from shared.types import Value

_V = TypeVar("_V", bound=Value)
_ATTEMPTS = 100  # of a change in conflict with other writers; each of them succeeds once


class DueTick(NamedTuple):
    """A tick of a schedule."""

    at: datetime
    account: str
    classifier_id: str


@dataclass(frozen=True, kw_only=True)
class RetrainingStore:
    """The retraining of all classifiers."""

    store: ObjectStore

    def load(self, account: str, classifier_id: str) -> tuple[RetrainingRecord, str]:
        """The record and its ETag.

        Raises:
            NotFound: The classifier has no retraining.
        """
        try:
            found = self.store.get(retraining_keys.retraining(account, classifier_id))
        except ObjectMissing:
            raise NotFound(
                "the classifier has no retraining; create it with PUT "
                "/v1/classifiers/{classifier_id}/retraining"
            ) from None
        return decode(RetrainingRecord, found.data), found.etag

    def replace(self, record: RetrainingRecord, etag: str) -> None:
        """Write the record unless it has changed since it was read with `etag`.

        Raises:
            Conflict: It has.
        """
        name = retraining_keys.retraining(record.account, record.classifier_id)
        try:
            self.store.put(name, encode(record), if_match=etag)
        except (PreconditionFailed, ObjectMissing):
            raise Conflict("the retraining was changed meanwhile; try again") from None

    def reschedule(
        self, record: RetrainingRecord, etag: str | None, *, after: datetime
    ) -> RetrainingRecord:
        """Write the record with the first tick after a time; the index has that tick before.

        Args:
            record: The record.
            etag: Its ETag; None writes it whatever it was before.
            after: The time.

        Raises:
            Conflict: The record has changed since it was read with `etag`.
        """
        settings = record.settings
        tick = None
        if settings.enabled and settings.schedule is not None:
            tick = next_tick(settings.schedule, settings.timezone, after)
        if tick is not None:
            self.store.put(_tick(tick, record.account, record.classifier_id), b"")
        record = record.model_copy(update={"next_tick": tick})
        if etag is None:
            self.store.put(
                retraining_keys.retraining(record.account, record.classifier_id), encode(record)
            )
        else:
            self.replace(record, etag)
        return record

    def due(self, now: datetime) -> Iterator[DueTick]:
        """The ticks of the index that are due, the earliest first."""
        for name in self.store.list(retraining_keys.TICKS):
            ms, account, classifier_id = name.removeprefix(retraining_keys.TICKS).split(".", 2)
            at = datetime.fromtimestamp(int(ms) / 1000, UTC)
            if at > now:
                return
            yield DueTick(at=at, account=account, classifier_id=classifier_id)

    def drop_tick(self, due: DueTick) -> None:
        """Remove a tick from the index."""
        self.store.delete(_tick(due.at, due.account, due.classifier_id))

    def begin(self, account: str, classifier_id: str, run_id: str) -> None:
        """Make a run the active one.

        Raises:
            Conflict: Another run has not ended.
        """

        def active(state: RetrainingState) -> RetrainingState:
            other = state.active
            if other is not None and other != run_id and not self.has_ended(account, other):
                raise Conflict(
                    f"the run {other} has not ended; wait for it, or cancel its job "
                    f"{job_id_of_run(other)}"
                )
            return state.model_copy(update={"active": run_id})

        self.change_state(account, classifier_id, active)

    def delete(self, account: str, classifier_id: str) -> None:
        """Delete the record, the runs and what they keep; feedback stays."""
        prefix = retraining_keys.retraining_prefix(account, classifier_id)
        self.store.delete(retraining_keys.retraining(account, classifier_id))
        for name in list(self.store.list(prefix)):
            self.store.delete(name)

    def state(self, account: str, classifier_id: str) -> RetrainingState:
        """What the runs have done; the empty state if there was none."""
        return self._state(account, classifier_id)[0]

    def change_state(
        self,
        account: str,
        classifier_id: str,
        change: Callable[[RetrainingState], RetrainingState],
    ) -> RetrainingState:
        """Apply a change to the state, with any number of concurrent writers.

        Raises:
            Conflict: Too many concurrent changes.
            PigeonholeError: What the change raises.
        """
        return self._change(
            retraining_keys.retraining_state(account, classifier_id),
            lambda: self._state(account, classifier_id),
            change,
        )

    def has_ended(self, account: str, run_id: str) -> bool:
        """Whether the job of a run has ended, or is gone."""
        job_id = job_id_of_run(run_id)
        if any(self.store.list(object_keys.job(account, job_id))):
            return True
        return not any(self.store.list(object_keys.open_marker(job_id)))

    def run(self, account: str, classifier_id: str, run_id: str) -> Run:
        """One run.

        Raises:
            NotFound: There is none of the id.
        """
        return self._run(account, classifier_id, run_id)[0]

    def put_run(self, run: Run) -> Run:
        """Write a run as an attempt of its job has it; the run as it is then.

        Where another attempt has overtaken this one, its run stays: one that has ended, or that has
        decided otherwise or before this one has.
        """

        def read() -> tuple[Run | None, str | None]:
            with suppress(NotFound):
                return self._run(run.account, run.classifier_id, run.id)
            return None, None

        def change(now: Run | None) -> Run:
            if now is None or (now.status not in ENDED and now.decision in {None, run.decision}):
                return run
            return now

        name = retraining_keys.run(run.account, run.classifier_id, run.id)
        return self._change(name, read, change)

    def end_run(self, run: Run) -> Run:
        """Write a run that has ended, as `put_run` does; the next one may begin."""
        run = self.put_run(run)

        def released(state: RetrainingState) -> RetrainingState:
            return state.model_copy(update={"active": None}) if state.active == run.id else state

        self.change_state(run.account, run.classifier_id, released)
        return run

    def change_run(self, run: Run, change: Callable[[Run], Run]) -> Run:
        """Apply a change to a run as it is now, with any number of concurrent writers.

        Raises:
            Conflict: Too many concurrent changes.
            NotFound: The run was deleted.
            PigeonholeError: What the change raises.
        """
        return self._change(
            retraining_keys.run(run.account, run.classifier_id, run.id),
            lambda: self._run(run.account, run.classifier_id, run.id),
            change,
        )

    def comparison(self, run: Run) -> HoldoutComparison | None:
        """What both versions of a run predict for the holdout; None if it has not compared them."""
        name = retraining_keys.run_comparison(run.account, run.classifier_id, run.id)
        try:
            return decode(HoldoutComparison, self.store.get(name).data)
        except ObjectMissing:
            return None

    def put_comparison(self, run: Run, comparison: HoldoutComparison) -> None:
        """Keep what both versions of a run predict for the holdout."""
        name = retraining_keys.run_comparison(run.account, run.classifier_id, run.id)
        self.store.put(name, encode(comparison))

    def run_ids(self, account: str, classifier_id: str, *, after: str = "") -> Iterator[str]:
        """The ids of the runs, newest first."""
        return self.store.children(retraining_keys.runs_of(account, classifier_id), after=after)

    def delete_run(self, account: str, classifier_id: str, run_id: str) -> None:
        """Delete a run, its record last, so that an interrupted deletion is repeated."""
        record = retraining_keys.run(account, classifier_id, run_id)
        for name in list(
            self.store.list(retraining_keys.run_prefix(account, classifier_id, run_id))
        ):
            if name != record:
                self.store.delete(name)
        self.store.delete(record)

    def _change(
        self,
        name: str,
        read: Callable[[], tuple[_V | None, str | None]],
        change: Callable[[Any], _V],
    ) -> _V:
        """Change an object by compare-and-set; `read` gives it with its ETag, None: it is new."""
        for _ in range(_ATTEMPTS):
            before, etag = read()
            after = change(before)
            if after == before:
                return after
            with suppress(PreconditionFailed, ObjectMissing):
                if etag is None:
                    self.store.put(name, encode(after), if_absent=True)
                else:
                    self.store.put(name, encode(after), if_match=etag)
                return after
        raise Conflict("too many concurrent changes to the retraining; try again", retry_after_s=1)

    def _run(self, account: str, classifier_id: str, run_id: str) -> tuple[Run, str]:
        try:
            found = self.store.get(retraining_keys.run(account, classifier_id, run_id))
        except ObjectMissing:
            raise NotFound("the classifier has no such run") from None
        return decode(Run, found.data), found.etag

    def _state(self, account: str, classifier_id: str) -> tuple[RetrainingState, str | None]:
        try:
            found = self.store.get(retraining_keys.retraining_state(account, classifier_id))
        except ObjectMissing:
            return RetrainingState(), None
        return decode(RetrainingState, found.data), found.etag


def _tick(at: datetime, account: str, classifier_id: str) -> str:
    return retraining_keys.tick(round(at.timestamp() * 1000), account, classifier_id)
