"""Webhooks and their deliveries: records and signatures.

Pure, except for the randomness of a new secret. Signatures follow Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from shared.types import Value

Event = Literal[
    "job.succeeded", "job.failed", "job.cancelled", "job.expired",
    "batch.completed", "batch.failed", "batch.cancelled", "batch.expired",
    "retraining.promoted", "retraining.rejected", "retraining.waiting", "retraining.failed",
    "retraining.rolled_back", "drift.detected",
]  # fmt: skip
EVENTS: tuple[Event, ...] = Event.__args__  # type: ignore[attr-defined]

JITTER = 0.1  # fraction of a wait, at most: spreads retries of deliveries that failed together
MAX_RETRY_AFTER_S = 86400.0  # maximum `Retry-After` of a receiver that is obeyed
BOTH_SIGN_S = 86400.0  # after a rotation, the old secret signs in addition for this time
SILENT_S = 5 * 86400.0  # a webhook whose deliveries all failed for this time is disabled
MAX_DESCRIPTION_CHARS = 200
_ATTEMPTS_KEPT = 30
_MAX_ROTATED = 20  # secrets that sign in addition to the newest
_SECRET = "whsec_"
_SECRET_BYTES = 32


class RotatedSecret(Value):
    """A replaced secret, which signs in addition to the new one until `until`."""

    secret: str
    until: datetime


class Webhook(Value):
    """A webhook of an account. `failing_since`: every delivery since then has failed.

    `old_secret` and `old_until` are fields of records from before `rotated`.
    """

    schema_number: int = 1
    id: str
    account: str
    url: str
    events: tuple[str, ...] = ()  # empty: all, including future ones
    description: str = ""
    enabled: bool = True
    disabled_reason: str | None = None
    secret: str
    old_secret: str = ""
    old_until: datetime | None = None
    rotated: tuple[RotatedSecret, ...] = ()  # newest first
    failing_since: datetime | None = None
    created_at: datetime
    updated_at: datetime

    def wants(self, event: str) -> bool:
        """Whether the webhook receives an event."""
        return self.enabled and (not self.events or event in self.events)

    def secrets(self, now: datetime) -> tuple[str, ...]:
        """The secrets that sign, the newest first; each replaced one for its own `BOTH_SIGN_S`."""
        return (self.secret, *(each.secret for each in self._still_signing(now)))

    def with_secret(self, secret: str, now: datetime) -> Webhook:
        """A copy with a new secret; the previous one signs in addition for `BOTH_SIGN_S`.

        A message has one signature by each secret, so the oldest beyond `_MAX_ROTATED` is dropped.
        """
        replaced = RotatedSecret(secret=self.secret, until=now + timedelta(seconds=BOTH_SIGN_S))
        rotated = (replaced, *self._still_signing(now))[:_MAX_ROTATED]
        changes = {"secret": secret, "rotated": rotated, "old_secret": "", "old_until": None}
        return self.model_copy(update=changes)

    def _still_signing(self, now: datetime) -> tuple[RotatedSecret, ...]:
        before = self.rotated
        if self.old_secret and self.old_until is not None:
            before = (*before, RotatedSecret(secret=self.old_secret, until=self.old_until))
        return tuple(each for each in before if now < each.until)

    def disabled(self, reason: str) -> Webhook:
        """A copy that receives nothing until its owner enables it."""
        return self.model_copy(update={"enabled": False, "disabled_reason": reason})


class Attempt(Value):
    """One attempt: the HTTP status of the response, or the reason for its absence."""

    at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver accepted the message."""
        return self.status is not None and 200 <= self.status < 300


DeliveryState = Literal["pending", "delivered", "failed"]


class Delivery(Value):
    """One message to one webhook; its id is the `webhook-id` of every attempt.

    `tries` counts the attempts since the last manual redelivery; `attempts` are the last ones of
    all. A process that delivers it holds it until `claimed_until`.
    """

    schema_number: int = 1
    id: str
    account: str
    webhook_id: str
    event: str
    job_id: str | None = None
    payload: str
    state: DeliveryState = "pending"
    reason: str | None = None
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    created_at: datetime
    next_attempt_at: datetime | None
    claim: str = ""
    claimed_until: datetime | None = None

    @property
    def due_ms(self) -> int | None:
        """When the next attempt is due, in milliseconds since 1970; None: never."""
        return None if self.next_attempt_at is None else ms_of(self.next_attempt_at)

    def ended(self, state: DeliveryState, reason: str | None = None) -> Delivery:
        """A copy in a final state, without further attempts."""
        return self._free(state=state, reason=reason, next_attempt_at=None)

    def again(self, now: datetime) -> Delivery:
        """A copy for a redelivery: due now, with a full retry schedule."""
        return self._free(state="pending", reason=None, tries=0, next_attempt_at=in_whole_ms(now))

    def _free(self, **changes: Any) -> Delivery:
        return self.model_copy(update={"claim": "", "claimed_until": None, **changes})

    def tried(
        self,
        attempt: Attempt,
        *,
        retry_after_s: float | None,
        schedule_s: Sequence[float],
        jitter: float,
    ) -> Delivery:
        """The delivery after an attempt.

        Args:
            attempt: the outcome of the attempt.
            retry_after_s: `Retry-After` of the receiver.
            schedule_s: the retry schedule (`workers.keeper.webhook_delivery`): the wait before each
                attempt.
            jitter: a random number from 0 to 1.
        """
        kept = (*self.attempts, attempt)[-_ATTEMPTS_KEPT:]
        after = self.model_copy(update={"attempts": kept, "tries": self.tries + 1})
        if attempt.succeeded:
            return after.ended("delivered")
        if attempt.status == 410:
            return after.ended("failed", "the receiver answered 410 Gone")
        if after.tries >= len(schedule_s):
            return after.ended("failed", f"given up after {after.tries} attempts")
        wait_s = schedule_s[after.tries] * (1 + JITTER * jitter)
        if retry_after_s is not None:
            wait_s = max(wait_s, min(retry_after_s, MAX_RETRY_AFTER_S))
        wait_s = max(wait_s, 0.001)  # the key under `due/` must differ from the current one
        due = attempt.at + timedelta(milliseconds=attempt.duration_ms, seconds=wait_s)
        return after._free(next_attempt_at=in_whole_ms(due))


def new_secret() -> str:
    """A fresh random secret."""
    return _SECRET + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed(
    secrets: Sequence[str], *, message_id: str, at: datetime, payload: str
) -> dict[str, str]:
    """The signature headers of a message, with one signature for each secret.

    >>> at = datetime.fromtimestamp(1614265330, UTC)
    >>> signed(
    ...     ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    ...     message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    ...     at=at,
    ...     payload='{"test": 2432232314}',
    ... )["webhook-signature"]
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.{payload}".encode()
    signatures = (
        b64encode(hmac.digest(b64decode(each.removeprefix(_SECRET)), content, "sha256")).decode()
        for each in secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


def ms_of(at: datetime) -> int:
    """Milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def in_whole_ms(at: datetime) -> datetime:
    """The time in whole milliseconds, the resolution of object keys."""
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)
