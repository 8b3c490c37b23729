"""Calls that schemathesis makes from the OpenAPI document: what it promises, holds."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from api.schemas.example_file import TYPES
from api.server.failed_auth_limiter import WrongKeys
from shared import ids, object_keys
from shared.batches import StoredFile
from shared.classifier_store import ClassifierStore
from shared.errors import PreconditionFailed
from shared.messages import encode
from shared.webhook_messages import trial_of
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook, new_secret
from tests.api.conftest import make_world
from tests.classifiers import put_classifier

# It would skip what it cannot write; any words will do where the body is no JSON.
schemathesis.serializer.alias([*TYPES, "application/octet-stream"], "text/plain")


@schemathesis.deserializer("text/event-stream")
def text_of_events(context: schemathesis.DeserializationContext, response: Any) -> list[str]:
    """The stream as the text that the document says it is, not as objects."""
    return [response.content.decode()]


WORLD = make_world(wrong_keys=WrongKeys(per_minute=1_000_000))  # it tries the wrong ones too
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", WORLD.app)
# A wrong body that is also too large is refused as too large.
REFUSALS = SCHEMA.config.checks.negative_data_rejection
REFUSALS.expected_statuses = [*REFUSALS.expected_statuses, "413"]


@SCHEMA.auth()
class Key:
    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        return WORLD.key()

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@SCHEMA.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Make half of the things that are asked for ones that are there."""
    there = {
        "classifier_id": a_classifier,
        "file_id": a_file,
        "batch_id": a_batch,
        "upload_id": an_upload,
        "webhook_id": a_webhook,
        "delivery_id": a_delivery,
    }
    found = dict(path_parameters or {})
    for name, asked in found.items():
        if name in there and len(asked) % 2:
            found[name] = there[name]()
    return found


def a_classifier() -> str:
    """The name of a classifier; it is made if an earlier call has deleted it."""
    records = ClassifierStore(store=WORLD.store)
    if not any(records.all("acme")):
        put_classifier(WORLD.store, name="spam", versions=2, keep_examples=True)
    return next(record.name or record.id for record in records.all("acme"))


def a_file() -> str:
    """The id of a fresh file."""
    file = StoredFile(
        id=ids.file_id(0, ids.random_bits()),
        purpose="batch",
        filename="größe.jsonl",
        bytes=12,
        created_at=0,
    )
    WORLD.store.put(object_keys.file_content("acme", file.id), b'{"text":"a"}')
    WORLD.store.put(object_keys.file("acme", file.id), encode(file))
    return file.id


def an_upload() -> str:
    """The id of a fresh upload."""
    body = {"bytes": 12, "filename": "größe.jsonl", "purpose": "batch"}
    return str(WORLD.client().post("/v1/uploads", json=body).get_json()["id"])


def a_batch() -> str:
    """The id of a fresh batch; it has ended."""
    body = {"input_file_id": a_file(), "classify": {"labels": ["x", "y"]}}
    return str(WORLD.client().post("/v1/batches", json=body).get_json()["id"])


def a_webhook() -> str:
    """The id of a webhook that was told something; it is made if an earlier call has deleted it."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    webhook = Webhook(
        id=f"wh_{'0' * 16}",
        account="acme",
        url="https://example.org/",
        secret=new_secret(),
        created_at=now,
        updated_at=now,
    )
    with suppress(PreconditionFailed):
        records = WebhookStore(store=WORLD.store)
        records.add(trial_of(webhook, now).model_copy(update={"id": f"msg_{'0' * 26}"}))
        records.create(webhook)
    return webhook.id


def a_delivery() -> str:
    """The id of what it was told."""
    a_webhook()
    return f"msg_{'0' * 26}"


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_what_the_document_promises_holds(case: schemathesis.Case):
    # Not every body of the right shape is one that makes sense: labels must differ, models exist.
    # And a classifier may be called "import", so that its path has the methods of a classifier too.
    # The test client of werkzeug does not decode compressed answers.
    case.call_and_validate(
        headers={"Accept-Encoding": "identity"},
        excluded_checks=[allow_header_conformance, positive_data_acceptance],
    )
