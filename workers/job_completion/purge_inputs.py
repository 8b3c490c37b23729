"""What a job need not remember once it has ended: the examples it was sent, the file it read."""

from __future__ import annotations

from contextlib import suppress

from shared import object_keys
from shared.errors import MessageUndecodable, ObjectMissing
from shared.messages import Submission, decode, encode
from shared.ports import ObjectStore
from shared.types import EvaluateRequest, ImportRequest, TrainRequest


def forget(store: ObjectStore, account: str, job_id: str) -> None:
    """Strip an ended job of its examples: none are kept unless the owner of a classifier asks.

    What is kept for `rebuild` lies with the classifier. Repeating it changes nothing.
    """
    name = object_keys.request(account, job_id)
    try:
        submission = decode(Submission, store.get(name).data)
    except (ObjectMissing, MessageUndecodable):
        return
    body = submission.body
    if isinstance(body, TrainRequest | EvaluateRequest) and body.examples:
        stripped = body.model_copy(update={"examples": ()})
        with suppress(ObjectMissing):
            store.put(name, encode(submission.model_copy(update={"body": stripped})))
    if isinstance(body, TrainRequest | EvaluateRequest) and body.file is not None:
        store.delete(body.file.object)
    if isinstance(body, ImportRequest):
        store.delete(body.upload)
