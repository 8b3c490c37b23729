"""Deliveries of webhooks: what is due is tried, and what comes of it is written down.

    claim of the delivery → POST → outcome in its record → its next time announced → old name gone

Killed anywhere in between, the next one who looks finds what is left: a claim ends by itself, and
the id of the message stays, so that a receiver can tell what it has had. Two couriers may work side
by side: a claim is taken by compare-and-set.
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
from shared.webhooks import SCHEDULE_S, SILENT_S, Attempt, Delivery, Webhook, signed
from workers import metrics
from workers.outbound_http.client import Outbound
from workers.outbound_http.host_executor import KeyedExecutor

log = Log("courier")
TIMEOUT_S = 15.0
_CLAIM_S = 2 * TIMEOUT_S  # the attempt, and writing down what came of it
_AT_ONCE = 16
_PER_WEBHOOK = 2
_LOOKED_AT = 100_000  # names of one look: behind so many of a slow webhook, others would wait
_TAKEN = 10_000  # deliveries that wait for their turn in this process,
_TAKEN_OF_WEBHOOK = 200  # and those of one webhook among them


class WebhookDelivery:
    """Tries deliveries in threads of its own, so that a slow receiver delays no other."""

    def __init__(
        self,
        webhooks: WebhookStore,
        outbound: Outbound,
        *,
        schedule_s: Sequence[float] = SCHEDULE_S,
        timeout_s: float = TIMEOUT_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Try nothing yet.

        Args:
            webhooks: the records.
            outbound: the way to the receivers.
            schedule_s: the wait before each attempt.
            timeout_s: for one attempt.
            jitter: a number from 0 to 1, by chance.
        """
        self._webhooks = webhooks
        self._outbound = outbound
        self._schedule_s = schedule_s
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._turns = KeyedExecutor("courier", at_once=_AT_ONCE, per_key=_PER_WEBHOOK)
        self._changed = threading.Condition()
        self._taken: set[tuple[str, str, str]] = set()
        self._taken_of: Counter[str] = Counter()

    def deliver_due(self) -> None:
        """Begin what is due; does not wait for it.

        Raises:
            Unavailable: The store is away; what is due stays so.
        """
        for name, due in islice(self._webhooks.due(), _LOOKED_AT):
            with self._changed:
                if len(self._taken) >= _TAKEN:
                    return
                if due[1:] in self._taken or self._taken_of[due.webhook_id] >= _TAKEN_OF_WEBHOOK:
                    continue
                self._taken.add(due[1:])
                self._taken_of[due.webhook_id] += 1
            self._turns.add(due.webhook_id, partial(self._deliver, name, due))

    def wait(self, *, timeout_s: float) -> bool:
        """Wait until all that was begun has ended; False when the time is over before."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._taken, timeout_s)

    def close(self) -> None:
        """Begin nothing more; what is under way may be cut off."""
        self._turns.close()

    def _deliver(self, name: str, due: DueDelivery) -> None:
        try:
            self._deliver_one(name, due)
        except (Unavailable, Conflict) as exc:  # it is still due, and met again
            log.warning("webhook.put_off", delivery_id=due.delivery_id, reason=exc.detail)
        except PigeonholeError as exc:
            log.error("webhook.stumbled", delivery_id=due.delivery_id, exc=exc)
        finally:
            with self._changed:
                self._taken.discard(due[1:])
                self._taken_of[due.webhook_id] -= 1
                if not self._taken_of[due.webhook_id]:
                    del self._taken_of[due.webhook_id]
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
            self._webhooks.announce_due(delivery)  # whoever moved it may have died before he did
            self._webhooks.store.delete(name)
            return
        if delivery.claimed_until is not None and delivery.claimed_until > now:
            return  # another courier is at it
        until = now + timedelta(seconds=_CLAIM_S)
        claimed = delivery.model_copy(update={"claim": ids.token(), "claimed_until": until})
        if not self._webhooks.replace(claimed, etag):
            return
        self._tried(claimed)
        self._webhooks.store.delete(name)

    def _tried(self, delivery: Delivery) -> None:
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

        def tried(each: Delivery) -> Delivery:
            return each.tried(
                attempt,
                retry_after_s=retry_after_s,
                schedule_s=self._schedule_s,
                jitter=jitter,
            )

        after = self._change(delivery, tried)
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
        """Send it once; what happened, and when the receiver wants it again."""
        now = self._webhooks.now()
        headers = signed(
            webhook.secrets(now), message_id=delivery.id, at=now, payload=delivery.payload
        )
        headers["Content-Type"] = "application/json"
        status, error, retry_after_s = None, None, None
        began = time.monotonic()
        try:
            answered = self._outbound.post(
                webhook.url, delivery.payload.encode(), headers, timeout_s=self._timeout_s
            )
            status, retry_after_s = answered.status, answered.retry_after_s
        except FetchFailed as exc:
            error = exc.detail
        took_ms = round((time.monotonic() - began) * 1000)
        return Attempt(at=now, duration_ms=took_ms, status=status, error=error), retry_after_s

    def _change(
        self, delivery: Delivery, change: Callable[[Delivery], Delivery]
    ) -> Delivery | None:
        """Write down what became of a delivery; None if it was deleted meanwhile."""
        with suppress(NotFound):
            return self._webhooks.change_delivery(
                delivery.account, delivery.webhook_id, delivery.id, change
            )
        return None

    def _note_health(self, webhook: Webhook, attempt: Attempt) -> None:
        """Remember since when a webhook fails; disable one that wants nothing or is long silent."""

        def noted(each: Webhook) -> Webhook:
            if attempt.succeeded:
                return each.model_copy(update={"failing_since": None})
            if each.url != webhook.url or not each.enabled:
                return each  # it was changed while we asked
            if attempt.status == 410:
                return each.disabled("the endpoint responded with status 410 Gone")
            since = each.failing_since or attempt.at
            if attempt.at - since >= timedelta(seconds=SILENT_S):
                days = round(SILENT_S / 86400)
                return each.disabled(f"no delivery has succeeded for {days} days")
            return each.model_copy(update={"failing_since": since})

        if noted(webhook) != webhook:
            with suppress(NotFound):
                changed = self._webhooks.change(webhook.account, webhook.id, noted)
                if webhook.enabled and not changed.enabled:
                    log.warning(
                        "webhook.disabled", webhook_id=webhook.id, reason=changed.disabled_reason
                    )
