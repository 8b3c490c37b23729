from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from api.app import OPERATIONS
from api.openapi.document import document
from api.schemas.example_file import TYPES
from api.server.failed_auth_limiter import WrongKeys
from shared import ids, object_keys
from shared.batches import StoredFile
from shared.classifier_store import ClassifierStore
from shared.dialects import openai, registry
from shared.dialects.cn8_shapes import ProxyProblem
from shared.dialects.openai import OpenAIError
from shared.dialects.problem import Problem
from shared.errors import PreconditionFailed
from shared.messages import encode
from shared.webhook_store import WebhookStore
from shared.webhooks import Webhook, new_secret, trial_of
from tests.api.conftest import World, make_world
from tests.classifiers import put_classifier

BYTES = {  # which JSON cannot hold
    f"application/{kind}" for kind in ("gzip", "octet-stream", "vnd.apache.parquet", "zstd")
}
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


def test_it_is_a_valid_document():
    OpenAPIV31SpecValidator(document(OPERATIONS)).validate()


def test_it_describes_every_route_and_no_other(world: World):
    undocumented = ("/docs", "/errors/", "/openapi.json", "/dashboard", "/static/")
    routes = {
        (method.lower(), re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule))
        for rule in world.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule != "/" and not rule.rule.startswith(undocumented)
    }

    assert {(o.method, o.path) for o in OPERATIONS} == routes


def test_every_error_has_the_one_shape_but_for_those_of_the_openai_and_cn8_apis():
    described = document(OPERATIONS)
    responses = described["components"]["responses"].values()
    refs = {c["schema"]["$ref"] for r in responses for c in r["content"].values()}
    of_theirs = [
        (path, error["$ref"])
        for path, methods in described["paths"].items()
        for call in methods.values()
        for error in call["responses"].values()
        if OpenAIError.__name__ in error.get("$ref", "")
    ]

    assert refs == {
        f"#/components/schemas/{m.__name__}" for m in (Problem, OpenAIError, ProxyProblem)
    }
    assert {p for p in described["paths"] if p.startswith(openai._PATHS)} == {
        p for p, _ in of_theirs
    }
    assert all(registry.at(each.path, {}) is each.dialect for each in OPERATIONS)


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document, with where it stands; examples are values, not schemas."""
    if isinstance(value, dict):
        yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        if isinstance(each, dict | list) and key != "example":
            yield from nodes(each, f"{path}/{key}")


def calls() -> list[tuple[str, dict[str, Any]]]:
    """Every operation, with its name."""
    return [
        (c["operationId"], c) for p in document(OPERATIONS)["paths"].values() for c in p.values()
    ]


class TestGenerators:
    """What generators of clients stop at, or make code of that does not work."""

    def test_no_field_has_a_default_and_the_description_says_it(self):
        schemas = document(OPERATIONS)["components"]["schemas"]

        assert [path for path, node in nodes(schemas) if "default" in node] == []
        window = schemas["BatchBody"]["properties"]["completion_window"]
        assert "`24h` (default)" in window["description"]
        assert "completion_window" not in schemas["BatchBody"].get("required", ())

    def test_null_stands_only_in_a_union(self):
        alone = [p for p, node in nodes(document(OPERATIONS)) if node.get("type") == "null"]

        assert [p for p in alone if not re.search(r"/oneOf/\d+$", p)] == []

    def test_no_union_is_in_another(self):
        inside = re.compile(r"/(any|one)Of/\d+(/items)?$")
        unions = [p for p, node in nodes(document(OPERATIONS)) if {"anyOf", "oneOf"} & set(node)]

        assert len(unions) > 20
        assert [p for p in unions if inside.search(p)] == []

    def test_constants_are_texts(self):
        constants = [node["const"] for _, node in nodes(document(OPERATIONS)) if "const" in node]

        assert constants
        assert all(isinstance(each, str) for each in constants)

    def test_what_is_required_is_defined(self):
        for path, node in nodes(document(OPERATIONS)):
            if isinstance(node.get("required"), list):
                assert set(node["required"]) <= set(node.get("properties", ())), path
        form = document(OPERATIONS)["components"]["schemas"]["FileBody"]
        assert {"file", "purpose", "expires_after[seconds]"} <= set(form["properties"])

    def test_bytes_say_so_and_texts_do_not(self):
        plain = {"type": "string"}
        for name, call in calls():
            answered = [a for a in call["responses"].values() if "content" in a]
            asked = call.get("requestBody", {})
            for body, media_type, content in (
                (each, *named)
                for each in (asked, *answered)
                for named in each.get("content", {}).items()
            ):
                if "string" in content["schema"].get("type", ""):
                    text = media_type.startswith("text/") and body is not asked
                    expected = plain if text else {**plain, "format": "binary"}
                    assert content["schema"] == expected, (name, media_type)

    def test_no_name_is_a_parameter_and_a_field_of_a_form(self):
        schemas = document(OPERATIONS)["components"]["schemas"]
        for name, call in calls():
            places = [p["name"] for p in call["parameters"]]
            assert len(places) == len(set(places)), name
            for content in call.get("requestBody", {}).get("content", {}).values():
                shape = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2], {})
                assert set(places).isdisjoint(shape.get("properties", ())), name

    def test_every_operation_has_a_summary_a_tag_and_an_example_of_what_it_takes(self):
        described = document(OPERATIONS)
        tags = {tag["name"] for tag in described["tags"]}

        assert tags == {
            "Classify", "Train", "Classifiers", "Jobs", "Batches", "Files", "Uploads", "Webhooks",
            "Models", "Account", "Health", "Retraining",
        }  # fmt: skip
        assert {tag for _, call in calls() for tag in call["tags"]} == tags
        for name, call in calls():
            assert call["summary"], name
            assert len(call["tags"]) == 1, name
            for parameter in call["parameters"]:
                assert "example" in parameter or parameter["name"] == "after", (name, parameter)
            for media_type, content in call.get("requestBody", {}).get("content", {}).items():
                assert media_type in BYTES or "example" in content, (name, media_type)

    def test_examples_fit_their_schemas(self):
        described = document(OPERATIONS)
        for name, call in calls():
            for parameter in call["parameters"]:
                if "example" in parameter:
                    check(described, parameter["schema"], parameter["example"])
            for content in call.get("requestBody", {}).get("content", {}).values():
                if "example" in content:
                    check(described, content["schema"], content["example"])
            assert name

    def test_a_list_of_things_is_read_as_the_document_says(self):
        schema = document(OPERATIONS)["components"]["schemas"]["ClassifyBody"]["properties"][
            "input"
        ]

        assert {kind["type"] for kind in schema["oneOf"]} == {"string", "array"}


def check(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": described["components"]}).validate(value)


def test_the_document_says_where_the_api_is():
    assert document(OPERATIONS)["servers"][0]["url"] == "/"
    assert document(OPERATIONS, "/classify")["servers"][0]["url"] == "/classify"


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
