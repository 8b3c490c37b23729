from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from api.auth import Authenticator, list_keys, revoke_key
from shared.errors import InvalidKey
from tests.api.conftest import World
from tests.problems import assert_problem

BODY = {"input": "a", "labels": ["x", "y"]}


class TestKeys:
    @pytest.mark.parametrize(
        ("header", "code"),
        [
            (None, "AUTH_MISSING_API_KEY"),
            ("", "AUTH_MISSING_API_KEY"),
            ("Bearer", "AUTH_INVALID_FORMAT"),
            ("Basic abc", "AUTH_INVALID_FORMAT"),
            ("Bearer a b", "AUTH_INVALID_FORMAT"),
            ("Bearer " + "x" * 300, "AUTH_INVALID_FORMAT"),
            ("Bearer ph_unknown", "AUTH_INVALID_API_KEY"),
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/models", "/v1/nowhere"])
    def test_without_a_good_one_nothing_opens(
        self, world: World, header: str | None, code: str, path: str
    ):
        headers = {} if header is None else {"Authorization": header}

        assert_problem(world.app.test_client().get(path, headers=headers), 401, code)

    def test_a_revoked_one_is_refused(self, world: World, client: FlaskClient):
        (key,) = list_keys(world.store)
        revoke_key(world.store, key.id, now=datetime.now(UTC))

        assert_problem(client.get("/v1/models"), 401, "AUTH_INVALID_API_KEY")

    def test_a_revoked_one_is_refused_though_the_clock_was_set_back(self, world: World):
        now = [1_800_000_000.0]
        secret = world.key()
        doorman = Authenticator(world.store, cache_s=10, clock=lambda: now[0])
        doorman.caller(f"Bearer {secret}")
        (key,) = list_keys(world.store)
        revoke_key(world.store, key.id, now=datetime.now(UTC))

        now[0] -= 3600

        with pytest.raises(InvalidKey):
            doorman.caller(f"Bearer {secret}")

    def test_one_of_another_scope_is_refused(self, world: World):
        jobs, classify = world.client("jobs"), world.client("classify")

        assert jobs.get("/v1/jobs").status_code == 200
        assert_problem(jobs.get("/v1/models"), 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert_problem(jobs.post("/v1/classify", json=BODY), 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert classify.post("/v1/classify", json=BODY).status_code == 200
        assert_problem(classify.get("/v1/jobs"), 403, "AUTHZ_SCOPE_NOT_ALLOWED")

    def test_the_store_away_is_no_verdict(self, world: World, client: FlaskClient):
        world.store.away = True

        assert_problem(client.get("/v1/models"), 503, "SERVICE_UNAVAILABLE")

    @pytest.mark.parametrize(
        "path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/", "/"]
    )
    def test_what_operators_and_readers_need_is_open(self, world: World, path: str):
        assert world.app.test_client().get(path).status_code in {200, 302}


class TestRequestId:
    def test_a_sane_one_is_kept(self, client: FlaskClient):
        answer = client.get("/health/live", headers={"X-Request-ID": "a.B_9-" + "x" * 122})

        assert answer.headers["X-Request-ID"] == "a.B_9-" + "x" * 122

    @pytest.mark.parametrize("asked", ["", "x" * 129, "a b", "ä", "<script>"])
    def test_another_is_replaced(self, client: FlaskClient, asked: str):
        answer = client.get("/health/live", headers={"X-Request-ID": asked})

        assert answer.headers["X-Request-ID"].startswith("req_")

    def test_it_travels_with_the_call(self, client: FlaskClient, world: World):
        client.post("/v1/classify", json=BODY, headers={"X-Request-ID": "mine"})

        assert [call.request_id for call in world.worker.calls] == ["mine"]


def test_the_log_line_names_the_route_and_nothing_of_the_caller_s_words(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "pigeonhole.http"):
        client.get("/v1/jobs/secret?query=secret", headers={"X-Request-ID": "mine"})
        client.get("/secret")

    first, second = (record.__dict__["fields"] for record in caplog.records)
    assert first["route"] == "/v1/jobs/<job_id>"
    assert first["request_id"] == "mine"
    assert first["account"] == "acme"
    assert first["status"] == 404
    assert second["route"] == "none"
    assert "account" not in second
    assert "secret" not in json.dumps([first, second])


class TestBodies:
    @pytest.mark.parametrize(
        ("data", "field"),
        [
            (b"", "body"),
            (b"[]", "body"),
            (b"{", "body"),
            (b'{"text": "a", "labels": ["x", "y"]}', "input"),
            (b'{"input": "\\ud800", "labels": ["x", "y"]}', "input"),
            (b'{"input": "a", "labels": ["x", "y"], "threshold": NaN}', "body"),
            (b"[" * 60_000, "body"),
        ],
    )
    def test_what_is_no_request_is_refused(self, client: FlaskClient, data: bytes, field: str):
        answer = client.post("/v1/classify", data=data)

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)

    def test_too_large_a_body_is_refused(self, client: FlaskClient):
        answer = client.post("/v1/classify", data=b"x" * (64 * 1024 + 1))

        assert_problem(answer, 413, "VALIDATION_ERROR", field="body")

    def test_so_is_one_without_a_length(self, client: FlaskClient, chunked: Callable):
        assert_problem(chunked(b"x" * (64 * 1024 + 1)), 413, "VALIDATION_ERROR", field="body")

    def test_a_body_without_a_length_is_read(self, chunked: Callable):
        assert chunked(json.dumps(BODY).encode()).status_code == 200
