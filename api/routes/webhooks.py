"""/v1/webhooks: the caller's own, one of them, its secret, what it was told, and trying it out."""

from __future__ import annotations

from flask import Blueprint, Response

from api.http import json_body, middleware, pagination
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.schemas import body
from api.schemas.webhook import (
    parse_webhook,
    parse_webhook_change,
    render_deliveries,
    render_delivery,
    render_webhook,
    render_webhooks,
)
from api.services.idempotency import Idempotency
from api.services.webhooks import Webhooks
from shared import ids

_DEFAULT_LIMIT = 20
_MAX_LISTED = 100


def blueprint(*, webhooks: Webhooks, idempotency: Idempotency, max_body_bytes: int) -> Blueprint:
    """The routes."""
    routes = Blueprint("webhooks", __name__)

    @routes.before_request
    def check_scope() -> None:
        middleware.caller().require("jobs")

    @routes.post("/v1/webhooks")
    def create() -> Response:
        data = json_body.data(max_bytes=max_body_bytes)
        said = parse_webhook(body.parse(data))

        def run(_: str | None) -> Response:
            made = webhooks.create(middleware.caller().account, said)
            location = {"Location": f"{middleware.root()}/v1/webhooks/{made.id}"}
            return reply(render_webhook(made, secret=True), 201, location)

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    @routes.get("/v1/webhooks")
    def listing() -> Response:
        return reply(render_webhooks(webhooks.all(middleware.caller().account)))

    @routes.get("/v1/webhooks/<webhook_id>")
    def one(webhook_id: str) -> Response:
        return reply(render_webhook(webhooks.get(middleware.caller().account, webhook_id)))

    @routes.patch("/v1/webhooks/<webhook_id>")
    def change(webhook_id: str) -> Response:
        said = parse_webhook_change(body.parse(json_body.data(max_bytes=max_body_bytes)))
        return reply(render_webhook(webhooks.change(middleware.caller().account, webhook_id, said)))

    @routes.delete("/v1/webhooks/<webhook_id>")
    def delete(webhook_id: str) -> Response:
        webhooks.delete(middleware.caller().account, webhook_id)
        return reply({"message": "the webhook is deleted"})

    @routes.post("/v1/webhooks/<webhook_id>/rotate")
    def rotate(webhook_id: str) -> Response:
        def run(_: str | None) -> Response:
            made = webhooks.rotate(middleware.caller().account, webhook_id)
            return reply(render_webhook(made, secret=True))

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    @routes.post("/v1/webhooks/<webhook_id>/test")
    def test(webhook_id: str) -> Response:
        def run(_: str | None) -> Response:
            return reply(
                render_delivery(webhooks.test(middleware.caller().account, webhook_id)), 202
            )

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    @routes.get("/v1/webhooks/<webhook_id>/deliveries")
    def deliveries(webhook_id: str) -> Response:
        after = pagination.after(ids.is_delivery_id, what="delivery")
        limit = pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)
        listed, has_more = webhooks.deliveries(
            middleware.caller().account, webhook_id, after=after, limit=limit
        )
        return reply(render_deliveries(listed, has_more=has_more))

    @routes.post("/v1/webhooks/<webhook_id>/deliveries/<delivery_id>/resend")
    def resend(webhook_id: str, delivery_id: str) -> Response:
        def run(_: str | None) -> Response:
            again = webhooks.resend(middleware.caller().account, webhook_id, delivery_id)
            return reply(render_delivery(again), 202)

        return once(idempotency, b"", run, reserve_s=MARGIN_S)

    return routes
