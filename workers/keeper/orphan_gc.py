"""Garbage collection of orphans: classifier files that no record names.

A training job that is killed after it wrote a file and before it updated the record leaves one.
"""

from __future__ import annotations

import re

from shared import ids, object_keys, observation_keys
from shared.classifier_store import ClassifierStore
from shared.errors import NotFound
from shared.observation_store import RETENTION_DAYS
from shared.ports import ObjectStore
from shared.telemetry import Log
from workers.keeper.deferred_deletion import kept_objects
from workers.keeper.deletion_limit import DeletionLimit

log = Log("sweep")
_FILE = re.compile(r"/versions/(?P<file>\d+-(?P<job>job_[0-9a-z]{26})-[0-9a-z]+)\.\w+$")


def sweep(store: ObjectStore, *, before: float, limit: DeletionLimit) -> int:
    """Delete the files of jobs created before `before` that no classifier version refers to.

    Deleted objects that are kept for open jobs are not touched. If a classifier has no record, all
    its files of that age are deleted. Observations are deleted after their retention. The files
    are listed before the record is read, so a file that a version starts to use meanwhile is found
    in the record.

    Args:
        before: Seconds since 1970.

    Returns:
        The number of deleted objects.
    """
    oldest_kept = ids.job_id(int(before * 1000), 0)  # job ids sort newest first
    records = ClassifierStore(store=store)
    orphans: list[str] = []
    examined = 0
    for account in store.children(object_keys.CLASSIFIERS):
        for classifier_id in records.ids(account):
            names = list(store.list(object_keys.classifier_prefix(account, classifier_id)))
            files = {name: match for name in names if (match := _FILE.search(name))}
            old = {name for name, match in files.items() if match["job"] > oldest_kept}
            try:
                kept = records.load(account, classifier_id)[0].files()
                unused = {name for name in old if files[name]["file"] not in kept}
            except NotFound:
                unused = set(names) if old == set(files) else old
            unused |= {name for name in names if _is_expired(name, before)}
            if unused:
                unused -= kept_objects(store)
            orphans += sorted(unused, key=lambda name: _job(files.get(name)), reverse=True)
            examined += len(names)
    allowed = limit.allowed(orphans, range(examined - len(orphans)))
    for name in allowed:
        store.delete(name)
    if allowed:
        log.info("classifier.swept", count=len(allowed))
    return len(allowed)


def _is_expired(name: str, before: float) -> bool:
    """Whether a name is that of observations of a day that no window reaches."""
    day = observation_keys.day_of(name)
    return day is not None and day.timestamp() < before - RETENTION_DAYS * 86400.0


def _job(match: re.Match[str] | None) -> str:
    """The job that wrote a file; "" for the other objects of a classifier, which sort last."""
    return match["job"] if match else ""
