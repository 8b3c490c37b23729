from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import OPERATIONS
from api.openapi.document import document
from shared.dialects import openai, registry
from shared.dialects.cn8_shapes import ProxyProblem
from shared.dialects.openai import OpenAIError
from shared.dialects.problem import Problem
from tests.api.conftest import World

BYTES = {  # which JSON cannot hold
    f"application/{kind}" for kind in ("gzip", "octet-stream", "vnd.apache.parquet", "zstd")
}


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
