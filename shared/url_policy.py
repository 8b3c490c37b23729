"""The SSRF policy: which addresses the service may fetch when a URL comes from a client.

Pure: no name is resolved here. `check_url` refuses what the text alone shows, so that the API can
refuse early. `check_address` judges a resolved address. Against DNS rebinding, the outbound HTTP
client must call it for the address of every connection, not once for each URL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote, urlsplit

from shared.errors import ConfigurationError, InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_CHARS = 2048
_MAX_HOST_CHARS = 253  # RFC 1035
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(
    r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)")
# Characters on which URL parsers disagree, and surrogates, which no URL can hold.
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")

# https://www.iana.org/assignments/iana-ipv4-special-registry: every range that is not public.
_PRIVATE_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# The only allocated unicast range of IPv6 (https://www.iana.org/assignments/ipv6-address-space) …
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# … without special uses, documentation, and tunnels (Teredo in the first, 6to4): a tunnel
# address embeds an IPv4 address that the author of the URL chooses.
_PRIVATE_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True, kw_only=True)
class CheckedUrl:
    """A parsed URL. The text is parsed once, because two parsers may disagree about it."""

    scheme: str
    host: str
    """Lower case, ASCII; an IPv6 address without brackets."""
    port: int
    path: str
    """Includes the query; ASCII, without fragment."""

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; without the port if it is the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The part that may be logged or shown: paths and queries often hold secrets."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.path


def check_url(
    url: str, *, ports: Collection[int] = (), allowed_networks: Collection[Network] = ()
) -> CheckedUrl:
    """Parse a URL, and refuse it unless it is an ordinary URL of the public internet.

    International names are encoded by IDNA 2003; send `xn--…` for names that IDNA 2008 encodes
    differently.

    Args:
        url: the text.
        ports: allowed in addition to 80 and 443.
        allowed_networks: private networks that are allowed.

    Raises:
        InvalidRequest: The URL is refused; the detail continues "the URL …".

    >>> check_url("https://example.org/cat.png?size=2#top").url
    'https://example.org/cat.png?size=2'
    """
    if len(url) > MAX_URL_CHARS:
        _refuse(f"has {len(url)} characters; at most {MAX_URL_CHARS} are allowed in a URL")
    if _UNPRINTABLE.search(url):
        _refuse(
            "must not contain spaces, control characters or backslashes: encode them as %20, %5C"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        _refuse("invalid URL; an example is https://example.org/path")
    if parts.scheme not in _DEFAULT_PORTS:
        _refuse("must start with http:// or https://")
    if "@" in parts.netloc:
        _refuse("must not contain a user name or password; use a URL that needs none")
    host = _host(parts.hostname or "")
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    if port not in _DEFAULT_PORTS.values() and port not in ports:
        allowed = _enumerated({*_DEFAULT_PORTS.values(), *ports})
        _refuse(f"port {port} is not allowed; allowed are {allowed}")
    literal = _literal(host)
    if literal is not None:
        host = str(literal)
        check_address(literal, allowed_networks)
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return CheckedUrl(scheme=parts.scheme, host=host, port=port, path=path)


def check_address(ip: Address, allowed_networks: Collection[Network] = ()) -> None:
    """Refuse an address that is not public, unless its network is allowed.

    An IPv4 address that is embedded in an IPv6 address is judged as an IPv4 address.

    Raises:
        InvalidRequest: It is private, local, of a metadata service, multicast, reserved, …

    >>> check_address(ipaddress.ip_address("8.8.8.8"))
    >>> check_address(ipaddress.ip_address("::ffff:127.0.0.1"))
    Traceback (most recent call last):
    ...
    shared.errors.InvalidRequest: resolves to an address that is not public
    """
    if any(ip.version == network.version and ip in network for network in allowed_networks):
        return
    embedded = _embedded(ip)
    if embedded is not None:
        check_address(embedded, allowed_networks)
    elif isinstance(ip, ipaddress.IPv4Address):
        if any(ip in network for network in _PRIVATE_V4):
            _refuse_address()
    elif ip.scope_id or ip not in _PUBLIC_V6 or any(ip in network for network in _PRIVATE_V6):
        _refuse_address()


def networks_of(text: str, *, variable: str = "PIGEONHOLE_FETCH_NETWORKS") -> tuple[Network, ...]:
    """The networks of a setting, such as ``10.1.0.0/16, fd00::/8``.

    Raises:
        ConfigurationError: An entry is not a network; the message names the variable.
    """
    try:
        return tuple(ipaddress.ip_network(each) for each in _listed(text))
    except ValueError as exc:
        raise ConfigurationError(f"{variable}: {exc}") from None


def ports_of(text: str) -> frozenset[int]:
    """The ports of a setting, such as ``8080, 8443``.

    Raises:
        ConfigurationError: An entry is not a port.
    """
    ports = frozenset(int(each) if each.isdecimal() else 0 for each in _listed(text))
    if not all(0 < port < 65536 for port in ports):
        raise ConfigurationError(
            f"PIGEONHOLE_FETCH_PORTS is {text!r}; it must be a list of ports, such as 8080,8443"
        )
    return ports


def _host(text: str) -> str:
    """A host name in ASCII, or a literal address.

    Raises:
        InvalidRequest: It is neither.
    """
    if ":" in text and "%" not in text:  # no zones: they name an interface of this machine
        return text
    text = text.rstrip(".")
    if len(text) > _MAX_HOST_CHARS:  # the IDNA codec is slow for long names
        _refuse("invalid host name: it is too long")
    if not text:
        _refuse("has no host name; an example is https://example.org/path")
    try:
        # IDNA maps full-width digits and dots to ASCII, which may form an IP address.
        name = text.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if len(name) > _MAX_HOST_CHARS or not _NAME.fullmatch(name):
        _refuse("invalid host name: check its spelling")
    return name


def _literal(host: str) -> Address | None:
    """The IP address, if the host is a literal one.

    Raises:
        InvalidRequest: A numeric host that is not a usual address: 127.1, 0x7f000001.
    """
    if ":" not in host and not _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        _refuse("invalid IP address; examples are 192.0.2.1 and [2001:db8::1]")


def _embedded(ip: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address at which a connection to this IPv6 address ends."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped
    return None


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _enumerated(ports: Collection[int]) -> str:
    *most, last = map(str, sorted(ports))
    return f"{', '.join(most)} and {last}"


def _refuse_address() -> NoReturn:
    # The address is not told: it would reveal the internal network.
    _refuse("resolves to an address that is not public")


def _refuse(reason: str) -> NoReturn:
    raise InvalidRequest(reason)
