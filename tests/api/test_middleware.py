from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from api.server.failed_auth_limiter import PER_MINUTE, WrongKeys
from api.services.auth import Authenticator
from api.services.keys import list_keys, revoke_key
from shared.accounts import AccountStore
from shared.errors import AccountSuspended, InvalidKey, TooManyWrongKeys
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

    def test_one_of_another_service_is_refused(self, world: World):
        client = world.client(services=("classify",))

        assert client.post("/v1/classify", json=BODY).status_code == 200
        assert client.get("/v1/models").status_code == 200
        assert_problem(
            client.get("/v1/classifiers"), 403, "AUTHZ_SERVICE_NOT_ALLOWED", says="limited"
        )
        assert_problem(client.post("/v1/train", json={}), 403, "AUTHZ_SERVICE_NOT_ALLOWED")
        assert_problem(client.get("/v1/jobs"), 403, "AUTHZ_SERVICE_NOT_ALLOWED")

    def test_one_of_a_service_polls_its_own_jobs_only(self, world: World):
        client, headers = world.client(services=("classify",)), {"Prefer": "respond-async"}
        own, other = (
            each.post("/v1/classify", json=BODY, headers=headers).get_json()["id"]
            for each in (client, world.client())
        )

        assert client.get(f"/v1/jobs/{own}").status_code == 200
        assert_problem(client.get(f"/v1/jobs/{other}"), 403, "AUTHZ_SERVICE_NOT_ALLOWED")

    def test_one_of_a_suspended_account_is_refused(self, world: World, client: FlaskClient):
        accounts = AccountStore(store=world.store)
        accounts.suspend("acme")
        assert_problem(client.get("/v1/models"), 403, "AUTHZ_ACCOUNT_SUSPENDED")
        assert world.client(account="other").get("/v1/models").status_code == 200

        accounts.resume("acme")
        assert client.get("/v1/models").status_code == 200

    def test_a_suspension_takes_effect_as_a_revocation_does(self, world: World):
        now = [1_800_000_000.0]
        header = f"Bearer {world.key()}"
        doorman = Authenticator(world.store, cache_s=10, clock=lambda: now[0])
        doorman.caller(header)
        AccountStore(store=world.store).suspend("acme")

        now[0] += 10.1

        with pytest.raises(AccountSuspended):
            doorman.caller(header)

    def test_the_store_away_is_no_verdict(self, world: World, client: FlaskClient):
        world.store.away = True

        assert_problem(client.get("/v1/models"), 503, "SERVICE_UNAVAILABLE")

    @pytest.mark.parametrize(
        "path",
        ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/", "/", "/dashboard"],
    )
    def test_what_operators_and_readers_need_is_open(self, world: World, path: str):
        assert world.app.test_client().get(path).status_code == 200


class TestWrongKeys:
    def test_many_from_one_address_are_answered_429_and_a_valid_one_is_not(
        self, world: World, client: FlaskClient
    ):
        guesser = world.app.test_client()
        statuses = [
            guesser.get(
                "/v1/models",
                headers={"Authorization": f"Bearer ph_{n}", "X-Forwarded-For": f"192.0.2.{n}"},
            )
            for n in range(PER_MINUTE + 5)
        ]

        assert [each.status_code for each in statuses] == [401] * PER_MINUTE + [429] * 5
        assert_problem(statuses[-1], 429, "RATE_WRONG_KEY_LIMIT_EXCEEDED", says="valid key")
        assert 1 <= int(statuses[-1].headers["Retry-After"]) <= 2
        assert client.get("/v1/models").status_code == 200
        assert world.client().get("/v1/models").status_code == 200  # never seen before

    def test_of_another_address_are_counted_apart(self, world: World):
        guesser = world.app.test_client()

        def guess(address: str) -> int:
            headers = {"Authorization": "Bearer ph_wrong"}
            environ = {"REMOTE_ADDR": address}
            return guesser.get("/v1/models", headers=headers, environ_base=environ).status_code

        assert {guess(f"2001:db8::{n}") for n in range(1, PER_MINUTE + 1)} == {401}
        assert guess("2001:db8::ffff") == 429  # the same network
        assert guess("2001:db8:0:1::1") == 401
        assert guess("192.0.2.1") == 401

    def test_are_allowed_again_as_time_passes_and_the_table_is_bounded(self):
        now = [0.0]
        wrong_keys = WrongKeys(per_minute=2, clock=lambda: now[0])
        for _ in range(2):
            wrong_keys.count("192.0.2.1")
        with pytest.raises(TooManyWrongKeys) as refused:
            wrong_keys.count("192.0.2.1")
        assert refused.value.retry_after_s == 30

        now[0] += 30
        wrong_keys.count("192.0.2.1")

        for n in range(20_000):
            wrong_keys.count(f"10.0.{n // 256}.{n % 256}")
        assert len(wrong_keys._buckets) == 10_000

    def test_do_not_have_valid_ones_forgotten(self, world: World):
        secret = world.key()
        doorman = Authenticator(world.store, cache_s=0)
        doorman.caller(f"Bearer {secret}")
        for n in range(10_001):
            with pytest.raises(InvalidKey):
                doorman.caller(f"Bearer ph_{n}")

        world.store.away = True

        assert doorman.caller(f"Bearer {secret}").account == "acme"


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
    assert first["status"] == 422
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
            (b'{"words": "a", "labels": ["x", "y"]}', "input"),
            (b'{"input": "\\ud800", "labels": ["x", "y"]}', "input[0]"),
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
