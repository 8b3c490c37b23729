"""What is deleted while jobs may still read it: its name goes at once, its bytes when they ended.

    deletion on the store → record gone, and the name with it →
    (by the keeper) no job from before is open: bytes gone → deletion gone

Every job that was accepted before the deletion counts, not those alone that name the object: the
rows of a batch name files and classifiers too, and nobody has read them all. What is not open does
not count, so a deletion holds bytes no longer than the longest job takes. The open markers on the
store decide, so the loss of Redis changes nothing, and it holds for any number of processes.
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
"""Between what a call has looked up and the marker of its job; and the difference of two clocks."""


class Deletion(Value):
    """What was deleted at a time, in seconds since 1970: objects whose bytes are still there.

    `record` is what the object said that is gone already. The jobs of `account` may need it, those
    of any where it is empty.
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
    """Delete a record at once, and the objects with it where no job is open that may need them.

    Args:
        store: Where they are.
        record: From when on it is gone, there is no such thing any more.
        objects: What it speaks of.
        account: Whose jobs may need them; empty: those of any.
        now: Seconds since 1970.
    """
    if any(store.list(object_keys.OPEN)):
        try:
            said = store.get(record).data.decode()
        except ObjectMissing:
            return  # another call has deleted it
        gone = Deletion(account=account, at=now, objects=tuple(objects), record=said)
        store.put(object_keys.deletion(record), encode(gone))
        objects = ()
    store.delete(record)
    for name in objects:
        store.delete(name)


def read(store: ObjectStore, record: str, *, accepted_at: float | None) -> StoredObject:
    """A record; for a job that was accepted at a time, also as it was when it was deleted later.

    Raises:
        ObjectMissing: There is none.
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
    """The jobs that were open when this was first asked, from the oldest on."""

    store: ObjectStore
    _accounts: dict[str, str] = field(default_factory=dict)

    def need(self, account: str, *, at: float) -> bool:
        """Whether a job of the account, or of any, was accepted before a time and has not ended."""
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
            except ObjectMissing:  # it has ended meanwhile
                data = b"/"
            self._accounts[job_id] = data.decode()
        return self._accounts[job_id]
