"""What `PIGEONHOLE_REDIS_URL` names: one server, or the Sentinels that know the primary.

redis://user:password@host:6379/0
rediss://user:password@host:6379/0?ssl_ca_certs=/etc/ca.pem
redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/primary/0?sentinel_password=…
rediss+sentinel://…                     TLS to the Sentinels and to the servers
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from shared.errors import ConfigurationError

VARIABLE = "PIGEONHOLE_REDIS_URL"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+)(?::(\d{1,5}))?")
_PORT, _SENTINEL_PORT = 6379, 26379
_FORM = "redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/primary/0"


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """The parts of a URL of Redis.

    `hosts` are the Sentinels where `primary`, the name by which they know it, is not empty; else
    the one server. `ssl` are arguments of redis-py such as `ssl_ca_certs`; None: no TLS.
    """

    hosts: tuple[tuple[str, int], ...]
    primary: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    ssl: dict[str, Any] | None = None

    @classmethod
    def of(cls, url: str) -> RedisAddress:
        """Parse a URL.

        Raises:
            ConfigurationError: It is empty, or of another form; the message repeats no password.
        """
        if not url:
            raise ConfigurationError(f"{VARIABLE} is empty: set it to the URL of a Redis server")
        scheme, _, _ = url.partition("://")
        protocol, _, kind = scheme.partition("+")
        if protocol not in {"redis", "rediss"} or kind not in {"", "sentinel"}:
            raise ConfigurationError(
                f"{VARIABLE} must begin with redis://, rediss://, redis+sentinel:// or "
                "rediss+sentinel://"
            )
        parts = urlsplit(url)
        user, _, hosts = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        path = [unquote(each) for each in parts.path.split("/") if each]
        query = dict(parse_qsl(parts.query))
        primary = path.pop(0) if kind and path else ""
        if kind and not primary:
            raise ConfigurationError(
                f"{VARIABLE} names Sentinels and no primary; the form is {_FORM}"
            )
        database = path.pop(0) if path else query.get("db", "0")
        if path or not database.isdecimal():
            raise ConfigurationError(f"{VARIABLE} must end with the number of a database, as in /0")
        tls = {k: _flag(v) for k, v in query.items() if k.startswith("ssl_")}
        return cls(
            hosts=tuple(_host(each, bool(kind)) for each in hosts.split(",")),
            primary=primary,
            database=int(database),
            username=unquote(name) or None,
            password=unquote(password) or None,
            sentinel_username=query.get("sentinel_username"),
            sentinel_password=query.get("sentinel_password"),
            ssl=tls if protocol == "rediss" else None,
        )

    @property
    def broker_url(self) -> str:
        """The URL, or URLs, of the same servers for kombu; how it uses TLS is told to it apart."""
        user = ""
        if self.username or self.password:
            user = f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
        scheme = "sentinel" if self.primary else "redis"
        return ";".join(
            f"{scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}/{self.database}"
            for host, port in self.hosts
        )

    @property
    def connection(self) -> dict[str, Any]:
        """Arguments of a connection of redis-py to the primary."""
        return {
            "db": self.database,
            "username": self.username,
            "password": self.password,
            **(self.ssl or {}),
        }

    def sentinel_connection(self, *, timeout_s: float) -> dict[str, Any]:
        """Arguments of a client of redis-py for a Sentinel."""
        found: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "username": self.sentinel_username,
            "password": self.sentinel_password,
        }
        return found if self.ssl is None else {**found, "ssl": True, **self.ssl}


def _host(text: str, sentinel: bool) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{VARIABLE} has the host {text!r}; write host:port")
    name, port = found.groups()
    return name.strip("[]"), int(port or (_SENTINEL_PORT if sentinel else _PORT))


def _flag(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)
