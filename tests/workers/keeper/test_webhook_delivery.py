"""Deliveries over real sockets, with a clock and a schedule of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from shared import ids, object_keys
from shared.errors import StoreUnavailable
from shared.webhook_messages import trial_of
from shared.webhook_store import WebhookStore
from shared.webhooks import SILENT_S, Delivery, Webhook, new_secret
from tests.fakes import FakeStore
from tests.third_party_servers import LOOPBACK, Stranger, redirect, stranger
from tests.webhook_receiver import Receiver
from workers.keeper.webhook_delivery import WebhookDelivery
from workers.outbound_http.client import Outbound

SCHEDULE_S = (0.0, 10.0, 100.0)
START_S = 1_800_000_000.0


class Post:
    """A courier, the store it stands on, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.now_s = START_S
        self.records = WebhookStore(store=self.store, clock=lambda: self.now_s)
        self.couriers: list[WebhookDelivery] = []
        self.ports: set[int] = set()

    def courier(self, **more: Any) -> WebhookDelivery:
        outbound = Outbound(networks=LOOPBACK, ports=self.ports)
        options = {"schedule_s": SCHEDULE_S, "timeout_s": 60.0, "jitter": lambda: 0.0} | more
        self.couriers.append(WebhookDelivery(self.records, outbound, **options))
        return self.couriers[-1]

    def webhook(self, server: Stranger | None = None, **changes: object) -> Webhook:
        now = self.records.now()
        if server is not None:
            self.ports.add(server.port)
        webhook = Webhook(
            id=ids.webhook_id(),
            account="acme",
            url=server.url("/hook?token=t") if server else "http://127.0.0.1:1/",
            secret=new_secret(),
            created_at=now,
            updated_at=now,
        ).model_copy(update=changes)
        self.records.create(webhook)
        return webhook

    def send(self, webhook: Webhook) -> Delivery:
        delivery = trial_of(webhook, self.records.now())
        self.records.add(delivery)
        return delivery

    def look(self, courier: WebhookDelivery | None = None) -> None:
        """Begin what is due and wait for its end."""
        courier = courier or self.courier()
        courier.deliver_due()
        assert courier.wait(timeout_s=60)

    def found(self, delivery: Delivery) -> Delivery:
        return self.records.delivery("acme", delivery.webhook_id, delivery.id)[0]

    def hook(self, webhook: Webhook) -> Webhook:
        return self.records.load("acme", webhook.id)[0]

    def due(self) -> list[str]:
        return list(self.store.list(object_keys.DUE))


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    for courier in made.couriers:
        courier.close()


@contextmanager
def receiving(*statuses: str, **headers: str) -> Iterator[tuple[Receiver, Stranger]]:
    receiver = Receiver(*statuses, **headers)
    with stranger(receiver) as server:
        try:
            yield receiver, server
        finally:
            receiver.holds.set()


def test_a_message_arrives_signed_and_its_log_says_so(post: Post):
    with receiving("204 No Content") as (receiver, server):
        webhook = post.webhook(server)
        delivery = post.send(webhook)
        post.look()

    (message,) = receiver.messages
    assert message.id == delivery.id
    assert message.signed_by(webhook.secret)
    assert message.body.decode() == delivery.payload
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-timestamp"] == str(int(START_S))
    done = post.found(delivery)
    assert (done.state, done.attempts[0].status, done.claimed_until) == ("delivered", 204, None)
    assert not post.due()


def test_after_a_rotation_both_secrets_sign(post: Post):
    with receiving() as (receiver, server):
        until = post.records.now() + timedelta(hours=1)
        webhook = post.webhook(server, old_secret=new_secret(), old_until=until)
        post.send(webhook)
        post.look()

    assert receiver.messages[0].signed_by(webhook.secret)
    assert receiver.messages[0].signed_by(webhook.old_secret)


def test_it_is_tried_again_by_the_schedule_with_the_same_id(post: Post):
    with receiving("500 No", "503 No", "200 OK") as (receiver, server):
        delivery = post.send(post.webhook(server))
        for at_s, arrived in ((0, 1), (9.9, 1), (10.1, 2), (50, 2), (111, 3), (500, 3)):
            post.now_s = START_S + at_s
            post.look()
            assert len(receiver.messages) == arrived, at_s

    assert {message.id for message in receiver.messages} == {delivery.id}
    assert len({message.headers["webhook-timestamp"] for message in receiver.messages}) == 3
    assert [each.status for each in post.found(delivery).attempts] == [500, 503, 200]
    assert post.found(delivery).state == "delivered"


def test_after_the_last_attempt_it_has_failed_and_says_so(post: Post):
    with receiving("500 No") as (receiver, server):
        delivery = post.send(post.webhook(server))
        for _ in range(5):
            post.look()
            post.now_s += 1000

    assert len(receiver.messages) == len(SCHEDULE_S)
    done = post.found(delivery)
    assert (done.state, done.reason) == ("failed", "given up after 3 attempts")
    assert not post.due()


def test_retry_after_is_followed(post: Post):
    with receiving("429 Slow Down", Retry_After="60") as (receiver, server):
        post.send(post.webhook(server))
        post.look()
        post.now_s += 30
        post.look()
        assert len(receiver.messages) == 1
        post.now_s += 40
        post.look()

    assert len(receiver.messages) == 2


def test_a_redirect_is_a_failure(post: Post):
    with stranger(redirect("/elsewhere")) as server:
        delivery = post.send(post.webhook(server))
        post.look()

    assert [each.status for each in post.found(delivery).attempts] == [302]
    assert post.found(delivery).state == "pending"
    assert len(server.heads) == 1


def test_who_cannot_be_reached_is_named_and_tried_again(post: Post):
    delivery = post.send(post.webhook())
    post.look()

    (attempt,) = post.found(delivery).attempts
    assert attempt.status is None
    assert "port 1" in attempt.error
    assert post.found(delivery).state == "pending"


def test_an_address_inside_is_never_posted_to(post: Post):
    with receiving() as (receiver, server):
        delivery = post.send(post.webhook(server))
        courier = WebhookDelivery(post.records, Outbound(ports=post.ports))
        post.look(courier)

    assert receiver.messages == []
    assert "address that is not public" in post.found(delivery).attempts[0].error


def test_410_disables_the_webhook(post: Post):
    with receiving("410 Gone") as (receiver, server):
        webhook = post.webhook(server)
        delivery, other = post.send(webhook), post.send(webhook)
        post.look()
        later = post.send(webhook)
        post.look()

    assert not post.hook(webhook).enabled
    assert "410" in post.hook(webhook).disabled_reason
    assert post.found(delivery).state == post.found(other).state == "failed"
    assert post.found(later).reason == "the webhook is disabled"
    assert len(receiver.messages) <= 2
    assert not post.due()


def test_a_webhook_of_which_all_fails_for_days_is_disabled(post: Post):
    with receiving("500 No", "500 No", "200 OK", "500 No") as (_, server):
        webhook = post.webhook(server)
        for days, failing, enabled in (
            (0, True, True),
            (4.9, True, True),
            (4.95, False, True),  # something arrived
            (5.1, True, True),
            (9.9, True, True),
            (10.2, True, False),
        ):
            post.now_s = START_S + days * 86400
            courier = post.courier(schedule_s=(0.0,))
            post.send(webhook)
            post.look(courier)
            found = post.hook(webhook)
            assert (found.failing_since is not None, found.enabled) == (failing, enabled), days

    assert f"{SILENT_S / 86400:g} days" in post.hook(webhook).disabled_reason


def test_what_is_deleted_is_not_delivered(post: Post):
    with receiving() as (receiver, server):
        webhook = post.webhook(server)
        post.send(webhook)
        orphan = post.send(webhook)
        post.store.delete(object_keys.delivery("acme", webhook.id, orphan.id))
        post.store.delete(object_keys.webhook("acme", webhook.id))
        post.look()

    assert receiver.messages == []
    assert not post.due()


def test_two_couriers_send_once(post: Post):
    with receiving() as (receiver, server):
        webhook = post.webhook(server)
        deliveries = [post.send(webhook) for _ in range(20)]
        couriers = [post.courier(), post.courier()]
        threads = [threading.Thread(target=post.look, args=(each,)) for each in couriers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        post.look()

    assert sorted(m.id for m in receiver.messages) == sorted(each.id for each in deliveries)


def test_what_a_killed_courier_held_is_tried_when_its_claim_ends(post: Post):
    with receiving() as (receiver, server):
        delivery = post.send(post.webhook(server))
        found, etag = post.records.delivery("acme", delivery.webhook_id, delivery.id)
        until = post.records.now() + timedelta(seconds=30)
        post.records.replace(
            found.model_copy(update={"claim": "dead", "claimed_until": until}), etag
        )

        post.look()
        assert receiver.messages == []
        post.now_s += 31
        post.look()

    assert [message.id for message in receiver.messages] == [delivery.id]


def test_a_courier_killed_after_its_outcome_loses_no_next_attempt(post: Post):
    with receiving("500 No", "200 OK") as (receiver, server):
        delivery = post.send(post.webhook(server))
        (first_due,) = post.due()
        post.look()
        for name in post.due():  # killed before it announced the next, and removed the old
            post.store.delete(name)
        post.store.put(first_due, b"")

        post.look()
        assert len(receiver.messages) == 1
        post.now_s += 11
        post.look()

    assert len(receiver.messages) == 2
    assert post.found(delivery).state == "delivered"
    assert not post.due()


def test_an_outage_of_the_store_puts_it_off(post: Post):
    class Away(FakeStore):
        refuses = False

        def put(self, name: str, data: Any, **conditions: Any) -> str:
            if self.refuses:
                raise StoreUnavailable("away")
            return super().put(name, data, **conditions)

    post.store = Away()
    post.records = WebhookStore(store=post.store, clock=lambda: post.now_s)
    with receiving() as (receiver, server):
        delivery = post.send(post.webhook(server))
        post.store.refuses = True
        post.look()
        assert receiver.messages == []
        post.store.refuses = False
        post.look()

    assert post.found(delivery).state == "delivered"


def test_of_one_webhook_two_are_under_way_and_others_pass_it_by(post: Post):
    with receiving() as (slow, slow_server), receiving() as (quick, quick_server):
        slow.holds.clear()
        crowd, single = post.webhook(slow_server), post.webhook(quick_server)
        waiting = [post.send(crowd) for _ in range(250)]
        post.send(single)
        courier = post.courier()
        courier.deliver_due()
        quick.wait_for(1)
        slow.wait_for(2)
        slow.holds.set()
        assert courier.wait(timeout_s=60)
        post.look(courier)

    assert slow.max_inside == 2
    assert sorted(m.id for m in slow.messages) == sorted(each.id for each in waiting)


def test_a_message_sent_again_by_hand_while_it_is_tried_is_not_lost(post: Post):
    with receiving("500 No", "200 OK") as (receiver, server):
        receiver.holds.clear()
        delivery = post.send(post.webhook(server))
        courier = post.courier()
        courier.deliver_due()
        receiver.wait_for(1)
        now = post.records.now()
        post.records.change_delivery(
            "acme", delivery.webhook_id, delivery.id, lambda each: each.again(now)
        )
        receiver.holds.set()
        assert courier.wait(timeout_s=60)
        post.now_s += 11
        post.look()

    assert post.found(delivery).state == "delivered"
    assert len(receiver.messages) == 2


def test_names_that_are_none_of_ours_are_passed_over(post: Post):
    post.store.put("due/left-by-a-console", b"")
    post.store.put("due/00000000000001.x", b"")

    post.look()

    assert len(post.due()) == 2


def test_no_line_of_the_log_holds_the_path_of_a_url(post: Post, caplog: Any):
    caplog.set_level("INFO", "pigeonhole")
    with receiving("500 No") as (_, server):
        post.send(post.webhook(server))
        post.look()

    said = [record.__dict__ for record in caplog.records]
    assert any(each["msg"] == "webhook.tried" for each in said)
    assert "token=t" not in str(said)


def test_what_is_not_due_is_not_looked_at(post: Post):
    read: list[str] = []
    get: Callable[[str], Any] = post.store.get

    def counting(name: str) -> Any:
        read.append(name)
        return get(name)

    webhook = post.webhook()
    post.now_s += 1000
    post.send(webhook)
    post.now_s -= 1000
    post.store.get = counting  # type: ignore[method-assign]
    post.look()

    assert read == []
