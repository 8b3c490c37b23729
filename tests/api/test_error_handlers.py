from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from flask import abort
from flask.testing import FlaskClient

from shared import errors
from shared.statuses import STATUS
from tests.api.conftest import World
from tests.problems import assert_problem


def test_every_error_of_the_tree_has_a_status():
    assert set(errors.tree()) == set(STATUS)


@pytest.mark.parametrize("kind", errors.tree(), ids=lambda kind: kind.__name__)
def test_every_error_leaves_as_a_problem(world: World, kind: type[errors.PigeonholeError]):
    def fail() -> None:
        raise kind("the sentence", retry_after_s=7)

    world.app.add_url_rule("/fail", view_func=fail)

    answer = world.app.test_client().get("/fail")

    body = assert_problem(answer, STATUS[kind], kind.code)
    internal = body["status"] == 500
    assert answer.headers.get("Retry-After") == (None if internal else "7")
    assert ("the sentence" in body["detail"]) is not internal


def test_a_bug_is_logged_with_its_traceback_and_not_shown(
    world: World, caplog: pytest.LogCaptureFixture
):
    def fail() -> None:
        raise ZeroDivisionError("a secret of the machine")

    world.app.add_url_rule("/fail", view_func=fail)

    with caplog.at_level(logging.ERROR, "pigeonhole"):
        answer = world.app.test_client().get("/fail", headers={"X-Request-ID": "mine-1"})

    body = assert_problem(answer, 500, "INTERNAL_ERROR", says="mine-1")
    assert "secret" not in json.dumps(body)
    (record,) = caplog.records
    assert record.getMessage() == "request.failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.__dict__["fields"]["request_id"] == "mine-1"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("text/html", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/json; q=0.5", "application/json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/json, */*", "application/problem+json"),
    ],
)
def test_the_media_type_is_the_plain_one_only_where_no_other_is_named(
    client: FlaskClient, accept: str | None, media_type: str
):
    answer = client.get("/nowhere", headers={"Accept": accept} if accept else {})

    assert answer.mimetype == media_type
    assert "Accept" in answer.headers["Vary"]


def test_an_unknown_path(client: FlaskClient):
    body = assert_problem(client.get("/v1/nowhere%0Aé"), 404, "RESOURCE_NOT_FOUND")

    assert body["instance"] == "/v1/nowhere%0A%C3%A9"


def test_a_wrong_method_names_the_right_ones(client: FlaskClient):
    answer = client.put("/v1/classify")

    assert_problem(answer, 405, "METHOD_NOT_ALLOWED", says="POST")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "VALIDATION_ERROR"), (416, "VALIDATION_ERROR"), (502, "INTERNAL_ERROR")],
)
def test_what_the_framework_raises_keeps_its_status(world: World, status: int, code: str):
    world.app.add_url_rule("/fail", view_func=lambda: abort(status))

    assert_problem(world.app.test_client().get("/fail"), status, code)


def test_the_type_of_a_problem_can_be_looked_up(client: FlaskClient, post: Callable):
    kind = assert_problem(post(model="nope"), 400, "INPUT_MODEL_NOT_FOUND")["type"]

    found = client.get(kind).get_json()

    assert found["code"] == "INPUT_MODEL_NOT_FOUND"
    assert found["raised"][0]["status"] == 400
    assert_problem(client.get("/errors/no-such"), 404, "RESOURCE_NOT_FOUND")


def test_an_sdk_of_openai_finds_an_object_in_error(client: FlaskClient):
    """`openai` reads `error.message`, and shows only the status where `error` is a string."""
    answer = client.get("/v1/nowhere", headers={"X-Stainless-Lang": "python"})

    body = answer.get_json()
    assert body["error"] == {
        "message": body["detail"],
        "type": "invalid_request_error",
        "param": None,
        "code": "resource_not_found",
    }
    assert (answer.status_code, body["status"], body["code"]) == (404, 404, "RESOURCE_NOT_FOUND")
    assert "X-Stainless-Lang" in answer.headers["Vary"]


def test_every_other_client_finds_a_string_in_error(client: FlaskClient):
    """Classer's clients read `error`, `code` and `message` as strings; its SDK reads `detail`."""
    body = assert_problem(client.get("/v1/nowhere"), 404, "RESOURCE_NOT_FOUND")

    assert body["error"] == "resource-not-found"
    assert body["message"] == body["detail"]
