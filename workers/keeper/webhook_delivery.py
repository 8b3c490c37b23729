"""Webhook delivery: sends due deliveries and records the outcomes.

    claim of the delivery → POST → outcome in its record → new due marker → old due marker deleted

Delivery is at least once. If the process is killed between two steps, the next run continues: a
claim expires by itself, and the message id stays the same, so that receivers can deduplicate. Two
keepers may deliver side by side: a claim is taken by compare-and-set.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import islice

from shared import ids
from shared.errors import Conflict, FetchFailed, NotFound, PigeonholeError, Unavailable
from shared.telemetry import Log
from shared.webhook_store import DueDelivery, WebhookStore
from shared.webhooks import SILENT_S, Attempt, Delivery, Webhook, signed
from workers import metrics
from workers.outbound_http.client import Outbound
from workers.outbound_http.host_executor import KeyedExecutor

log = Log("webhook_delivery")
RETRY_SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""The retry schedule: the wait before each attempt; there are no further attempts."""
TIMEOUT_S = 15.0
_CLAIM_S = 2 * TIMEOUT_S  # for the attempt and for recording its outcome
_AT_ONCE = 16
_PER_WEBHOOK = 2
_MAX_LISTED = 100_000  # due markers per run: a slow webhook with more would block the others
_MAX_QUEUED = 10_000  # deliveries queued or in flight in this process (backpressure),
_MAX_QUEUED_OF_WEBHOOK = 200  # and those of one webhook among them


class WebhookDelivery:
    """Sends deliveries in threads, so that a slow receiver does not delay the others."""

    def __init__(
        self,
        webhooks: WebhookStore,
        outbound: Outbound,
        *,
        schedule_s: Sequence[float] = RETRY_SCHEDULE_S,
        timeout_s: float = TIMEOUT_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Create the delivery; nothing is sent yet.

        Args:
            webhooks: the stored webhooks and deliveries.
            outbound: the HTTP client.
            schedule_s: the retry schedule: seconds to wait before each attempt.
            timeout_s: seconds for one attempt.
            jitter: returns a random number from 0 to 1.
        """
        self._webhooks = webhooks
        self._outbound = outbound
        self._schedule_s = schedule_s
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._executor = KeyedExecutor("webhook", at_once=_AT_ONCE, per_key=_PER_WEBHOOK)
        self._changed = threading.Condition()
        self._queued: set[tuple[str, str, str]] = set()
        self._queued_of: Counter[str] = Counter()

    def deliver_due(self) -> None:
        """Start the due deliveries without waiting for them.

        Raises:
            Unavailable: The object store is unavailable; the deliveries stay due.
        """
        for name, due in islice(self._webhooks.due(), _MAX_LISTED):
            with self._changed:
                if len(self._queued) >= _MAX_QUEUED:
                    return
                if (
                    due[1:] in self._queued
                    or self._queued_of[due.webhook_id] >= _MAX_QUEUED_OF_WEBHOOK
                ):
                    continue
                self._queued.add(due[1:])
                self._queued_of[due.webhook_id] += 1
            self._executor.add(due.webhook_id, partial(self._deliver, name, due))

    def wait(self, *, timeout_s: float) -> bool:
        """Wait until all started deliveries have ended; False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queued, timeout_s)

    def close(self) -> None:
        """Start no more deliveries; those in flight may be interrupted."""
        self._executor.close()

    def _deliver(self, name: str, due: DueDelivery) -> None:
        try:
            self._deliver_one(name, due)
        except (Unavailable, Conflict) as exc:  # it stays due, and the next run repeats it
            log.warning("webhook.put_off", delivery_id=due.delivery_id, reason=exc.detail)
        except PigeonholeError as exc:
            log.error("webhook.stumbled", delivery_id=due.delivery_id, exc=exc)
        finally:
            with self._changed:
                self._queued.discard(due[1:])
                self._queued_of[due.webhook_id] -= 1
                if not self._queued_of[due.webhook_id]:
                    del self._queued_of[due.webhook_id]
                self._changed.notify_all()

    def _deliver_one(self, name: str, due: DueDelivery) -> None:
        try:
            delivery, etag = self._webhooks.delivery(*due[1:])
        except NotFound:
            self._webhooks.store.delete(name)
            return
        now = self._webhooks.now()
        if delivery.due_ms is None or delivery.due_ms > int(now.timestamp() * 1000):
            if delivery.due_ms == due.ms:
                return  # the clock was set back
            self._webhooks.announce_due(delivery)  # a killed process may not have done so
            self._webhooks.store.delete(name)
            return
        if delivery.claimed_until is not None and delivery.claimed_until > now:
            return  # another keeper is sending it
        until = now + timedelta(seconds=_CLAIM_S)
        claimed = delivery.model_copy(update={"claim": ids.token(), "claimed_until": until})
        if not self._webhooks.replace(claimed, etag):
            return
        self._send(claimed)
        self._webhooks.store.delete(name)

    def _send(self, delivery: Delivery) -> None:
        try:
            webhook, _ = self._webhooks.load(delivery.account, delivery.webhook_id)
        except NotFound:
            self._change(delivery, lambda each: each.ended("failed", "the webhook was deleted"))
            return
        if not webhook.enabled:
            self._change(delivery, lambda each: each.ended("failed", "the webhook is disabled"))
            return
        attempt, retry_after_s = self._attempt(webhook, delivery)
        jitter = self._jitter()

        def record(each: Delivery) -> Delivery:
            return each.tried(
                attempt,
                retry_after_s=retry_after_s,
                schedule_s=self._schedule_s,
                jitter=jitter,
            )

        after = self._change(delivery, record)
        state = "failed" if after is None else after.state
        outcome: metrics.WebhookOutcome = "retried" if state == "pending" else state
        metrics.webhook_tried(outcome, seconds=attempt.duration_ms / 1000)
        self._note_health(webhook, attempt)
        log.info(
            "webhook.tried",
            webhook_id=webhook.id,
            delivery_id=delivery.id,
            status=attempt.status,
            error=attempt.error,
            attempt=delivery.tries + 1,
            state=after and after.state,
        )

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> tuple[Attempt, float | None]:
        """Send a delivery once. Returns the attempt, and the delay of its Retry-After, if any."""
        now = self._webhooks.now()
        headers = signed(
            webhook.secrets(now), message_id=delivery.id, at=now, payload=delivery.payload
        )
        headers["Content-Type"] = "application/json"
        status, error, retry_after_s = None, None, None
        began = time.monotonic()
        try:
            response = self._outbound.post(
                webhook.url, delivery.payload.encode(), headers, timeout_s=self._timeout_s
            )
            status, retry_after_s = response.status, response.retry_after_s
        except FetchFailed as exc:
            error = exc.detail
        duration_ms = round((time.monotonic() - began) * 1000)
        return Attempt(at=now, duration_ms=duration_ms, status=status, error=error), retry_after_s

    def _change(
        self, delivery: Delivery, change: Callable[[Delivery], Delivery]
    ) -> Delivery | None:
        """Update the record of a delivery; None if the delivery was deleted meanwhile."""
        with suppress(NotFound):
            return self._webhooks.change_delivery(
                delivery.account, delivery.webhook_id, delivery.id, change
            )
        return None

    def _note_health(self, webhook: Webhook, attempt: Attempt) -> None:
        """Record since when a webhook fails; disable it after status 410 or a long failure."""

        def updated(each: Webhook) -> Webhook:
            if attempt.succeeded:
                return each.model_copy(update={"failing_since": None})
            if each.url != webhook.url or not each.enabled:
                return each  # it was changed during the attempt
            if attempt.status == 410:
                return each.disabled("the endpoint responded with status 410 Gone")
            since = each.failing_since or attempt.at
            if attempt.at - since >= timedelta(seconds=SILENT_S):
                days = round(SILENT_S / 86400)
                return each.disabled(f"no delivery has succeeded for {days} days")
            return each.model_copy(update={"failing_since": since})

        if updated(webhook) != webhook:
            with suppress(NotFound):
                changed = self._webhooks.change(webhook.account, webhook.id, updated)
                if webhook.enabled and not changed.enabled:
                    log.warning(
                        "webhook.disabled", webhook_id=webhook.id, reason=changed.disabled_reason
                    )
