"""Purge of inputs: an ended job keeps neither its examples nor its uploaded file."""

from __future__ import annotations

from contextlib import suppress

from shared import object_keys
from shared.errors import MessageUndecodable, ObjectMissing
from shared.job_kinds import JOB_KINDS
from shared.messages import Submission, decode, encode
from shared.ports import ObjectStore


def forget(store: ObjectStore, account: str, job_id: str) -> None:
    """Delete the examples and the uploaded file of an ended job. It is idempotent.

    Examples are kept only if the owner of a classifier asks for it. Those that `rebuild` needs are
    stored with the classifier.
    """
    name = object_keys.request(account, job_id)
    try:
        submission = decode(Submission, store.get(name).data)
    except (ObjectMissing, MessageUndecodable):
        return
    purge = JOB_KINDS[submission.job.kind].purge
    if purge is None:
        return
    kept, objects = purge(submission.body)
    if kept != submission.body:
        with suppress(ObjectMissing):
            store.put(name, encode(submission.model_copy(update={"body": kept})))
    for each in objects:
        store.delete(each)
