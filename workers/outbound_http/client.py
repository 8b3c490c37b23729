"""The one way out: HTTP to URLs that somebody else chose.

One connection an exchange, with one deadline from the name's resolving to the last byte. Nothing of
this machine goes along: no proxies, cookies or passwords of its environment. What may be connected
to is decided by `shared.url_policy`; what is asked for, and how often, is not decided here.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpcore

from shared import service_clock
from shared.errors import FetchFailed, FetchInterrupted, InvalidRequest
from shared.settings import Settings
from shared.url_policy import CheckedUrl, Network, check_url, networks_of, ports_of
from workers.outbound_http.connection import BoundedConnection, Deadline, Dialler, HostResolver

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # of a server that may answer later
_FRAMING_BYTES = 64 * 1024
_MAX_MEMBERS = 4096  # of one gzip; 32 MiB of empty ones would take seconds
_TROUBLE = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)

Accept = Callable[[str], bool] | Collection[str]
"""The media types wanted: a set of them, or what says yes to one."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The content of a URL."""

    data: bytes
    media_type: str
    """In lower case, without parameters; empty where the answer names none."""
    url: str
    """Where it was found, after redirects."""


@dataclass(frozen=True, kw_only=True)
class PostOutcome:
    """What became of something posted."""

    status: int
    retry_after_s: float | None


class Outbound:
    """Asks and tells strangers. Any thread may use it, and waits no longer than its deadline."""

    def __init__(
        self,
        *,
        networks: Collection[Network] = (),
        ports: Collection[int] = (),
        resolver: HostResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            networks: those allowed although they are closed.
            ports: those allowed beside 80 and 443.
            resolver: who resolves names; the system's where there is none.
            tls: whom to trust; what the system and certifi do where there is none.
        """
        self._networks = networks
        self._ports = ports
        self._resolver = resolver or HostResolver()
        self._tls = tls or httpcore.default_ssl_context()

    @classmethod
    def of(cls, settings: Settings) -> Outbound:
        """As the operator set it.

        Raises:
            ConfigurationError: His networks or ports are none.
        """
        return cls(
            networks=networks_of(settings.fetch_networks), ports=ports_of(settings.fetch_ports)
        )

    def get(self, url: str, *, deadline_s: float, max_bytes: int, accept: Accept) -> Fetched:
        """The content of a URL, at most five redirects away.

        Args:
            url: the URL, http or https.
            deadline_s: for all of it.
            max_bytes: of the content, as sent and as unpacked.
            accept: the media types wanted.

        Raises:
            FetchFailed: It could not be had; says why.
            Unavailable: Names are not resolved at the time.
        """
        deadline = Deadline(deadline_s)
        target = self._checked(url)
        headers = {"Accept": "*/*" if callable(accept) else ", ".join(sorted(accept))}
        for _ in range(MAX_REDIRECTS + 1):
            with (
                _about(target.origin, deadline),
                closing(self._exchange("GET", target, headers, b"", deadline)) as exchange,
            ):
                if exchange.status not in _REDIRECTS:
                    return exchange.content(max_bytes, accept)
                target = self._redirected(target, exchange.header("location"))
        raise FetchFailed(f"the URL redirects more than {MAX_REDIRECTS} times")

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> PostOutcome:
        """Send a body once; a redirect is an answer like others, and no answer's body is read.

        Raises:
            FetchFailed: There was no answer; says why.
            Unavailable: Names are not resolved at the time.
        """
        deadline = Deadline(timeout_s)
        target = self._checked(url)
        with (
            _about(target.origin, deadline),
            closing(self._exchange("POST", target, headers, body, deadline)) as exchange,
        ):
            return PostOutcome(
                status=exchange.status,
                retry_after_s=_retry_after_s(
                    exchange.header("retry-after"), date=exchange.header("date")
                ),
            )

    def _checked(self, url: str) -> CheckedUrl:
        try:
            return check_url(url, ports=self._ports, allowed_networks=self._networks)
        except InvalidRequest as exc:
            raise FetchFailed(f"the URL {exc.detail}") from exc

    def _redirected(self, target: CheckedUrl, location: str) -> CheckedUrl:
        if not location:
            raise FetchFailed("redirects without a Location header")
        try:
            reached = self._checked(urljoin(target.url, location))
        except (FetchFailed, ValueError) as exc:
            raise FetchFailed(f"redirects to a URL that is refused: {exc}") from exc
        if target.scheme == "https" and reached.scheme != "https":
            raise FetchFailed("redirects from https to http")
        return reached

    def _exchange(
        self,
        method: str,
        target: CheckedUrl,
        headers: Mapping[str, str],
        body: bytes,
        deadline: Deadline,
    ) -> _Exchange:
        dialler = Dialler(self._resolver, self._networks, deadline)
        return _Exchange(dialler, self._tls, method, target, headers, body)


class _Exchange:
    """One request and the answer to it, on a connection of its own."""

    def __init__(
        self,
        dialler: Dialler,
        tls: ssl.SSLContext,
        method: str,
        target: CheckedUrl,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        self._connection = httpcore.HTTPConnection(
            httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port),
            ssl_context=tls,
            network_backend=dialler,
        )
        sent = {
            "Host": target.authority,
            "User-Agent": "Pigeonhole",
            "Accept-Encoding": "gzip",
            "Connection": "close",
            **headers,
        }
        if method == "POST":
            sent["Content-Length"] = str(len(body))
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        request = httpcore.Request(
            method, url, headers=[(k.encode(), v.encode()) for k, v in sent.items()], content=body
        )
        self._url = target.url
        try:
            self._answer = self._connection.handle_request(request)
        except BaseException:
            self._connection.close()
            raise
        assert dialler.line is not None  # it was connected
        self._line: BoundedConnection = dialler.line
        self.status = self._answer.status

    def header(self, name: str) -> str:
        """The first header of the name, in lower case; empty where there is none."""
        found = (value for key, value in self._answer.headers if key.lower() == name.encode())
        return next(found, b"").decode("utf-8", "replace").strip()

    def content(self, max_bytes: int, accept: Accept) -> Fetched:
        """The body of a success.

        Raises:
            FetchFailed: There is none, of another type, too large, or it ends early.
        """
        if self.status != 200:
            kind = FetchInterrupted if self.status in _PASSING else FetchFailed
            raise kind(f"responded with status {self.status}")
        media_type = self.header("content-type").partition(";")[0].strip().lower()
        if not (accept(media_type) if callable(accept) else media_type in accept):
            raise FetchFailed(
                f"responded with the unsupported content type {media_type[:80] or 'none'}"
            )
        length = self.header("content-length")
        if length.isdecimal() and int(length[:20]) > max_bytes:
            raise _too_large(max_bytes)
        encoding = self.header("content-encoding").lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise FetchFailed(
                f"responded with the content encoding {encoding[:80]}; only gzip is supported"
            )
        unpack = _BoundedGunzip(max_bytes) if encoding.endswith("gzip") else None
        self._line.allow(2 * max_bytes + _FRAMING_BYTES)  # chunks of some bytes have as much frame
        data, received = bytearray(), 0
        for chunk in self._answer.iter_stream():
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            data += unpack.feed(chunk) if unpack else chunk
        if unpack:
            unpack.end()
        return Fetched(data=bytes(data), media_type=media_type, url=self._url)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class _BoundedGunzip:
    """Unpacks gzip, and stops where it grows beyond the bound."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._members = 1
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, packed: bytes) -> bytes:
        out = bytearray()
        while packed:
            if self._member.eof:  # another member follows
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise FetchFailed(f"responded with more than {_MAX_MEMBERS} gzip members")
                self._member = zlib.decompressobj(wbits=31)
            try:
                out += self._member.decompress(packed, self._left - len(out) + 1)
            except zlib.error as exc:
                raise FetchFailed("responded with invalid gzip data") from exc
            if len(out) > self._left:
                raise _too_large(self._max_bytes)
            packed = self._member.unconsumed_tail or self._member.unused_data
        self._left -= len(out)
        return bytes(out)

    def end(self) -> None:
        if not self._member.eof:
            raise FetchFailed("responded with truncated gzip data")


@contextmanager
def _about(origin: str, deadline: Deadline) -> Iterator[None]:
    """Say of whom a failure is, and put httpcore's into our words."""
    try:
        yield
    except FetchFailed as exc:
        raise type(exc)(f"{origin} {exc.detail}") from exc
    except _TROUBLE as exc:
        kind = FetchFailed if isinstance(exc.__cause__, ssl.SSLError) else FetchInterrupted
        raise kind(f"{origin} {_reason(exc, deadline)}") from exc


def _reason(exc: Exception, deadline: Deadline) -> str:
    if isinstance(exc, httpcore.TimeoutException):
        return deadline.missed().detail
    if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
        return "has a TLS certificate that is not trusted or belongs to another host"
    if isinstance(exc.__cause__, ssl.SSLError):
        return "failed the TLS handshake"
    if isinstance(exc, httpcore.NetworkError):
        return "closed the connection"
    return "sent an invalid or incomplete HTTP response"


def _too_large(max_bytes: int) -> FetchFailed:
    return FetchFailed(f"responded with more than {max_bytes} bytes, the limit")


def _retry_after_s(text: str, *, date: str) -> float | None:
    """The seconds that a Retry-After header asks for; None where it asks for nothing.

    A time of day is one of the server's clock, which its Date header tells.
    """
    if text.isdecimal():
        return float(text[:9])
    at, now = _timestamp(text), _timestamp(date)
    if at is None:
        return None
    return max(0.0, at - (service_clock.now() if now is None else now))


def _timestamp(text: str) -> float | None:
    """A date of HTTP in seconds since 1970; None where it is no date."""
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
