"""Webhook events of ended jobs: one delivery for each subscribed webhook of the account.

Deliveries are created after the final record of the job and before its marker is deleted. If the
process is killed in between, job recovery repeats the step with the same delivery ids, so that
deliveries are deduplicated. `workers.keeper.webhook_delivery` sends them.
"""

from __future__ import annotations

from shared import object_keys
from shared.batches import BatchResult
from shared.errors import MessageTooNew, MessageUndecodable, NotFound, ObjectMissing
from shared.jobs import Job, State
from shared.messages import decode
from shared.ports import ObjectStore
from shared.retraining import RetrainResult, Run
from shared.telemetry import Log
from shared.types import JobKind
from shared.webhook_messages import announcement, delivery_of
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook

log = Log("announce")


def announce(store: ObjectStore, account: str, job_id: str) -> None:
    """Create the deliveries for the end of a job. An account without webhooks costs one listing.

    Raises:
        Unavailable: The object store is unavailable; run it again.
        MessageTooNew: A newer version wrote a record; only a process of that version can read it.
    """
    webhooks = WebhookStore(store=store)
    enabled = [each for each in _webhooks(webhooks, account) if each.enabled]
    if not enabled:
        return
    try:
        job = decode(Job, store.get(object_keys.job(account, job_id)).data)
    except MessageTooNew:
        raise
    except (ObjectMissing, MessageUndecodable) as exc:
        log.error("webhook.no_job", job_id=job_id, reason=exc.detail)
        return
    event, data = announcement(job, _files(store, job), _run(store, job))
    for webhook in enabled:
        if webhook.wants(event):
            webhooks.add(delivery_of(job, event, data, webhook))


def _files(store: ObjectStore, job: Job) -> BatchResult | None:
    """The result of a batch; None for other jobs and for a batch that ended before it had files."""
    if job.kind is not JobKind.BATCH:
        return None
    try:
        return decode(BatchResult, store.get(object_keys.result(job.account, job.id)).data)
    except MessageTooNew:
        raise
    except (ObjectMissing, MessageUndecodable):
        return None


def _run(store: ObjectStore, job: Job) -> Run | None:
    """The run of a retraining that came to its end; None for other jobs."""
    if job.kind is not JobKind.RETRAIN or job.state is not State.SUCCEEDED:
        return None
    try:
        name = object_keys.result(job.account, job.id)
        return decode(RetrainResult, store.get(name).data).run
    except MessageTooNew:
        raise
    except (ObjectMissing, MessageUndecodable):
        return None


def _webhooks(webhooks: WebhookStore, account: str) -> list[Webhook]:
    readable = []
    for webhook_id in webhooks.ids(account):
        try:
            readable.append(webhooks.load(account, webhook_id)[0])
        except NotFound:
            continue  # deleted meanwhile
        except MessageTooNew:
            raise
        except MessageUndecodable as exc:  # it must not prevent the end of the job
            log.error("webhook.undecodable", webhook_id=webhook_id, reason=exc.detail)
    return readable
