"""The calls about webhooks, as the table of all calls has them."""

from __future__ import annotations

from api.openapi.model import IDEMPOTENCY_KEY, TEXT, Operation, Parameter, after, limit
from api.schemas.classifier import DeletedObject
from api.schemas.webhook import (
    DeliveryList,
    DeliveryObject,
    NewWebhookObject,
    WebhookBody,
    WebhookChangeBody,
    WebhookList,
    WebhookObject,
)

_KEYED = (401, 403, 429, 500, 503, 507)
_WEBHOOK_ID = Parameter(
    name="webhook_id", where="path", about="The `id` of a webhook.", schema={**TEXT, "minLength": 1}
)
_DELIVERY_ID = Parameter(
    name="delivery_id",
    where="path",
    about="The `id` of a message.",
    schema={**TEXT, "minLength": 1},
)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/webhooks",
        scope="jobs",
        name="createWebhook",
        summary="Have an address told of the ends of your jobs and batches.",
        body=WebhookBody,
        parameters=(IDEMPOTENCY_KEY,),
        answers={201: NewWebhookObject},
        headers={201: ("Location", "Idempotent-Replayed")},
        problems=(*_KEYED, 409, 413, 415, 422),
    ),
    Operation(
        method="get",
        path="/v1/webhooks",
        scope="jobs",
        name="listWebhooks",
        summary="Your webhooks, newest first.",
        answers={200: WebhookList},
        problems=_KEYED,
    ),
    Operation(
        method="get",
        path="/v1/webhooks/{webhook_id}",
        scope="jobs",
        name="getWebhook",
        summary="A webhook, without its secret.",
        parameters=(_WEBHOOK_ID,),
        answers={200: WebhookObject},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="patch",
        path="/v1/webhooks/{webhook_id}",
        scope="jobs",
        name="changeWebhook",
        summary="Change its URL, events or description, enable or disable it.",
        body=WebhookChangeBody,
        parameters=(_WEBHOOK_ID,),
        answers={200: WebhookObject},
        problems=(*_KEYED, 404, 409, 413, 415, 422),
    ),
    Operation(
        method="delete",
        path="/v1/webhooks/{webhook_id}",
        scope="jobs",
        name="deleteWebhook",
        summary="Delete a webhook and its log; what it was not yet told it never is.",
        parameters=(_WEBHOOK_ID,),
        answers={200: DeletedObject},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/rotate",
        scope="jobs",
        name="rotateWebhook",
        summary="Give it a new secret; for 24 hours both sign.",
        parameters=(_WEBHOOK_ID, IDEMPOTENCY_KEY),
        answers={200: NewWebhookObject},
        headers={200: ("Idempotent-Replayed",)},
        problems=(*_KEYED, 404, 409, 422),
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/test",
        scope="jobs",
        name="testWebhook",
        summary="Have a message sent that says nothing but that messages arrive.",
        parameters=(_WEBHOOK_ID, IDEMPOTENCY_KEY),
        answers={202: DeliveryObject},
        headers={202: ("Idempotent-Replayed",)},
        problems=(*_KEYED, 404, 409, 422),
    ),
    Operation(
        method="get",
        path="/v1/webhooks/{webhook_id}/deliveries",
        scope="jobs",
        name="listDeliveries",
        summary="What it was told, newest first, with every attempt.",
        parameters=(_WEBHOOK_ID, after("msg_"), limit(default=20, most=100)),
        answers={200: DeliveryList},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
        scope="jobs",
        name="resendDelivery",
        summary="Have a message tried again, now.",
        parameters=(_WEBHOOK_ID, _DELIVERY_ID, IDEMPOTENCY_KEY),
        answers={202: DeliveryObject},
        headers={202: ("Idempotent-Replayed",)},
        problems=(*_KEYED, 404, 409, 422),
    ),
)
