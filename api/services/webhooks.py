"""The use cases of webhooks: create, get, change, delete and test them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from api.schemas.webhook import WebhookBody, WebhookChangeBody
from shared import ids, service_clock
from shared.errors import Conflict, InvalidRequest, NotFound, ResourceLimitExceeded
from shared.ports import ObjectStore
from shared.url_policy import Network, check_url
from shared.validation import refuse
from shared.webhook_messages import trial_of
from shared.webhook_store import WebhookStore
from shared.webhooks import Delivery, Webhook, new_secret

MAX_WEBHOOKS = 16
"""Of one account: each of them is told of each job."""


@dataclass(frozen=True, kw_only=True)
class Webhooks:
    """Webhooks as accounts see them; those of another are not found. `clock`: `service_clock.now`.

    `ports` and `networks` are those that the operator allows beside the usual ones.
    """

    store: ObjectStore
    ports: Collection[int] = ()
    networks: Collection[Network] = ()
    clock: Callable[[], float] = service_clock.now

    @property
    def records(self) -> WebhookStore:
        """The records on the store."""
        return WebhookStore(store=self.store, clock=self.clock)

    def create(self, account: str, body: WebhookBody) -> Webhook:
        """Make a webhook with a fresh secret.

        Raises:
            InvalidRequest: Its URL is refused.
            ResourceLimitExceeded: The account has as many as it may.
        """
        self._check(body.url)
        if len(self.records.ids(account)) >= MAX_WEBHOOKS:
            raise ResourceLimitExceeded(
                f"an account may have at most {MAX_WEBHOOKS} webhooks; delete one first"
            )
        now = self.records.now()
        webhook = Webhook(
            id=ids.webhook_id(),
            account=account,
            url=body.url,
            events=tuple(body.events or ()),
            description=body.description,
            secret=new_secret(),
            created_at=now,
            updated_at=now,
        )
        self.records.create(webhook)
        return webhook

    def all(self, account: str) -> list[Webhook]:
        """The account's webhooks, newest first."""
        return self.records.all(account)

    def get(self, account: str, webhook_id: str) -> Webhook:
        """One of them.

        Raises:
            NotFound: The account has no such webhook.
        """
        if not ids.is_webhook_id(webhook_id):
            raise NotFound("no such webhook")
        return self.records.load(account, webhook_id)[0]

    def change(self, account: str, webhook_id: str, body: WebhookChangeBody) -> Webhook:
        """Change what was said of one; enabled or at another URL it has a fresh start.

        Raises:
            InvalidRequest: The new URL is refused.
            NotFound: As for `get`.
        """
        if "url" in body.given:
            self._check(body.url)

        def changed(webhook: Webhook) -> Webhook:
            fields = body.model_dump(include=set(body.given))
            if "events" in fields:
                fields["events"] = tuple(body.events or ())
            if "enabled" in fields:
                fields["disabled_reason"] = None
            if not body.given.isdisjoint({"enabled", "url"}):
                fields["failing_since"] = None
            return webhook.model_copy(update={**fields, "updated_at": self.records.now()})

        return self.records.change(account, self.get(account, webhook_id).id, changed)

    def rotate(self, account: str, webhook_id: str) -> Webhook:
        """Give it a new secret; each one before signs beside it until a day after its end.

        Raises:
            NotFound: As for `get`.
        """
        now, secret = self.records.now(), new_secret()

        def rotated(webhook: Webhook) -> Webhook:
            return webhook.with_secret(secret, now).model_copy(update={"updated_at": now})

        return self.records.change(account, self.get(account, webhook_id).id, rotated)

    def delete(self, account: str, webhook_id: str) -> None:
        """Delete one, with its log; what it was not yet told it never is.

        Raises:
            NotFound: As for `get`.
        """
        self.records.delete(account, self.get(account, webhook_id).id)

    def deliveries(
        self, account: str, webhook_id: str, *, after: str, limit: int
    ) -> tuple[list[Delivery], bool]:
        """What it was told, newest first, after one of them; and whether there is more.

        Raises:
            NotFound: As for `get`.
        """
        webhook = self.get(account, webhook_id)
        return self.records.deliveries(account, webhook.id, after=after, limit=limit)

    def resend(self, account: str, webhook_id: str, delivery_id: str) -> Delivery:
        """Have a message tried again, now, and as often as a new one if that fails.

        Raises:
            NotFound: As for `get`; also if the message is no longer kept.
            Conflict: The webhook is disabled.
        """
        webhook = self._enabled(account, webhook_id)
        if not ids.is_delivery_id(delivery_id):
            raise NotFound("no such delivery")
        now = self.records.now()
        return self.records.change_delivery(
            account, webhook.id, delivery_id, lambda each: each.again(now)
        )

    def test(self, account: str, webhook_id: str) -> Delivery:
        """Have a message sent that says nothing but that messages arrive.

        Raises:
            NotFound: As for `get`.
            Conflict: The webhook is disabled.
        """
        delivery = trial_of(self._enabled(account, webhook_id), self.records.now())
        self.records.add(delivery)
        return delivery

    def _enabled(self, account: str, webhook_id: str) -> Webhook:
        webhook = self.get(account, webhook_id)
        if not webhook.enabled:
            raise Conflict('the webhook is disabled; send PATCH with {"enabled": true} first')
        return webhook

    def _check(self, url: str) -> None:
        """Refuse a URL early; what its name leads to is looked at when something is sent.

        Raises:
            InvalidRequest: It is refused; names the field.
        """
        try:
            check_url(url, ports=self.ports, allowed_networks=self.networks)
        except InvalidRequest as exc:
            refuse("url", exc.detail)
