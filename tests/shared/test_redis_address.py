"""The URL of Redis: what it names for redis-py and for kombu, and what is refused."""

from __future__ import annotations

import json

import pytest

from shared.adapters.celery.broker import celery_app
from shared.adapters.redis.address import RedisAddress
from shared.adapters.redis.client import connect
from shared.errors import ConfigurationError

SENTINELS = (
    "rediss+sentinel://app:p%40ss@one,[::1]:26380/main/3"
    "?sentinel_password=other&ssl_ca_certs=/etc/ca.pem"
)


def test_one_server_has_a_user_a_password_a_database_and_a_port():
    address = RedisAddress.of("redis://app:p%40ss@host/2")

    assert address.hosts == (("host", 6379),)
    assert address.connection == {"db": 2, "username": "app", "password": "p@ss"}
    assert address.broker_url == "redis://app:p%40ss@host:6379/2"
    assert address.ssl is None


def test_sentinels_are_named_with_the_primary_that_they_know():
    address = RedisAddress.of(SENTINELS)

    assert (address.primary, address.database) == ("main", 3)
    assert address.hosts == (("one", 26379), ("::1", 26380))
    assert address.broker_url == (
        "sentinel://app:p%40ss@one:26379/3;sentinel://app:p%40ss@[::1]:26380/3"
    )
    assert address.sentinel_connection(timeout_s=1) == {
        "socket_timeout": 1,
        "socket_connect_timeout": 1,
        "username": None,
        "password": "other",
        "ssl": True,
        "ssl_ca_certs": "/etc/ca.pem",
    }
    assert "p@ss" not in repr(address)
    assert "other" not in repr(address)


def test_celery_verifies_the_certificate_of_the_server_by_the_ca_of_the_url():
    app = celery_app("rediss://host/0?ssl_ca_certs=/etc/ca.pem", timeout_s=1, socket_timeout_s=1)

    assert app.conf.broker_use_ssl == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem"}
    assert app.conf.broker_url == "redis://host:6379/0"


def test_the_password_of_the_sentinels_is_not_among_what_celery_tells_of_itself():
    app = celery_app(SENTINELS, timeout_s=1, socket_timeout_s=1)
    options = app.conf.broker_transport_options

    assert options["sentinel_kwargs"]["password"] == "other"
    assert dict(**options["sentinel_kwargs"])["password"] == "other"
    assert "other" not in json.dumps(options, default=lambda each: each.__json__())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is empty"),
        ("http://host", "must begin with redis://"),
        ("redis+socket://host", "must begin with redis://"),
        ("redis://host/a", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis+sentinel://host:26379", "no primary"),
        ("redis+sentinel://one,:26379/main", "has the host ':26379'"),
        ("redis+sentinel://one:port/main", "has the host 'one:port'"),
    ],
)
def test_another_form_is_refused_with_the_form_that_is_meant(url: str, message: str):
    with pytest.raises(ConfigurationError, match=message):
        connect(url, timeout_s=1)
