"""Query parameters: every operation names those it takes, and refuses what it would pass over."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from api.app import OPERATIONS
from api.openapi.document import document
from api.openapi.model import Operation
from api.schemas.classifier_transfer import ImportFields
from tests.api.conftest import World
from tests.problems import assert_openai_error, assert_problem

CSV = b"text,label\nthe printer is on fire,team1\nwhere is my invoice,team2\n"
DOCUMENT = document(OPERATIONS)


def path_of(operation: Operation) -> str:
    """A path of the operation; there need be nothing at it."""
    return re.sub(r"\{\w+\}", "x", operation.path)


def documented(operation: Operation) -> set[str]:
    """The query parameters in the OpenAPI document."""
    call = DOCUMENT["paths"][operation.path][operation.method]
    return {each["name"] for each in call["parameters"] if each["in"] == "query"}


PROBES = [each for each in OPERATIONS if each.ignores_query]
CALLS = [each for each in OPERATIONS if not each.ignores_query]


@pytest.mark.parametrize("operation", CALLS, ids=lambda each: each.name)
def test_every_operation_refuses_an_unknown_parameter_and_names_the_known_ones(
    client: FlaskClient, operation: Operation
):
    answer = client.open(f"{path_of(operation)}?limitt=5", method=operation.method.upper())

    said = answer.get_data(as_text=True)
    wrong = answer.get_json().get("error")
    assert answer.status_code == (400 if isinstance(wrong, dict) else 422), said
    assert "limitt: is no query parameter of this call" in said
    for name in documented(operation):
        assert name in said.partition("known are: ")[2]


@pytest.mark.parametrize("operation", PROBES, ids=lambda each: each.name)
def test_a_health_probe_may_carry_any_parameter(client: FlaskClient, operation: Operation):
    answer = client.get(f"{operation.path}?probe=1&probe=2")

    assert answer.status_code == 200


@pytest.mark.parametrize("operation", CALLS, ids=lambda each: each.name)
def test_the_document_has_the_parameters_that_are_taken(operation: Operation):
    assert set(operation.query_names()) - documented(operation) == (
        set(ImportFields.model_fields) if operation.name == "importClassifier" else set()
    )  # which are described in words
    call = DOCUMENT["paths"][operation.path][operation.method]
    assert {"400", "422"} & set(call["responses"])


def test_a_misspelt_parameter_does_not_start_a_batch(client: FlaskClient, world: World):
    body = {"input_file_id": "file-x", "classify": {"labels": ["a", "b"]}}

    answer = client.post("/v1/batches?dryrun=true", json=body)

    assert_openai_error(answer, 400, param="dryrun", says="known are: dry_run")


def test_every_unknown_parameter_is_named(client: FlaskClient):
    problem = assert_problem(
        client.get("/v1/jobs?sort=asc&state=failed&limit=5"), 422, "VALIDATION_ERROR"
    )

    assert [each["field"] for each in problem["errors"]] == ["sort", "state"]


def test_a_parameter_that_is_sent_twice_is_refused(client: FlaskClient):
    problem = assert_problem(client.get("/v1/jobs?limit=5&limit=6"), 422, "VALIDATION_ERROR")

    assert problem["detail"] == "limit: stands twice in the query; send it once"


def test_a_wrong_key_is_told_nothing_of_parameters(world: World):
    answer = world.app.test_client().get("/v1/jobs?limitt=5")

    assert answer.status_code == 401


def test_fields_beside_a_file_are_known_and_beside_json_are_not(client: FlaskClient):
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    beside = client.post("/v1/train?name=desk&num_iters=3", data=CSV, headers=headers)
    assert beside.status_code == 200, beside.data

    unknown = client.post("/v1/train?nmae=desk", data=CSV, headers=headers)
    assert "num_iters" in assert_problem(unknown, 422, "VALIDATION_ERROR")["detail"]

    examples = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    ignored = client.post("/v1/train?num_iters=3", json={"input": examples})
    problem = assert_problem(ignored, 422, "VALIDATION_ERROR")
    assert problem["errors"][0]["field"] == "num_iters"


def test_a_field_beside_a_file_has_the_name_of_the_body(client: FlaskClient):
    made = client.post("/v1/train?name=desk", data=CSV, headers={"Content-Type": "text/csv"})
    assert made.status_code == 200, made.data

    query = "from=desk@v1&candidate=true"
    further = client.post(f"/v1/train?{query}", data=CSV, headers={"Content-Type": "text/csv"})
    assert further.status_code == 200, further.data
    assert further.get_json()["candidate"] is True

    unknown = client.post("/v1/train?form=x", data=CSV, headers={"Content-Type": "text/csv"})
    assert ", from, " in assert_problem(unknown, 422, "VALIDATION_ERROR")["detail"]


def test_pages_outside_the_table_take_any_query(client: FlaskClient):
    assert client.get("/openapi.json?v=2").status_code == 200
