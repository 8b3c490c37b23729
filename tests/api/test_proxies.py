"""Requests that come through proxies, trusted ones and others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from api.proxies import TrustedProxies
from api.wrong_keys import PER_MINUTE
from shared.addresses import networks_of
from tests.api.conftest import World

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
