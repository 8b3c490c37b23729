"""The client and the URL of a request that came through proxies.

Any client can write `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`. They are read only if the
peer of the connection is a proxy that the operator trusts (`PIGEONHOLE_TRUSTED_PROXIES`). Without
that setting they are ignored. All limits and logs by address use the address found here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.settings import is_path_prefix
from shared.url_policy import Address, Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class TrustedProxies:
    """The networks whose forwarding headers are believed."""

    networks: tuple[Network, ...] = ()

    def trusts(self, address: str) -> bool:
        """Whether an address is that of a trusted proxy."""
        ip = _ip(address) if self.networks else None
        return ip is not None and any(
            ip.version == network.version and ip in network for network in self.networks
        )

    def client(self, peer: str, forwarded_for: str) -> str:
        """The address of the client.

        Each proxy appends the address that it was called from, so the header is read from its end:
        the client is the first address that is not a trusted proxy. What stands before it was
        written by the client. An entry that is no address ends the reading.

        Args:
            peer: The address at the other end of the connection.
            forwarded_for: The value of `X-Forwarded-For`; several headers joined by commas.

        >>> office = TrustedProxies(networks=(ipaddress.ip_network("10.0.0.0/8"),))
        >>> office.client("10.0.0.1", "198.51.100.7, 192.0.2.1, 10.0.0.2")
        '192.0.2.1'
        >>> office.client("192.0.2.9", "198.51.100.7")
        '192.0.2.9'
        """
        client = peer
        for entry in reversed(forwarded_for.split(",")):
            if not self.trusts(client):
                break
            ip = _ip(entry)
            if ip is None:
                break
            client = str(ip)
        return client


class ForwardedRequests:
    """WSGI middleware: the application sees each request as the client sent it.

    `path_prefix` is where a proxy publishes the API. It is removed from paths that begin with it,
    so it does not matter whether the proxy removes it; and it is the root (`SCRIPT_NAME`) of the
    URLs in answers.
    """

    def __init__(
        self, app: WSGIApplication, *, proxies: TrustedProxies, path_prefix: str = ""
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._path_prefix = path_prefix

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        prefix, peer = self._path_prefix, str(environ.get("REMOTE_ADDR") or "")
        if self._proxies.trusts(peer):
            forwarded_for = str(environ.get("HTTP_X_FORWARDED_FOR", ""))
            environ["REMOTE_ADDR"] = self._proxies.client(peer, forwarded_for)
            if (scheme := _last(environ, "HTTP_X_FORWARDED_PROTO").lower()) in {"http", "https"}:
                environ["wsgi.url_scheme"] = scheme
            if _HOST.fullmatch(host := _last(environ, "HTTP_X_FORWARDED_HOST")):
                environ["HTTP_HOST"] = host
            if is_path_prefix(named := _last(environ, "HTTP_X_FORWARDED_PREFIX").rstrip("/")):
                prefix = named
        if prefix:
            environ["SCRIPT_NAME"] = prefix
        path = str(environ.get("PATH_INFO", ""))
        environ["PATH_INFO"] = without_prefix(path, prefix, self._path_prefix)
        return self._app(environ, start)


def without_prefix(path: str, *prefixes: str) -> str:
    """A path as the application has it: without the first of the prefixes that it begins with.

    >>> without_prefix("/a/v1/jobs", "", "/a"), without_prefix("/ab/v1/jobs", "/a")
    ('/v1/jobs', '/ab/v1/jobs')
    """
    for each in filter(None, prefixes):
        if path == each or path.startswith(each + "/"):
            return path.removeprefix(each)
    return path


def _last(environ: WSGIEnvironment, name: str) -> str:
    """The last value of a header: what the nearest proxy says."""
    return str(environ.get(name, "")).rpartition(",")[2].strip()


def _ip(text: str) -> Address | None:
    """An address, also with a port or in brackets; an IPv4 address inside an IPv6 one is itself."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
