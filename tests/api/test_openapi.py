from __future__ import annotations

import re
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from api.openapi import document
from api.operations import OPERATIONS
from api.problems import Problem
from shared.classifier_store import ClassifierStore
from tests.api.conftest import World, make_world
from tests.classifiers import put_classifier

# It would skip what it cannot write; any words will do where the body is no JSON.
schemathesis.serializer.alias(
    ["application/jsonl", "application/octet-stream", "application/x-ndjson", "text/csv"],
    "text/plain",
)
WORLD = make_world()
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", WORLD.app)


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
    """Make half of the classifiers that are asked for ones that are there."""
    asked = (path_parameters or {}).get("classifier_id", "")
    return {"classifier_id": a_classifier()} if len(asked) % 2 else path_parameters


def a_classifier() -> str:
    """The name of a classifier; it is made if an earlier call has deleted it."""
    records = ClassifierStore(store=WORLD.store)
    if not any(records.all("acme")):
        put_classifier(WORLD.store, name="spam", versions=2, keep_examples=True)
    return next(record.name or record.id for record in records.all("acme"))


def test_it_is_a_valid_document():
    OpenAPIV31SpecValidator(document()).validate()


def test_it_describes_every_route_and_no_other(world: World):
    undocumented = ("/docs", "/errors/", "/openapi.json", "/")
    routes = {
        (method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in world.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule != "/" and not rule.rule.startswith(undocumented[:3])
    }

    assert {(o.method, o.path) for o in OPERATIONS} == routes


def test_every_problem_has_the_one_shape():
    responses = document()["components"]["responses"].values()
    refs = {c["schema"]["$ref"] for r in responses for c in r["content"].values()}

    assert refs == {f"#/components/schemas/{Problem.__name__}"}


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
    case.call_and_validate(excluded_checks=[allow_header_conformance, positive_data_acceptance])
