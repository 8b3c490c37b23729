"""/v1/webhooks: create, list, change, delete and test webhooks; secrets and deliveries."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import json_body, middleware, pagination
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.openapi.model import IDEMPOTENCY_KEY, REPLAYED, Operation, after, limit, path_id
from api.schemas import body
from api.schemas.classifier import DeletedObject
from api.schemas.webhook import (
    DeliveryList,
    DeliveryObject,
    NewWebhookObject,
    WebhookBody,
    WebhookChangeBody,
    WebhookList,
    WebhookObject,
    parse_webhook,
    parse_webhook_change,
    render_deliveries,
    render_delivery,
    render_webhook,
    render_webhooks,
)
from api.server.route_limits import small_body_bytes
from shared import ids

_DEFAULT_LIMIT = 20
_MAX_LISTED = 100

_WEBHOOK_ID = path_id("webhook_id", "The `id` of a webhook.")
_DELIVERY_ID = path_id("delivery_id", "The `id` of a message.")
_operation = partial(Operation, tag="Webhooks", scope="jobs")

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/webhooks",
        name="createWebhook",
        summary="Have an address told of the ends of your jobs and batches.",
        body=WebhookBody,
        parameters=(IDEMPOTENCY_KEY,),
        answers={201: NewWebhookObject},
        headers={201: ("Location", "Idempotent-Replayed")},
        example={
            "url": "https://hooks.example.org/pigeonhole",
            "events": ["batch.completed", "batch.failed"],
        },
    ),
    _operation(
        method="get",
        path="/v1/webhooks",
        name="listWebhooks",
        summary="Your webhooks, newest first.",
        answers={200: WebhookList},
    ),
    _operation(
        method="get",
        path="/v1/webhooks/{webhook_id}",
        name="getWebhook",
        summary="A webhook, without its secret.",
        parameters=(_WEBHOOK_ID,),
        answers={200: WebhookObject},
    ),
    _operation(
        method="patch",
        path="/v1/webhooks/{webhook_id}",
        name="changeWebhook",
        summary="Change its URL, events or description, enable or disable it.",
        body=WebhookChangeBody,
        parameters=(_WEBHOOK_ID,),
        answers={200: WebhookObject},
        problems=(409,),
        example={"enabled": False},
    ),
    _operation(
        method="delete",
        path="/v1/webhooks/{webhook_id}",
        name="deleteWebhook",
        summary="Delete a webhook and its log; what it was not yet told it never is.",
        parameters=(_WEBHOOK_ID,),
        answers={200: DeletedObject},
    ),
    _operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/rotate",
        name="rotateWebhook",
        summary="Give it a new secret; for 24 hours both sign.",
        parameters=(_WEBHOOK_ID, IDEMPOTENCY_KEY),
        answers={200: NewWebhookObject},
        headers=REPLAYED,
    ),
    _operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/test",
        name="testWebhook",
        summary="Have a message sent that says nothing but that messages arrive.",
        parameters=(_WEBHOOK_ID, IDEMPOTENCY_KEY),
        answers={202: DeliveryObject},
        headers={202: ("Idempotent-Replayed",)},
    ),
    _operation(
        method="get",
        path="/v1/webhooks/{webhook_id}/deliveries",
        name="listDeliveries",
        summary="What it was told, newest first, with every attempt.",
        parameters=(_WEBHOOK_ID, after("msg_"), limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)),
        answers={200: DeliveryList},
    ),
    _operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
        name="resendDelivery",
        summary="Have a message tried again, now.",
        parameters=(_WEBHOOK_ID, _DELIVERY_ID, IDEMPOTENCY_KEY),
        answers={202: DeliveryObject},
        headers={202: ("Idempotent-Replayed",)},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    webhooks, idempotency = services.webhooks, services.idempotency
    max_body_bytes = small_body_bytes(services.settings)
    routes = Blueprint("webhooks", __name__)

    @routes.post("/v1/webhooks")
    def create() -> Response:
        data = json_body.data(max_bytes=max_body_bytes)
        parsed = parse_webhook(body.parse(data))

        def run(_: str | None) -> Response:
            made = webhooks.create(middleware.caller().account, parsed)
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
        parsed = parse_webhook_change(body.parse(json_body.data(max_bytes=max_body_bytes)))
        return reply(
            render_webhook(webhooks.change(middleware.caller().account, webhook_id, parsed))
        )

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
