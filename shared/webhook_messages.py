"""Messages to webhooks: what an event says, and the delivery that carries it. Pure."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from shared import ids
from shared.batches import BatchResult
from shared.jobs import Job, State
from shared.retraining import Run, RunStatus
from shared.types import JobKind
from shared.webhooks import Delivery, Event, Webhook, in_whole_ms, ms_of

TEST = "webhook.test"
_MAX_FAULTS, _MAX_CHARS = 20, 500  # of an error inside a payload
_BATCH_EVENTS: dict[State, Event] = {
    State.SUCCEEDED: "batch.completed",
    State.FAILED: "batch.failed",
    State.CANCELLED: "batch.cancelled",
    State.EXPIRED: "batch.expired",
}
_JOB_EVENTS: dict[State, Event] = {
    State.SUCCEEDED: "job.succeeded",
    State.FAILED: "job.failed",
    State.CANCELLED: "job.cancelled",
    State.EXPIRED: "job.expired",
}
_RUN_EVENTS: dict[RunStatus, Event] = {
    "promoted": "retraining.promoted",
    "rejected": "retraining.rejected",
    "waiting": "retraining.waiting",
}


def announcement(
    job: Job, files: BatchResult | None = None, run: Run | None = None
) -> tuple[Event, dict[str, Any]]:
    """The webhook event of an ended job, and its data: never a text of its items.

    Args:
        job: The final record.
        files: The result of a batch; None if its files were never assembled.
        run: The run that a retraining did; None if it did not come to its end.
    """
    if run is not None and (event := _RUN_EVENTS.get(run.status)):
        return event, run_data(run)
    if job.kind is JobKind.BATCH:
        event = _BATCH_EVENTS[job.state]
        files = files or BatchResult()
        return event, {
            "id": ids.batch_id_of(job.id),
            "object": "batch",
            "status": event.removeprefix("batch."),
            "request_counts": job.progress.model_dump(mode="json"),
            "output_file_id": files.output_file,
            "error_file_id": files.error_file,
            "output_url": files.output_url,
            "error_url": files.error_url,
            "created_at": int(job.created_at.timestamp()),
            "metadata": job.metadata or None,
        }
    error = job.error and {
        "code": job.error.code,
        "detail": job.error.detail[:_MAX_CHARS],
        "errors": [
            {"field": field[:_MAX_CHARS], "message": message[:_MAX_CHARS], "type": kind}
            for field, message, kind in job.error.fields[:_MAX_FAULTS]
        ],
    }
    fields = job.model_dump(
        mode="json",
        include={
            "id", "kind", "created_at", "started_at", "finished_at", "expires_at", "progress",
        },
    )  # fmt: skip
    succeeded = job.state is State.SUCCEEDED
    failed = job.state in {State.FAILED, State.EXPIRED}
    event = (
        "retraining.failed" if job.kind is JobKind.RETRAIN and failed else _JOB_EVENTS[job.state]
    )
    return event, {
        **fields,
        "phase": None,  # of a job that has ended, as the next one
        "waiting_for": None,
        "object": "job",
        "status": job.state,
        "usage": {"total_tokens": job.usage.total_tokens},
        "result": None,
        "result_url": f"/v1/jobs/{job.id}/result" if succeeded else None,
        "error": error,
        "metadata": job.metadata or None,
    }


def run_data(run: Run) -> dict[str, Any]:
    """The data of an event of a retraining run."""
    return {
        "id": run.id,
        "object": "retraining.run",
        "classifier_id": run.classifier_id,
        "job_id": run.job_id,
        "status": run.status,
        "champion": run.champion,
        "challenger": run.challenger,
        "counts": run.counts.model_dump(mode="json"),
        "decision": run.decision and run.decision.model_dump(mode="json"),
        "rollback_reason": run.rollback_reason,
    }


def run_delivery(run: Run, event: Event, webhook: Webhook, now: datetime) -> Delivery:
    """The delivery of what happened to a run after its end: it was decided or rolled back."""
    return _delivery(run.id, event, run_data(run), webhook, in_whole_ms(now), job_id=run.job_id)


def drift_delivery(data: dict[str, Any], webhook: Webhook, at: datetime) -> Delivery:
    """The delivery of a drift that was detected at a time."""
    return _delivery(data["classifier_id"], "drift.detected", data, webhook, in_whole_ms(at))


def _delivery(
    subject: str,
    event: Event,
    data: dict[str, Any],
    webhook: Webhook,
    at: datetime,
    *,
    job_id: str | None = None,
) -> Delivery:
    cause = f"{subject}.{event}.{ms_of(at)}"
    return Delivery(
        id=ids.delivery_id(ms_of(at), _entropy(f"{cause}.{webhook.id}")),
        account=webhook.account,
        webhook_id=webhook.id,
        event=event,
        job_id=job_id,
        payload=_payload(event, ids.event_id(ms_of(at), _entropy(cause)), at, data),
        created_at=at,
        next_attempt_at=at,
    )


def delivery_of(job: Job, event: str, data: dict[str, Any], webhook: Webhook) -> Delivery:
    """The delivery of a job's end to a webhook; repeated construction gives the same delivery."""
    at = in_whole_ms(job.finished_at or job.created_at)
    return Delivery(
        id=ids.delivery_id(ms_of(at), _entropy(f"{job.id}.{webhook.id}")),
        account=webhook.account,
        webhook_id=webhook.id,
        event=event,
        job_id=job.id,
        payload=_payload(event, ids.event_id(ms_of(at), _entropy(job.id)), at, data),
        created_at=at,
        next_attempt_at=at,
    )


def trial_of(webhook: Webhook, now: datetime) -> Delivery:
    """A test delivery."""
    at = in_whole_ms(now)
    return Delivery(
        id=ids.delivery_id(ms_of(at), ids.random_bits()),
        account=webhook.account,
        webhook_id=webhook.id,
        event=TEST,
        payload=_payload(
            TEST, ids.event_id(ms_of(at), ids.random_bits()), at, {"webhook_id": webhook.id}
        ),
        created_at=at,
        next_attempt_at=at,
    )


def _payload(event: str, event_id: str, at: datetime, data: dict[str, Any]) -> str:
    """The body of a message: `timestamp` as in Standard Webhooks, the rest as in OpenAI's webhooks.

    Both times are the time of the event, not of an attempt.
    """
    fields = {
        "id": event_id,
        "object": "event",
        "created_at": int(at.timestamp()),
        "type": event,
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "data": data,
    }
    return json.dumps(fields, separators=(",", ":"))


def _entropy(cause: str) -> int:
    """80 bits that depend only on the cause."""
    return int.from_bytes(hashlib.sha256(cause.encode()).digest()[:10], "big")
