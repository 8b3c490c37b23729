"""Webhooks in the API, and the log of their deliveries.

Only the response that creates a secret contains it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.schema_base import Schema, bounded
from shared.validation import refuse, translated
from shared.webhooks import EVENTS, MAX_DESCRIPTION_CHARS, Delivery, DeliveryState, Event, Webhook

_EVENTS_ABOUT = "Events to deliver; absent: all, including future ones."
_URL_ABOUT = "An http or https URL with a public address and a port that the operator allows."


class WebhookObject(BaseModel):
    """A URL that receives the events of jobs and batches."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[Event]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(
        description="Why the service disabled the webhook; null if you disabled it."
    )
    failing_since: datetime | None = Field(description="Every delivery since then has failed.")
    created_at: datetime
    updated_at: datetime


class NewWebhookObject(WebhookObject):
    """A webhook with its secret. The secret is shown only once: store it."""

    secret: str = Field(description="The key that signs each message, as in Standard Webhooks.")


class WebhookList(BaseModel):
    """The webhooks of the account, newest first."""

    object: Literal["list"]
    data: list[WebhookObject]


class AttemptObject(BaseModel):
    """One attempt to deliver a message."""

    at: datetime
    duration_ms: int
    status: int | None = Field(description="HTTP status of the response.")
    error: str | None = Field(description="Why there was no response.")


class DeliveryObject(BaseModel):
    """A message to a webhook."""

    id: str = Field(description="The `webhook-id` of every attempt.")
    object: Literal["webhook.delivery"]
    event: str
    job_id: str | None = Field(description="The job that ended; null for a test.")
    status: DeliveryState
    reason: str | None = Field(description="Why there are no further attempts.")
    attempts: list[AttemptObject] = Field(description="The last 30 attempts, oldest first.")
    created_at: datetime
    next_attempt_at: datetime | None


class DeliveryList(BaseModel):
    """Messages to a webhook, newest first."""

    object: Literal["list"]
    data: list[DeliveryObject]
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page.")
    has_more: bool


class _WebhookInput(Schema):
    """A body that people write by hand: unknown fields are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class WebhookBody(_WebhookInput):
    """A new webhook."""

    url: str = Field(description=_URL_ABOUT)
    events: Annotated[list[Event] | None, BeforeValidator(bounded)] = Field(
        None, description=_EVENTS_ABOUT
    )
    description: str = Field("", description=f"At most {MAX_DESCRIPTION_CHARS} characters.")


class WebhookChangeBody(_WebhookInput):
    """Changes to a webhook; absent fields do not change."""

    url: str = Field("", description=_URL_ABOUT)
    events: Annotated[list[Event] | None, BeforeValidator(bounded)] = Field(
        None, description="Events to deliver; null: all."
    )
    description: str = Field("", description=f"At most {MAX_DESCRIPTION_CHARS} characters.")
    enabled: bool = Field(True, description="Whether messages are delivered.")

    @property
    def given(self) -> frozenset[str]:
        """The names of the fields to change."""
        return frozenset(self.model_fields_set)


_Body = TypeVar("_Body", WebhookBody, WebhookChangeBody)


def parse_webhook(body: object) -> WebhookBody:
    """Parse a new webhook; whether its URL is reachable is not checked.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    return _read(WebhookBody, body)


def parse_webhook_change(body: object) -> WebhookChangeBody:
    """Parse the changes to a webhook.

    Raises:
        InvalidRequest: A shape or value is wrong, or nothing is to change; names each place.
    """
    parsed = _read(WebhookChangeBody, body)
    if not parsed.given:
        fields = ", ".join(WebhookChangeBody.model_fields)
        refuse("body", f"changes nothing: send at least one of {fields}")
    return parsed


def render_webhook(webhook: Webhook, *, secret: bool = False) -> dict[str, Any]:
    """The webhook object; with its secret only after its creation."""
    shown = {
        "id": webhook.id,
        "object": "webhook",
        "url": webhook.url,
        "events": webhook.events or EVENTS,
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }
    return {**shown, "secret": webhook.secret} if secret else shown


def render_webhooks(webhooks: list[Webhook]) -> dict[str, Any]:
    """The webhooks of an account."""
    return {"object": "list", "data": [render_webhook(each) for each in webhooks]}


def render_delivery(delivery: Delivery) -> dict[str, Any]:
    """A delivery and its attempts."""
    return {
        "id": delivery.id,
        "object": "webhook.delivery",
        "event": delivery.event,
        "job_id": delivery.job_id,
        "status": delivery.state,
        "reason": delivery.reason,
        "attempts": [each.model_dump() for each in delivery.attempts],
        "created_at": delivery.created_at,
        "next_attempt_at": delivery.next_attempt_at,
    }


def render_deliveries(deliveries: list[Delivery], *, has_more: bool) -> dict[str, Any]:
    """A page of messages."""
    return {
        "object": "list",
        "data": [render_delivery(each) for each in deliveries],
        "first_id": deliveries[0].id if deliveries else None,
        "last_id": deliveries[-1].id if deliveries else None,
        "has_more": has_more,
    }


def _read(shape: type[_Body], body: object) -> _Body:
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        parsed = shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    if parsed.events is not None and not parsed.events:
        refuse("events", "must hold at least one event; leave it out for all of them")
    if len(parsed.description) > MAX_DESCRIPTION_CHARS:
        refuse("description", f"must have at most {MAX_DESCRIPTION_CHARS} characters")
    return parsed
