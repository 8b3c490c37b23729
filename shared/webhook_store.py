"""Webhooks and deliveries on the object store: lookup, creation, and changes by compare-and-set.

The record of a delivery decides when the next attempt is due. Its key under `due/` is only an index
by time: it is written after the record, and an entry that disagrees with the record has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from shared import object_keys, service_clock
from shared.errors import Conflict, NotFound, ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.retraining import Run
from shared.webhook_messages import run_delivery
from shared.webhooks import Delivery, Event, Webhook

_ATTEMPTS = 20  # of a change in conflict with other writers


class DueDelivery(NamedTuple):
    """A delivery that is due at a time."""

    ms: int
    account: str
    webhook_id: str
    delivery_id: str


@dataclass(frozen=True, kw_only=True)
class WebhookStore:
    """The webhooks of all accounts. `clock` returns seconds since 1970."""

    store: ObjectStore
    clock: Callable[[], float] = service_clock.now

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def load(self, account: str, webhook_id: str) -> tuple[Webhook, str]:
        """The record and its ETag.

        Raises:
            NotFound: The account has no such webhook.
        """
        try:
            found = self.store.get(object_keys.webhook(account, webhook_id))
        except ObjectMissing:
            raise NotFound("no such webhook") from None
        return decode(Webhook, found.data), found.etag

    def ids(self, account: str) -> list[str]:
        """The ids of the account's webhooks."""
        prefix = object_keys.webhooks_of(account)
        names = self.store.list(prefix)
        return [name.removeprefix(prefix).removesuffix(".json") for name in names]

    def all(self, account: str) -> list[Webhook]:
        """The account's webhooks, newest first."""
        found = []
        for webhook_id in self.ids(account):
            with suppress(NotFound):  # deleted in the meantime
                found.append(self.load(account, webhook_id)[0])
        return sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)

    def create(self, webhook: Webhook) -> None:
        """Store a new webhook."""
        name = object_keys.webhook(webhook.account, webhook.id)
        self.store.put(name, encode(webhook), if_absent=True)

    def change(
        self, account: str, webhook_id: str, change: Callable[[Webhook], Webhook]
    ) -> Webhook:
        """Apply a change to the current record, with any number of concurrent writers.

        Raises:
            NotFound: There is no such webhook.
            Conflict: Too many concurrent changes.
        """
        for _ in range(_ATTEMPTS):
            record, etag = self.load(account, webhook_id)
            changed = change(record)
            if changed == record:
                return record
            with suppress(PreconditionFailed, ObjectMissing):
                self.store.put(
                    object_keys.webhook(account, webhook_id), encode(changed), if_match=etag
                )
                return changed
        raise Conflict("too many concurrent changes to the webhook; try again", retry_after_s=1)

    def delete(self, account: str, webhook_id: str) -> None:
        """Delete a webhook: first the record, which stops deliveries, then its log."""
        self.store.delete(object_keys.webhook(account, webhook_id))
        for name in list(self.store.list(object_keys.deliveries_of(account, webhook_id))):
            self.store.delete(name)

    def add(self, delivery: Delivery) -> None:
        """Store and schedule a delivery, unless it exists already. May be repeated."""
        name = object_keys.delivery(delivery.account, delivery.webhook_id, delivery.id)
        try:
            self.store.put(name, encode(delivery), if_absent=True)
        except PreconditionFailed:
            with suppress(NotFound):
                delivery, _ = self.delivery(delivery.account, delivery.webhook_id, delivery.id)
        if not delivery.attempts:  # else its due time has changed since its creation
            self.announce_due(delivery)

    def announce_run(self, run: Run, event: Event, at: datetime) -> None:
        """Create the deliveries of an event of a retraining run. May be repeated."""
        for webhook in self.all(run.account):
            if webhook.wants(event):
                self.add(run_delivery(run, event, webhook, at))

    def delivery(self, account: str, webhook_id: str, delivery_id: str) -> tuple[Delivery, str]:
        """The record of a delivery and its ETag.

        Raises:
            NotFound: The webhook has no such delivery, or it was deleted.
        """
        try:
            found = self.store.get(object_keys.delivery(account, webhook_id, delivery_id))
        except ObjectMissing:
            raise NotFound("no such delivery") from None
        return decode(Delivery, found.data), found.etag

    def deliveries(
        self, account: str, webhook_id: str, *, after: str, limit: int
    ) -> tuple[list[Delivery], bool]:
        """Deliveries, newest first, after the id `after`; and whether there are more."""
        prefix = object_keys.deliveries_of(account, webhook_id)
        last = object_keys.delivery(account, webhook_id, after) if after else ""
        names = list(islice(self.store.list(prefix, after=last), limit + 1))
        found = []
        for name in names[:limit]:
            with suppress(ObjectMissing):  # deleted in the meantime
                found.append(decode(Delivery, self.store.get(name).data))
        return found, len(names) > limit

    def replace(self, delivery: Delivery, etag: str) -> bool:
        """Write the record unless it has changed since it was read with `etag`."""
        name = object_keys.delivery(delivery.account, delivery.webhook_id, delivery.id)
        try:
            self.store.put(name, encode(delivery), if_match=etag)
        except (PreconditionFailed, ObjectMissing):
            return False
        return True

    def change_delivery(
        self,
        account: str,
        webhook_id: str,
        delivery_id: str,
        change: Callable[[Delivery], Delivery],
    ) -> Delivery:
        """Like `change`, for a delivery; also schedules its next attempt.

        Raises:
            NotFound: There is no such delivery.
            Conflict: Too many concurrent changes.
        """
        for _ in range(_ATTEMPTS):
            record, etag = self.delivery(account, webhook_id, delivery_id)
            changed = change(record)
            if self.replace(changed, etag):
                self.announce_due(changed)
                return changed
        raise Conflict("too many concurrent changes to the delivery; try again", retry_after_s=1)

    def announce_due(self, delivery: Delivery) -> None:
        """Schedule the next attempt of a delivery."""
        if delivery.due_ms is not None:
            ids = (delivery.account, delivery.webhook_id, delivery.id)
            self.store.put(object_keys.due(delivery.due_ms, *ids), b"")

    def due(self) -> Iterator[tuple[str, DueDelivery]]:
        """The keys of due deliveries and their contents, the longest overdue first."""
        now_ms = int(self.clock() * 1000)
        for name in self.store.list(object_keys.DUE):
            ms, _, rest = name.removeprefix(object_keys.DUE).partition(".")
            words = rest.rsplit(".", 2)
            if not ms.isdecimal() or len(words) != 3:
                continue  # consoles may create objects, too
            if int(ms) > now_ms:
                return
            yield name, DueDelivery(int(ms), *words)
