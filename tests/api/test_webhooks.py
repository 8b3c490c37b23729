from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.webhook import (
    DeliveryList,
    DeliveryObject,
    NewWebhookObject,
    WebhookList,
    WebhookObject,
)
from api.services.webhooks import MAX_WEBHOOKS
from shared import object_keys
from shared.errors import StoreUnavailable
from shared.webhook_store import WebhookStore
from shared.webhooks import EVENTS, Attempt, Webhook
from tests.api.conftest import World
from tests.problems import assert_problem
from workers.job_completion.webhook_events import announce

URL = "https://example.org/hook"


@pytest.fixture
def create(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Makes a webhook of keywords."""

    def make(**said: Any) -> dict[str, Any]:
        answer = client.post("/v1/webhooks", json={"url": URL, **said})
        assert answer.status_code == 201, answer.get_json()
        return dict(answer.get_json())

    return make


def record(world: World, made: dict[str, Any]) -> Webhook:
    return WebhookStore(store=world.store).load("acme", made["id"])[0]


class TestCreate:
    def test_a_webhook_is_told_of_all_unless_it_says_of_what(self, create):
        made = create()

        NewWebhookObject.model_validate(made)
        assert made["events"] == list(EVENTS)
        assert made["enabled"] is True
        chosen = create(events=["job.failed", "batch.failed"], description="pager")
        assert (chosen["events"], chosen["description"]) == (
            ["job.failed", "batch.failed"],
            "pager",
        )

    def test_its_secret_is_shown_once(self, client: FlaskClient, create):
        made = create()
        kind, _, secret = made["secret"].partition("_")

        assert kind == "whsec"
        assert len(base64.b64decode(secret)) == 32
        for path in ("/v1/webhooks", f"/v1/webhooks/{made['id']}"):
            assert secret not in client.get(path).get_data(as_text=True)

    def test_it_says_where_it_is(self, client: FlaskClient):
        answer = client.post("/v1/webhooks", json={"url": URL})

        assert client.get(answer.headers["Location"]).get_json()["url"] == URL

    @pytest.mark.parametrize(
        ("said", "field", "says"),
        [
            ({}, "url", "is missing"),
            ({"url": 5}, "url", "must be a string"),
            ({"url": "file:///etc/passwd"}, "url", "http:// or https://"),
            ({"url": "https://user:secret@example.org/"}, "url", "user name or password"),
            ({"url": "https://example.org:22/"}, "url", "port 22"),
            ({"url": "http://127.0.0.1/"}, "url", "address that is not public"),
            ({"url": "http://169.254.169.254/latest"}, "url", "address that is not public"),
            ({"url": "http://[::ffff:10.0.0.1]/"}, "url", "address that is not public"),
            ({"url": "https://example.org/" + "x" * 3000}, "url", "2048"),
            ({"url": URL, "events": ["job.started"]}, "events[0]", "must be"),
            ({"url": URL, "events": []}, "events", "at least one"),
            ({"url": URL, "events": "job.failed"}, "events", "must be a list"),
            ({"url": URL, "description": "x" * 201}, "description", "200"),
            ({"url": URL, "secret": "whsec_mine"}, "secret", "unknown field"),
        ],
    )
    def test_what_is_wrong_is_named(self, client: FlaskClient, world: World, said, field, says):
        answer = client.post("/v1/webhooks", json=said)

        body = assert_problem(answer, 422, "VALIDATION_ERROR", field=field, says=says)
        assert "secret@" not in str(body)
        assert not list(world.store.list("webhooks/"))

    def test_what_the_operator_allowed_is_accepted(self, make: Callable[..., World]):
        world = make(fetch_networks="127.0.0.0/8", fetch_ports="9000")

        answer = world.client().post("/v1/webhooks", json={"url": "http://127.0.0.1:9000/"})

        assert answer.status_code == 201, answer.get_json()

    def test_an_account_has_a_bounded_number(self, client: FlaskClient, create):
        made = [create() for _ in range(MAX_WEBHOOKS)]

        answer = client.post("/v1/webhooks", json={"url": URL})
        assert_problem(answer, 403, "AUTHZ_RESOURCE_LIMIT_EXCEEDED", says="16 webhooks")
        client.delete(f"/v1/webhooks/{made[0]['id']}")
        create()

    def test_sent_twice_with_a_key_it_is_made_once(self, client: FlaskClient, world: World):
        headers = {"Idempotency-Key": "k"}
        one, two = (
            client.post("/v1/webhooks", json={"url": URL}, headers=headers) for _ in range(2)
        )

        assert one.get_json() == two.get_json()
        assert two.headers["Idempotent-Replayed"] == "true"
        assert len(list(world.store.list("webhooks/"))) == 1


class TestFind:
    def test_all_are_listed_newest_first(self, client: FlaskClient, create):
        made = [create(description=str(n))["id"] for n in range(3)]

        listed = client.get("/v1/webhooks").get_json()

        WebhookList.model_validate(listed)
        assert [each["id"] for each in listed["data"]] == made[::-1]

    def test_nobody_sees_those_of_another(self, world: World, create):
        made = create()
        other = world.client(account="other")
        path = f"/v1/webhooks/{made['id']}"

        assert other.get("/v1/webhooks").get_json()["data"] == []
        for answer in (
            other.get(path),
            other.patch(path, json={"enabled": False}),
            other.delete(path),
            other.post(f"{path}/rotate"),
            other.post(f"{path}/test"),
            other.get(f"{path}/deliveries"),
            other.post(f"{path}/deliveries/msg_x/resend"),
        ):
            assert_problem(answer, 404, "RESOURCE_NOT_FOUND", says="no such webhook")

    @pytest.mark.parametrize("webhook_id", ["wh_0", "wh_0000000000000000", "..", "x.json"])
    def test_one_that_is_not_there_is_404(self, client: FlaskClient, webhook_id: str):
        assert_problem(client.get(f"/v1/webhooks/{webhook_id}"), 404, "RESOURCE_NOT_FOUND")

    def test_a_key_needs_the_scope_of_jobs(self, world: World):
        answer = world.client("classify", "train").get("/v1/webhooks")

        assert_problem(answer, 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert world.client("jobs").get("/v1/webhooks").status_code == 200


class TestChange:
    def test_what_is_said_changes_and_the_rest_stays(self, client: FlaskClient, create):
        made = create(description="old", events=["job.failed"])

        answer = client.patch(
            f"/v1/webhooks/{made['id']}", json={"url": "https://example.com/", "enabled": False}
        )

        changed = answer.get_json()
        WebhookObject.model_validate(changed)
        assert (changed["url"], changed["enabled"]) == ("https://example.com/", False)
        assert (changed["description"], changed["events"]) == ("old", ["job.failed"])
        all_again = client.patch(f"/v1/webhooks/{made['id']}", json={"events": None}).get_json()
        assert all_again["events"] == list(EVENTS)

    def test_enabled_again_it_has_a_fresh_start(self, client: FlaskClient, world: World, create):
        made = create()
        records = WebhookStore(store=world.store)
        now = datetime.now(UTC)
        records.change(
            "acme",
            made["id"],
            lambda each: each.disabled("410").model_copy(update={"failing_since": now}),
        )

        assert client.get(f"/v1/webhooks/{made['id']}").get_json()["disabled_reason"] == "410"
        changed = client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True}).get_json()

        assert changed["enabled"] is True
        assert (changed["disabled_reason"], changed["failing_since"]) == (None, None)

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({}, None),
            ({"url": "http://10.0.0.1/"}, "url"),
            ({"url": ""}, "url"),
            ({"enabled": "no"}, "enabled"),
            ({"events": []}, "events"),
        ],
    )
    def test_what_is_wrong_is_named(self, client: FlaskClient, create, said, field):
        made = create()

        answer = client.patch(f"/v1/webhooks/{made['id']}", json=said)

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)

    def test_deleted_it_is_gone_with_its_log(self, client: FlaskClient, world: World, create):
        made = create()
        client.post(f"/v1/webhooks/{made['id']}/test")

        assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 200

        assert_problem(client.get(f"/v1/webhooks/{made['id']}"), 404, "RESOURCE_NOT_FOUND")
        assert not list(world.store.list(object_keys.DELIVERIES))

    def test_rotated_it_has_a_new_secret_and_the_old_one_for_a_day(
        self, client: FlaskClient, world: World, create
    ):
        made = create()

        rotated = client.post(f"/v1/webhooks/{made['id']}/rotate").get_json()

        NewWebhookObject.model_validate(rotated)
        now = datetime.now(UTC)
        kept = record(world, made)
        assert kept.secrets(now) == (rotated["secret"], made["secret"])
        assert kept.secrets(now + timedelta(hours=24, seconds=1)) == (rotated["secret"],)


class TestDeliveries:
    @pytest.fixture
    def told(self, client: FlaskClient, world: World, create) -> Iterator[dict[str, Any]]:
        """A webhook that was told of three jobs."""
        made = create()
        for _ in range(3):
            job = client.post(
                "/v1/classify",
                json={"input": ["a"], "labels": ["x", "y"]},
                headers={"Prefer": "respond-async"},
            ).get_json()
            announce(world.store, "acme", job["id"])
        return made

    def test_the_log_is_paged_newest_first(self, client: FlaskClient, told):
        path = f"/v1/webhooks/{told['id']}/deliveries"
        whole = client.get(path).get_json()

        DeliveryList.model_validate(whole)
        times = [each["created_at"] for each in whole["data"]]
        assert len(times) == 3
        assert times == sorted(times, reverse=True)
        first = client.get(f"{path}?limit=2").get_json()
        rest = client.get(f"{path}?limit=2&after={first['last_id']}").get_json()
        assert (first["has_more"], rest["has_more"]) == (True, False)
        assert first["data"] + rest["data"] == whole["data"]

    def test_a_message_says_what_it_is_about(self, client: FlaskClient, told):
        (one, *_) = client.get(f"/v1/webhooks/{told['id']}/deliveries").get_json()["data"]

        assert (one["event"], one["status"]) == ("job.succeeded", "pending")
        assert client.get(f"/v1/jobs/{one['job_id']}").status_code == 200

    def test_its_attempts_are_shown(self, client: FlaskClient, world: World, told):
        (one, *_) = client.get(f"/v1/webhooks/{told['id']}/deliveries").get_json()["data"]
        attempt = Attempt(at=datetime.now(UTC), duration_ms=12, status=503)
        WebhookStore(store=world.store).change_delivery(
            "acme",
            told["id"],
            one["id"],
            lambda each: each.tried(attempt, retry_after_s=None, schedule_s=(0, 9), jitter=0),
        )

        (shown, *_) = client.get(f"/v1/webhooks/{told['id']}/deliveries").get_json()["data"]

        (tried,) = shown["attempts"]
        assert (tried["status"], tried["duration_ms"], tried["error"]) == (503, 12, None)
        assert shown["next_attempt_at"] > tried["at"]

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=nonsense"])
    def test_a_page_that_cannot_be_is_refused(self, client: FlaskClient, told, query):
        answer = client.get(f"/v1/webhooks/{told['id']}/deliveries?{query}")

        assert_problem(answer, 422, "VALIDATION_ERROR", field=query.partition("=")[0])

    def test_one_is_sent_again_with_its_id(self, client: FlaskClient, world: World, told):
        path = f"/v1/webhooks/{told['id']}/deliveries"
        (one, *_) = client.get(path).get_json()["data"]
        records = WebhookStore(store=world.store)
        records.change_delivery("acme", told["id"], one["id"], lambda e: e.ended("failed", "no"))

        answer = client.post(f"{path}/{one['id']}/resend")

        assert answer.status_code == 202
        again = answer.get_json()
        DeliveryObject.model_validate(again)
        assert (again["id"], again["status"], again["reason"]) == (one["id"], "pending", None)
        assert any(name.endswith(one["id"]) for name in world.store.list(object_keys.DUE))

    @pytest.mark.parametrize("delivery_id", ["msg_x", "msg_" + "0" * 26])
    def test_one_that_is_not_there_cannot_be_sent_again(
        self, client: FlaskClient, told, delivery_id
    ):
        answer = client.post(f"/v1/webhooks/{told['id']}/deliveries/{delivery_id}/resend")

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND", says="no such delivery")

    def test_a_test_is_a_message_of_its_own(self, client: FlaskClient, world: World, create):
        made = create(events=["job.failed"])

        answer = client.post(f"/v1/webhooks/{made['id']}/test")

        assert answer.status_code == 202
        assert answer.get_json()["event"] == "webhook.test"
        assert len(list(world.store.list(object_keys.DUE))) == 1

    def test_to_one_that_is_disabled_nothing_is_sent(self, client: FlaskClient, told):
        path = f"/v1/webhooks/{told['id']}"
        (one, *_) = client.get(f"{path}/deliveries").get_json()["data"]
        client.patch(path, json={"enabled": False})

        for answer in (
            client.post(f"{path}/test"),
            client.post(f"{path}/deliveries/{one['id']}/resend"),
        ):
            assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="disabled")


def test_while_the_store_is_away_it_says_so(client: FlaskClient, world: World, create):
    create()

    def away(name: str, *_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the object store is away")

    world.store.list = away  # type: ignore[method-assign]
    assert_problem(client.get("/v1/webhooks"), 503, "SERVICE_UNAVAILABLE")
