"""/v1/webhooks: the caller's own, one of them, its secret, what it was told, and trying it out."""

from __future__ import annotations

from flask import Blueprint, Response

from api import door
from api.idempotency import Idempotency
from api.routes import page, sent
from api.routes.once import MARGIN_S, once
from api.routes.reply import reply
from api.webhooks import Webhooks
from api.wire import body
from api.wire.webhook import (
    parse_webhook,
    parse_webhook_change,
    render_deliveries,
    render_delivery,
    render_webhook,
    render_webhooks,
)
from shared import ids

_DEFAULT_LIMIT = 20
_MOST_LISTED = 100


def blueprint(*, webhooks: Webhooks, idempotency: Idempotency, max_body_bytes: int) -> Blueprint:
    """The routes."""
    routes = Blueprint("webhooks", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("jobs")

    @routes.post("/v1/webhooks")
    def create() -> Response:
        data = sent.data(max_bytes=max_body_bytes)
        said = parse_webhook(body.parse(data))

        def run(_: str | None) -> Response:
            made = webhooks.create(door.caller().account, said)
            location = {"Location": f"{door.root()}/v1/webhooks/{made.id}"}
            return reply(render_webhook(made, secret=True), 201, location)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    @routes.get("/v1/webhooks")
    def listing() -> Response:
        return reply(render_webhooks(webhooks.all(door.caller().account)))

    @routes.get("/v1/webhooks/<webhook_id>")
    def one(webhook_id: str) -> Response:
        return reply(render_webhook(webhooks.get(door.caller().account, webhook_id)))

    @routes.patch("/v1/webhooks/<webhook_id>")
    def change(webhook_id: str) -> Response:
        said = parse_webhook_change(body.parse(sent.data(max_bytes=max_body_bytes)))
        return reply(render_webhook(webhooks.change(door.caller().account, webhook_id, said)))

    @routes.delete("/v1/webhooks/<webhook_id>")
    def delete(webhook_id: str) -> Response:
        webhooks.delete(door.caller().account, webhook_id)
        return reply({"message": "the webhook is deleted"})

    @routes.post("/v1/webhooks/<webhook_id>/rotate")
    def rotate(webhook_id: str) -> Response:
        def run(_: str | None) -> Response:
            made = webhooks.rotate(door.caller().account, webhook_id)
            return reply(render_webhook(made, secret=True))

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    @routes.post("/v1/webhooks/<webhook_id>/test")
    def test(webhook_id: str) -> Response:
        def run(_: str | None) -> Response:
            return reply(render_delivery(webhooks.test(door.caller().account, webhook_id)), 202)

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    @routes.get("/v1/webhooks/<webhook_id>/deliveries")
    def deliveries(webhook_id: str) -> Response:
        after = page.after(ids.is_delivery_id, what="delivery")
        limit = page.limit(default=_DEFAULT_LIMIT, most=_MOST_LISTED)
        listed, has_more = webhooks.deliveries(
            door.caller().account, webhook_id, after=after, limit=limit
        )
        return reply(render_deliveries(listed, has_more=has_more))

    @routes.post("/v1/webhooks/<webhook_id>/deliveries/<delivery_id>/resend")
    def resend(webhook_id: str, delivery_id: str) -> Response:
        def run(_: str | None) -> Response:
            again = webhooks.resend(door.caller().account, webhook_id, delivery_id)
            return reply(render_delivery(again), 202)

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    return routes
