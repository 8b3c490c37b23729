"""The SSRF-safe HTTP client: every request to a URL that a user supplied goes through it.

Each request opens one connection and has one deadline, from DNS resolution to the last byte. The
client sends nothing of this machine: it ignores the proxies, cookies and passwords of the
environment. `shared.url_policy` (the SSRF policy) decides which addresses may be reached;
`connection` pins the checked address against DNS rebinding. Callers decide what to request and how
often. gzip bodies are bounded against zip bombs.
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
_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}  # the server may succeed later
_FRAMING_BYTES = 64 * 1024
_MAX_MEMBERS = 4096  # of one gzip body; decompressing 32 MiB of empty members takes seconds
_HTTP_ERRORS = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)

Accept = Callable[[str], bool] | Collection[str]
"""The accepted media types: a set of names, or a predicate on a name."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The content of a URL."""

    data: bytes
    media_type: str
    """In lower case, without parameters; empty if the response has no Content-Type."""
    url: str
    """The final URL, after redirects."""


@dataclass(frozen=True, kw_only=True)
class PostOutcome:
    """The response to a POST; its body is not read."""

    status: int
    retry_after_s: float | None


class Outbound:
    """The outbound HTTP client. It is thread-safe; no call blocks longer than its deadline."""

    def __init__(
        self,
        *,
        networks: Collection[Network] = (),
        ports: Collection[int] = (),
        resolver: HostResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Store the configuration; no connection is opened yet.

        Args:
            networks: non-public networks that are allowed nevertheless.
            ports: ports that are allowed besides 80 and 443.
            resolver: the DNS resolver; by default the system's.
            tls: the TLS trust settings; by default those of the system and certifi.
        """
        self._networks = networks
        self._ports = ports
        self._resolver = resolver or HostResolver()
        self._tls = tls or httpcore.default_ssl_context()

    @classmethod
    def of(cls, settings: Settings) -> Outbound:
        """Create a client from the settings.

        Raises:
            ConfigurationError: A configured network or port is invalid.
        """
        return cls(
            networks=networks_of(settings.fetch_networks), ports=ports_of(settings.fetch_ports)
        )

    def get(self, url: str, *, deadline_s: float, max_bytes: int, accept: Accept) -> Fetched:
        """Download the content of a URL, following at most `MAX_REDIRECTS` redirects.

        Args:
            url: the URL, http or https.
            deadline_s: seconds for the whole download, redirects included.
            max_bytes: limit of the content, both compressed and decompressed.
            accept: the accepted media types.

        Raises:
            FetchFailed: The download failed; the detail gives the reason.
            FetchInterrupted: The failure is temporary; a retry may succeed.
            Unavailable: Too many DNS lookups are in flight.
        """
        deadline = Deadline(deadline_s)
        target = self._checked(url)
        headers = {"Accept": "*/*" if callable(accept) else ", ".join(sorted(accept))}
        for _ in range(MAX_REDIRECTS + 1):
            with (
                _named_errors(target.origin, deadline),
                closing(self._exchange("GET", target, headers, b"", deadline)) as exchange,
            ):
                if exchange.status not in _REDIRECTS:
                    return exchange.content(max_bytes, accept)
                target = self._redirected(target, exchange.header("location"))
        raise FetchFailed(f"the URL redirects more than {MAX_REDIRECTS} times")

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> PostOutcome:
        """Send a body once. Redirects are not followed, and the response body is not read.

        Raises:
            FetchFailed: No response arrived; the detail gives the reason.
            Unavailable: Too many DNS lookups are in flight.
        """
        deadline = Deadline(timeout_s)
        target = self._checked(url)
        with (
            _named_errors(target.origin, deadline),
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
    """One request and its response, on a connection of its own."""

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
        all_headers = {
            "Host": target.authority,
            "User-Agent": "Pigeonhole",
            "Accept-Encoding": "gzip",
            "Connection": "close",
            **headers,
        }
        if method == "POST":
            all_headers["Content-Length"] = str(len(body))
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        request = httpcore.Request(
            method,
            url,
            headers=[(k.encode(), v.encode()) for k, v in all_headers.items()],
            content=body,
        )
        self._url = target.url
        try:
            self._response = self._connection.handle_request(request)
        except BaseException:
            self._connection.close()
            raise
        assert dialler.connection is not None  # handle_request has connected
        self._bounded: BoundedConnection = dialler.connection
        self.status = self._response.status

    def header(self, name: str) -> str:
        """The first header of this lower-case name; empty if there is none."""
        values = (v for key, v in self._response.headers if key.lower() == name.encode())
        return next(values, b"").decode("utf-8", "replace").strip()

    def content(self, max_bytes: int, accept: Accept) -> Fetched:
        """Read the body of a response with status 200.

        Raises:
            FetchFailed: The status, type, encoding or size is not accepted, or the body is
                truncated.
        """
        if self.status != 200:
            kind = FetchInterrupted if self.status in _RETRYABLE else FetchFailed
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
        self._bounded.allow(
            2 * max_bytes + _FRAMING_BYTES
        )  # tiny chunks have as much framing as content
        data, received = bytearray(), 0
        for chunk in self._response.iter_stream():
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            data += unpack.feed(chunk) if unpack else chunk
        if unpack:
            unpack.end()
        return Fetched(data=bytes(data), media_type=media_type, url=self._url)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _BoundedGunzip:
    """Decompresses gzip up to a size limit: the protection against zip bombs."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._members = 1
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, compressed: bytes) -> bytes:
        out = bytearray()
        while compressed:
            if self._member.eof:  # the next gzip member begins
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise FetchFailed(f"responded with more than {_MAX_MEMBERS} gzip members")
                self._member = zlib.decompressobj(wbits=31)
            try:
                out += self._member.decompress(compressed, self._left - len(out) + 1)
            except zlib.error as exc:
                raise FetchFailed("responded with invalid gzip data") from exc
            if len(out) > self._left:
                raise _too_large(self._max_bytes)
            compressed = self._member.unconsumed_tail or self._member.unused_data
        self._left -= len(out)
        return bytes(out)

    def end(self) -> None:
        if not self._member.eof:
            raise FetchFailed("responded with truncated gzip data")


@contextmanager
def _named_errors(origin: str, deadline: Deadline) -> Iterator[None]:
    """Prefix errors with the origin, and translate the errors of httpcore."""
    try:
        yield
    except FetchFailed as exc:
        raise type(exc)(f"{origin} {exc.detail}") from exc
    except _HTTP_ERRORS as exc:
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
    """The delay that a Retry-After header asks for, in seconds; None without a valid header.

    A Retry-After date is relative to the clock of the server, which the Date header gives.
    """
    if text.isdecimal():
        return float(text[:9])
    at, now = _timestamp(text), _timestamp(date)
    if at is None:
        return None
    return max(0.0, at - (service_clock.now() if now is None else now))


def _timestamp(text: str) -> float | None:
    """An HTTP date as seconds since 1970; None if the text is not a date."""
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
