"""Who is told that a job has ended: each webhook of its account that wants to know, once.

It is done after the job's last record is written and before its marker goes, so a job whose end
was cut off is met again, and the ids of its deliveries are the same then. How they are delivered
is not decided here.
"""

from __future__ import annotations

from shared import object_keys
from shared.batches import BatchResult
from shared.errors import MessageTooNew, MessageUndecodable, NotFound, ObjectMissing
from shared.jobs import Job
from shared.messages import decode
from shared.ports import ObjectStore
from shared.telemetry import Log
from shared.types import JobKind
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook, announcement, delivery_of

log = Log("announce")


def announce(store: ObjectStore, account: str, job_id: str) -> None:
    """Make the deliveries of a job's end. An account without webhooks costs one listing.

    Raises:
        Unavailable: The store is away; run it again.
        MessageTooNew: A newer process wrote a record; one as new as that can do it.
    """
    webhooks = WebhookStore(store=store)
    told = [each for each in _webhooks(webhooks, account) if each.enabled]
    if not told:
        return
    try:
        job = decode(Job, store.get(object_keys.job(account, job_id)).data)
    except MessageTooNew:
        raise
    except (ObjectMissing, MessageUndecodable) as exc:
        log.error("webhook.no_job", job_id=job_id, reason=exc.detail)
        return
    event, data = announcement(job, _files(store, job))
    for webhook in told:
        if webhook.wants(event):
            webhooks.add(delivery_of(job, event, data, webhook))


def _files(store: ObjectStore, job: Job) -> BatchResult | None:
    """What came out of a batch; None of other jobs, and where it ended before it had files."""
    if job.kind is not JobKind.BATCH:
        return None
    try:
        return decode(BatchResult, store.get(object_keys.result(job.account, job.id)).data)
    except MessageTooNew:
        raise
    except (ObjectMissing, MessageUndecodable):
        return None


def _webhooks(webhooks: WebhookStore, account: str) -> list[Webhook]:
    found = []
    for webhook_id in webhooks.ids(account):
        try:
            found.append(webhooks.load(account, webhook_id)[0])
        except NotFound:
            continue  # deleted meanwhile
        except MessageTooNew:
            raise
        except MessageUndecodable as exc:  # it must not keep the job from ending
            log.error("webhook.undecodable", webhook_id=webhook_id, reason=exc.detail)
    return found
