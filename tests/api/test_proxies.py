"""Requests that come through proxies, trusted ones and others."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import request
from werkzeug.test import TestResponse

from api.server.failed_auth_limiter import PER_MINUTE
from api.server.trusted_proxies import TrustedProxies
from shared.url_policy import networks_of
from tests.api.conftest import EXAMPLES, World

PROXIES = TrustedProxies(networks=networks_of("10.0.0.0/8, 192.0.2.80, fd00::/8"))


class TestClient:
    @pytest.mark.parametrize(
        ("peer", "forwarded_for", "client"),
        [
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first was made up
            ("10.0.0.1", "198.51.100.7,192.0.2.80 ,10.9.9.9", "198.51.100.7"),
            ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("fd00::1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "198.51.100.7:52831", "198.51.100.7"),
            ("10.0.0.1", "[2001:db8::7]:52831", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("10.0.0.1", "10.0.0.7, 10.0.0.8", "10.0.0.7"),  # a client of the inner network
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.7, , 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "198.51.100.7, <script>, 10.0.0.2", "10.0.0.2"),
            ("198.51.100.9", "203.0.113.9", "198.51.100.9"),  # not a proxy that is trusted
            ("192.0.2.81", "203.0.113.9", "192.0.2.81"),
            ("", "203.0.113.9", ""),
        ],
    )
    def test_is_the_last_address_that_is_not_a_trusted_proxy(
        self, peer: str, forwarded_for: str, client: str
    ):
        assert PROXIES.client(peer, forwarded_for) == client

    def test_is_the_peer_where_no_proxy_is_trusted(self):
        assert TrustedProxies().client("10.0.0.1", "198.51.100.7") == "10.0.0.1"


def guess(world: World, *, peer: str, **headers: str) -> int:
    """Send a wrong key; its status."""
    return (
        world.app.test_client()
        .get(
            "/v1/models",
            headers={"Authorization": "Bearer ph_wrong", **headers},
            environ_base={"REMOTE_ADDR": peer},
        )
        .status_code
    )


def test_wrong_keys_are_counted_by_client_behind_a_trusted_proxy(make: Callable[..., World]):
    world = make(trusted_proxies="10.0.0.0/8")

    first = [
        guess(world, peer="10.0.0.1", **{"X-Forwarded-For": "198.51.100.7"})
        for _ in range(PER_MINUTE + 1)
    ]

    assert first == [401] * PER_MINUTE + [429]
    assert guess(world, peer="10.0.0.1", **{"X-Forwarded-For": "198.51.100.8"}) == 401
    assert guess(world, peer="10.0.0.2", **{"X-Forwarded-For": "1.1.1.1, 198.51.100.7"}) == 429


def test_a_client_that_writes_the_header_itself_is_counted_by_its_address(
    make: Callable[..., World],
):
    world = make(trusted_proxies="10.0.0.0/8")

    statuses = [
        guess(world, peer="198.51.100.7", **{"X-Forwarded-For": f"192.0.2.{n}"})
        for n in range(PER_MINUTE + 1)
    ]

    assert statuses[-1] == 429


def test_the_log_names_the_address_of_a_client_without_a_key_and_of_no_other(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
):
    world = make(trusted_proxies="10.0.0.0/8")
    environ: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "198.51.100.7"}
    with caplog.at_level(logging.INFO, "pigeonhole.http"):
        world.app.test_client().get("/v1/models", environ_base=environ)
        world.client().get("/v1/models", environ_base=environ)

    refused, answered = (record.__dict__["fields"] for record in caplog.records)
    assert refused["client"] == "198.51.100.7"
    assert "client" not in answered


PREFIXED = {"path_prefix": "/classify/api"}


class TestPrefix:
    @pytest.mark.parametrize("sent", ["/classify/api/v1/models", "/v1/models"])
    def test_is_known_whether_or_not_the_proxy_removes_it(
        self, make: Callable[..., World], sent: str
    ):
        assert make(**PREFIXED).client().get(sent).status_code == 200

    @pytest.mark.parametrize("sent", ["/classify/apiv1/models", "/classify/v1/models"])
    def test_another_path_is_none_of_the_api(self, make: Callable[..., World], sent: str):
        assert make(**PREFIXED).client().get(sent).status_code == 404

    def test_stands_before_every_url_of_an_answer(self, make: Callable[..., World]):
        client = make(**PREFIXED, inline_result_bytes=0).client()
        body = {"input": "a", "labels": ["x", "y"]}

        queued = client.post("/v1/classify", json=body, headers={"Prefer": "respond-async"})
        job = queued.get_json()
        location = queued.headers["Location"]
        done = client.get("/v1/jobs").get_json()["data"][0]
        events = client.get(f"/v1/jobs/{job['id']}/events").get_data(as_text=True)
        refused = client.get("/v1/jobs/job_x")
        trained = client.post("/v1/train", json={"input": EXAMPLES}).get_json()
        hook = client.post("/v1/webhooks", json={"url": "https://example.org/hook"})

        assert location == f"/classify/api/v1/jobs/{job['id']}"
        assert client.get(location).status_code == 200
        assert done["result_url"] == f"{location}/result"
        assert f'"result_url":"{location}/result"' in events
        assert refused.get_json()["type"] == "/classify/api/errors/resource-not-found"
        assert client.get(refused.get_json()["type"]).status_code == 200
        assert refused.get_json()["instance"] == "/classify/api/v1/jobs/job_x"
        assert trained["classifier_id"]
        assert hook.headers["Location"].startswith("/classify/api/v1/webhooks/wh_")

    def test_stands_in_the_document(self, make: Callable[..., World]):
        document = make(**PREFIXED).client().get("/openapi.json").get_json()

        assert document["servers"][0]["url"] == "/classify/api"

    def test_of_a_trusted_proxy_goes_before_the_setting(self, make: Callable[..., World]):
        world = make(trusted_proxies="10.0.0.0/8", **PREFIXED)

        def server(peer: str, prefix: str) -> str:
            answer = world.app.test_client().get(
                "/openapi.json",
                headers={"X-Forwarded-Prefix": prefix},
                environ_base={"REMOTE_ADDR": peer},
            )
            return str(answer.get_json()["servers"][0]["url"])

        assert server("10.0.0.1", "/other") == "/other"
        assert server("10.0.0.1", "/other/") == "/other"
        assert server("198.51.100.7", "/other") == "/classify/api"
        path = "/classify/api/v1/models"
        answer = world.client().get(
            path,
            headers={"X-Forwarded-Prefix": "/other"},
            environ_base={"REMOTE_ADDR": "10.0.0.1"},
        )
        assert answer.status_code == 200  # it is a path of the API all the same
        for wrong in ("//evil.example", "/a//b", "https://evil.example", "/..", "/a b", "/<b>"):
            assert server("10.0.0.1", wrong) == "/classify/api"


def resolved(answer: TestResponse, at: str) -> str:
    """Where a browser goes that called an address and was redirected."""
    assert answer.status_code == 302
    assert "://" not in answer.headers["Location"]
    return urljoin(at, answer.headers["Location"])


class TestASlashTooMany:
    @pytest.mark.parametrize(
        ("path", "to"),
        [
            ("/dashboard/", "/dashboard"),
            ("/openapi.json/", "/openapi.json"),
            ("/health/live/", "/health/live"),
            ("/errors/resource-not-found/", "/errors/resource-not-found"),
            ("/v1/jobs/?limit=2", "/v1/jobs?limit=2"),
        ],
    )
    @pytest.mark.parametrize("prefix", ["", "/classify"])
    def test_leads_to_the_path_without_it(self, world: World, path: str, to: str, prefix: str):
        base = f"https://sort.example.org{prefix}"

        answer = world.client().get(path)

        assert answer.status_code == 308
        assert urljoin(f"{base}{path}", answer.headers["Location"]) == f"{base}{to}"
        assert world.client().get(to).status_code < 400

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/classify/"),
            ("DELETE", "/v1/jobs/"),
            ("GET", "/nothing/"),
            ("GET", "/v1//jobs/"),
        ],
    )
    def test_is_an_unknown_path_where_a_call_changes_something_or_there_is_none(
        self, world: World, method: str, path: str
    ):
        assert world.client().open(path, method=method).status_code == 404


class TestDocs:
    @pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "https://sort.example.org"])
    def test_the_way_to_the_page_leaves_neither_scheme_nor_host(self, world: World, host: str):
        client = world.app.test_client()

        assert resolved(client.get("/docs"), f"{host}/docs") == f"{host}/docs/"

    @pytest.mark.parametrize("settings", [{}, PREFIXED])
    @pytest.mark.parametrize("removed", [True, False])
    def test_it_works_under_a_prefix(
        self, make: Callable[..., World], settings: dict[str, str], removed: bool
    ):
        base = f"https://sort.example.org{PREFIXED['path_prefix']}"
        if not (settings or removed):
            return  # a prefix that is neither removed nor known is another path
        client = make(**settings).app.test_client()

        def get(url: str) -> TestResponse:
            path = urlsplit(url).path
            return client.get(path.removeprefix(PREFIXED["path_prefix"]) if removed else path)

        assert resolved(get(f"{base}/docs"), f"{base}/docs") == f"{base}/docs/"
        page = get(f"{base}/docs/").get_data(as_text=True)
        named = re.findall(r'(?:href|src)="([^"]+)"', page) + re.findall(r'"url": "([^"]+)"', page)
        assert len(named) >= 6
        for each in named:
            assert not each.startswith(("/", "http"))
            with get(urljoin(f"{base}/docs/", each)) as answer:
                assert answer.status_code == 200, each

    def test_nothing_redirects_to_an_absolute_address(self, world: World):
        client = world.client()
        rules = [rule.rule for rule in world.app.url_map.iter_rules() if "<" not in rule.rule]

        for rule in rules:
            for path in {rule, rule.rstrip("/"), f"{rule.rstrip('/')}/"} - {""}:
                with client.get(path) as answer:
                    assert "://" not in answer.headers.get("Location", ""), path


def test_the_prefix_by_itself_leads_to_the_page_below_it_on_any_host(make: Callable[..., World]):
    answer = make(**PREFIXED).app.test_client().get(PREFIXED["path_prefix"])

    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{PREFIXED['path_prefix']}/"


def test_the_scheme_and_the_host_are_those_of_the_client(make: Callable[..., World]):
    world = make(trusted_proxies="10.0.0.0/8")
    world.app.add_url_rule("/url", view_func=lambda: request.url)

    def url(peer: str, **headers: str) -> str:
        answer = world.app.test_client().get(
            "/url", headers=headers, environ_base={"REMOTE_ADDR": peer}
        )
        return answer.get_data(as_text=True)

    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "sort.example.org"}
    assert url("10.0.0.1", **forwarded) == "https://sort.example.org/url"
    assert url("198.51.100.7", **forwarded) == "http://localhost/url"
    wrong = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a/b@c"}
    assert url("10.0.0.1", **wrong) == "http://localhost/url"
