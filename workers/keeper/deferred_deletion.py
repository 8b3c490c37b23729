"""Deferred deletion: objects that open jobs may still read are deleted once those jobs end."""

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
    """Carry out the recorded deletions whose objects no open job needs.

    The deletion record itself is deleted last, so that an interrupted deletion is resumed.

    Returns:
        The number of deletions that were finished.
    """
    waiting = list(_deletions(store))  # before the open jobs are listed: no later one needs them
    open_jobs = OpenJobs(store)
    finished = 0
    for name, deletion in waiting:
        if now < deletion.at + MARGIN_S or open_jobs.need(deletion.account, at=deletion.at):
            continue
        store.delete(
            name.removeprefix(object_keys.DELETED)
        )  # an interrupted request may have left it
        for each in deletion.objects:
            store.delete(each)
        store.delete(name)
        finished += 1
    if finished:
        log.info("deletion.finished", count=finished)
    return finished


def kept_objects(store: ObjectStore) -> set[str]:
    """The names of the deleted objects that are still kept for open jobs."""
    return {each for _, deletion in _deletions(store) for each in deletion.objects}


def _deletions(store: ObjectStore) -> Iterator[tuple[str, Deletion]]:
    for name in list(store.list(object_keys.DELETED)):
        try:
            yield name, decode(Deletion, store.get(name).data)
        except ObjectMissing:
            continue  # another keeper has finished it
        except MessageUndecodable as exc:
            log.error("deletion.unreadable", name=name, reason=exc.detail)
