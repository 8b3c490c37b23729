"""What killed trainers left behind is deleted: files that no classifier's record names."""

from __future__ import annotations

import re

from shared import ids, object_keys
from shared.classifier_store import ClassifierStore
from shared.errors import NotFound
from shared.ports import ObjectStore
from shared.telemetry import Log
from workers.keeper.deferred_deletion import kept_objects
from workers.keeper.deletion_limit import DeletionLimit

log = Log("sweep")
_FILE = re.compile(r"/versions/(?P<file>\d+-(?P<job>job_[0-9a-z]{26})-[0-9a-z]+)\.\w+$")


def sweep(store: ObjectStore, *, before: float, limit: DeletionLimit) -> int:
    """Delete weights of jobs made before a time, in seconds since 1970, that became no version.

    What was deleted and is kept for open jobs is not touched.

    Of a classifier without a record, deleted or never made, everything of that age goes. The files
    are listed before the record is read: one that is named meanwhile is met in it.

    Returns:
        How many objects were deleted.
    """
    oldest_kept = ids.job_id(int(before * 1000), 0)  # job ids sort newest first
    records = ClassifierStore(store=store)
    orphans: list[str] = []
    looked_at = 0
    for account in store.children(object_keys.CLASSIFIERS):
        for classifier_id in records.ids(account):
            names = list(store.list(object_keys.classifier_prefix(account, classifier_id)))
            found = {name: match for name in names if (match := _FILE.search(name))}
            old = {name for name, match in found.items() if match["job"] > oldest_kept}
            try:
                kept = records.load(account, classifier_id)[0].files()
                left = {name for name in old if found[name]["file"] not in kept}
            except NotFound:
                left = set(names) if old == set(found) else old
            if left:
                left -= kept_objects(store)
            orphans += sorted(left, key=lambda name: _job(found.get(name)), reverse=True)
            looked_at += len(names)
    allowed = limit.allowed(orphans, range(looked_at - len(orphans)))
    for name in allowed:
        store.delete(name)
    if allowed:
        log.info("classifier.swept", count=len(allowed))
    return len(allowed)


def _job(match: re.Match[str] | None) -> str:
    """The job that wrote a file; "" for what else a classifier has, which goes last."""
    return match["job"] if match else ""
