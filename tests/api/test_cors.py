"""Calls from pages of other origins, as browsers make them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from api.app import OPERATIONS
from api.http.cors import EXPOSED_HEADERS
from api.openapi.document import document
from tests.api.conftest import World

APP = "https://app.example.org"
ALLOWED = f"{APP}, http://localhost:3000"


def preflight(
    world: World, origin: str = APP, path: str = "/v1/classify", method: str = "POST"
) -> TestResponse:
    return world.app.test_client().options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        },
    )


def cors_headers(answer: TestResponse) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/classify", "POST"),
        ("/v1/classifiers/spam", "PATCH"),
        ("/v1/jobs/job_x", "DELETE"),
        ("/v1/nowhere", "GET"),
        ("/openapi.json", "GET"),
    ],
)
def test_a_preflight_needs_no_key(make: Callable[..., World], path: str, method: str):
    answer = preflight(make(allowed_origins=ALLOWED), path=path, method=method)

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = answer.headers["Access-Control-Allow-Headers"].split(",")
    assert allowed == ["authorization", "content-type", "idempotency-key"]
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert {"Origin", "Access-Control-Request-Headers"} <= set(answer.vary)


def test_an_allowed_page_can_read_answers_errors_and_the_headers_that_matter(
    make: Callable[..., World],
):
    world = make(allowed_origins=ALLOWED)
    good = world.client().get("/v1/models", headers={"Origin": "http://localhost:3000"})
    refused = world.app.test_client().get("/v1/models", headers={"Origin": APP})

    assert (good.status_code, refused.status_code) == (200, 401)
    assert good.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert refused.headers["Access-Control-Allow-Origin"] == APP
    for answer in (good, refused):
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Retry-After", "X-Request-ID"} <= set(exposed)
        assert "Origin" in answer.vary


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://app.example.org.evil.example", "http://app.example.org",
     "https://app.example.org:8443", "https://sub.app.example.org", "null", "*"],
)  # fmt: skip
def test_a_page_of_another_origin_is_told_nothing(make: Callable[..., World], origin: str):
    world = make(allowed_origins=ALLOWED)
    asked = preflight(world, origin)
    called = world.client().get("/v1/models", headers={"Origin": origin})

    assert asked.status_code == 204
    for answer in (asked, called):
        assert not cors_headers(answer)
        assert "Origin" in answer.vary


def test_no_origin_is_allowed_by_default(world: World):
    answer = preflight(world)

    assert answer.status_code == 204
    assert not cors_headers(answer)


def test_an_answer_without_an_origin_is_not_cached_for_one_with(make: Callable[..., World]):
    answer = make(allowed_origins=ALLOWED).client().get("/v1/models")

    assert "Origin" in answer.vary
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_origin_can_be_allowed(make: Callable[..., World]):
    world = make(allowed_origins="*")

    for origin in (APP, "null"):
        assert preflight(world, origin).headers["Access-Control-Allow-Origin"] == "*"
    called = world.client().get("/v1/models", headers={"Origin": APP})
    assert called.headers["Access-Control-Allow-Origin"] == "*"
    assert "Origin" not in called.vary


def test_an_options_request_that_is_no_preflight_needs_a_key(make: Callable[..., World]):
    world = make(allowed_origins=ALLOWED)

    for headers in ({}, {"Origin": APP}, {"Access-Control-Request-Method": "POST"}):
        answer = world.app.test_client().options("/v1/classify", headers=headers)
        assert answer.status_code == 401


def test_every_header_of_the_document_can_be_read():
    assert set(document(OPERATIONS)["components"]["headers"]) <= set(EXPOSED_HEADERS)
