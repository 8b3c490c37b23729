"""What was deleted while jobs could still read it goes once these have ended."""

from __future__ import annotations

from collections.abc import Iterator

from shared import object_keys
from shared.deletions import MARGIN_S, Deletion, OpenJobs
from shared.errors import MessageUndecodable, ObjectMissing
from shared.messages import decode
from shared.ports import ObjectStore
from shared.telemetry import Log

log = Log("deletion")


def finish_deletions(store: ObjectStore, *, now: float) -> int:
    """Delete the objects of deletions for which no job is open that may need them.

    The deletion itself goes last, so that one that was cut off is met again.

    Returns:
        How many deletions were finished.
    """
    waiting = list(_deletions(store))  # before the open jobs are listed: no later one needs them
    open_jobs = OpenJobs(store)
    finished = 0
    for name, gone in waiting:
        if now < gone.at + MARGIN_S or open_jobs.need(gone.account, at=gone.at):
            continue
        store.delete(name.removeprefix(object_keys.DELETED))  # a call that died may have left it
        for each in gone.objects:
            store.delete(each)
        store.delete(name)
        finished += 1
    if finished:
        log.info("deletion.finished", count=finished)
    return finished


def kept_objects(store: ObjectStore) -> set[str]:
    """The names of objects that are kept for open jobs."""
    return {each for _, gone in _deletions(store) for each in gone.objects}


def _deletions(store: ObjectStore) -> Iterator[tuple[str, Deletion]]:
    for name in list(store.list(object_keys.DELETED)):
        try:
            yield name, decode(Deletion, store.get(name).data)
        except ObjectMissing:
            continue  # another keeper was faster
        except MessageUndecodable as exc:
            log.error("deletion.unreadable", name=name, reason=exc.detail)
