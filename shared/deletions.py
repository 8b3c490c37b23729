"""Deletion of objects that open jobs may still read: the record at once, the bytes later.

    deletion record written → object's record deleted, and its name with it →
    (keeper) no job from before is open: bytes deleted → deletion record deleted

Every job that was accepted before the deletion counts, not only jobs that name the object: batch
rows name files and classifiers too, and may not have been read yet. Jobs that have ended do not
count, so a deletion retains bytes no longer than the longest job runs. The open markers on the
object store decide, so that a loss of Redis changes nothing, and any number of processes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from shared import ids, object_keys
from shared.errors import ObjectMissing
from shared.messages import decode, encode
from shared.ports import ObjectStore, StoredObject
from shared.types import Value

MARGIN_S = 60.0
"""Margin for the time between a call's lookup and its job's marker, and for clock offsets."""


class Deletion(Value):
    """A deletion at a time, in seconds since 1970, of objects whose bytes still exist.

    `record` is the content of the deleted record. Jobs of `account` may need the objects, or jobs
    of any account if it is empty.
    """

    account: str
    at: float
    objects: tuple[str, ...]
    record: str = ""


def delete(
    store: ObjectStore,
    record: str,
    objects: Sequence[str],
    *,
    account: str,
    now: float,
) -> None:
    """Delete a record at once, and its objects if no open job may need them.

    Args:
        store: The object store.
        record: Key of the record. Once it is deleted, the resource does not exist any more.
        objects: Keys of the objects that belong to the record.
        account: The account whose jobs may need them; empty: any account.
        now: Seconds since 1970.
    """
    if any(store.list(object_keys.OPEN)):
        try:
            record_json = store.get(record).data.decode()
        except ObjectMissing:
            return  # another call has deleted it
        gone = Deletion(account=account, at=now, objects=tuple(objects), record=record_json)
        store.put(object_keys.deletion(record), encode(gone))
        objects = ()
    store.delete(record)
    for name in objects:
        store.delete(name)


def read(store: ObjectStore, record: str, *, accepted_at: float | None) -> StoredObject:
    """A record. For a job, `accepted_at` makes records readable that were deleted after that time.

    Raises:
        ObjectMissing: The record does not exist.
    """
    try:
        return store.get(record)
    except ObjectMissing:
        if accepted_at is None:
            raise
        found = store.get(object_keys.deletion(record))
        gone = decode(Deletion, found.data)
        if accepted_at > gone.at + MARGIN_S:
            raise
        return StoredObject(data=gone.record.encode(), etag=found.etag)


@dataclass(frozen=True)
class OpenJobs:
    """The jobs that are open at the first call of `need`, oldest first."""

    store: ObjectStore
    _accounts: dict[str, str] = field(default_factory=dict)

    def need(self, account: str, *, at: float) -> bool:
        """Whether an open job of the account, or of any, was accepted before a time."""
        youngest = ids.job_id(max(0, int((at + MARGIN_S) * 1000)), 0)
        older = (job for job in self._ids if job >= youngest)  # ids sort newest first
        return any(account in ("", self._account(job)) for job in older)

    @cached_property
    def _ids(self) -> list[str]:
        names = (name.removeprefix(object_keys.OPEN) for name in self.store.list(object_keys.OPEN))
        return sorted((name for name in names if ids.is_job_id(name)), reverse=True)

    def _account(self, job_id: str) -> str:
        if job_id not in self._accounts:
            try:
                data = self.store.get(object_keys.open_marker(job_id)).data
            except ObjectMissing:  # it has ended in the meantime
                data = b"/"
            self._accounts[job_id] = data.decode()
        return self._accounts[job_id]
