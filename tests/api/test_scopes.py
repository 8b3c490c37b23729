"""The code refuses what the table of scopes says: each call with a key of each scope."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from api.app import OPERATIONS
from api.openapi.model import Operation
from shared.key_record import SCOPES
from tests.api.conftest import World, make_world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def clients(world: World) -> dict[str, FlaskClient]:
    """A client whose key has one scope and nothing else, by the scope."""
    return {scope: world.client(scope) for scope in SCOPES}


@pytest.fixture(scope="module")
def job_id(world: World) -> str:
    """A job of another key of the account."""
    body = {"input": "a", "labels": ["x", "y"]}
    answer = world.client().post("/v1/classify", json=body, headers={"Prefer": "respond-async"})
    return str(answer.get_json()["id"])


def test_every_call_with_a_key_needs_a_scope_that_there_is():
    assert {each.scope for each in OPERATIONS if each.needs_key} == set(SCOPES)
    assert {each.scope for each in OPERATIONS if not each.needs_key} == {""}


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.scope],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_a_key_with_another_scope_is_refused_and_no_other_key(
    operation: Operation, clients: dict[str, FlaskClient], job_id: str
):
    path = operation.path.replace("{job_id}", job_id).replace("{file}", "reliability.png")
    path = re.sub(r"{\w+}", "unknown", path)

    statuses = {
        scope: client.open(path, method=operation.method.upper()).status_code
        for scope, client in clients.items()
    }

    refused = {scope for scope, status in statuses.items() if status == 403}
    assert refused == set(SCOPES) - {operation.scope}, statuses


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.own_jobs],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_a_key_may_use_the_jobs_that_it_submitted(
    operation: Operation, clients: dict[str, FlaskClient]
):
    client = clients["classify"]
    body = {"input": "a", "labels": ["x", "y"]}
    made = client.post("/v1/classify", json=body, headers={"Prefer": "respond-async"})
    path = operation.path.replace("{job_id}", made.get_json()["id"])

    answer = client.open(path.replace("{file}", "a.png"), method=operation.method.upper())

    assert answer.status_code != 403
