from __future__ import annotations

import datetime
import gzip
import ipaddress
import logging
import ssl
import threading
import time
import zlib
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared import service_clock
from shared.errors import FetchFailed, FetchInterrupted, Unavailable
from shared.telemetry import start_logging
from tests.third_party_servers import LOOPBACK, dripping, endless, page, redirect, saying, stranger
from workers.outbound_http.client import Outbound, _retry_after_s
from workers.outbound_http.connection import HostResolver

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
MOST = 1000


def resolver(*answers: list[str]) -> HostResolver:
    """Answers one after another, the last again and again."""
    left = list(answers)

    def resolve(_name):
        texts = left.pop(0) if len(left) > 1 else left[0]
        return [ipaddress.ip_address(text) for text in texts]

    return HostResolver(resolve)


def way_out(server, **more) -> Outbound:
    return Outbound(**{"networks": LOOPBACK, "ports": {server.port}} | more)


def get(server, url=None, *, deadline_s=5.0, max_bytes=MOST, accept=("image/png",), **more):
    return way_out(server, **more).get(
        url or server.url(), deadline_s=deadline_s, max_bytes=max_bytes, accept=accept
    )


def refused(server, url=None, **more) -> str:
    with pytest.raises(FetchFailed) as caught:
        get(server, url, **more)
    return caught.value.detail


class TestRetryable:
    """Whether the same address may be read later."""

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (404, FetchFailed),
            (403, FetchFailed),
            (410, FetchFailed),
            (501, FetchFailed),
            (408, FetchInterrupted),
            (429, FetchInterrupted),
            (500, FetchInterrupted),
            (503, FetchInterrupted),
        ],
    )
    def test_is_told_by_the_status(self, status: int, kind: type[FetchFailed]):
        with (
            stranger(page(b"", status=f"{status} No")) as server,
            pytest.raises(FetchFailed) as caught,
        ):
            get(server)

        assert type(caught.value) is kind
        assert caught.value.retryable is (kind is FetchInterrupted)

    def test_is_a_server_that_is_away_or_too_slow(self):
        with stranger(page(b"cat")) as server:
            url = server.url()
        with pytest.raises(FetchInterrupted, match="does not accept the connection"):
            Outbound(networks=LOOPBACK, ports={server.port}).get(
                url, deadline_s=5.0, max_bytes=MOST, accept=("image/png",)
            )

    def test_is_no_address_that_is_refused(self):
        with stranger(page(b"cat")) as server, pytest.raises(FetchFailed) as caught:
            get(server, networks=())

        assert type(caught.value) is FetchFailed


class TestContent:
    def test_the_content_of_a_url_comes_with_its_type_and_where_it_was(self):
        with stranger(page(b"cat", "Image/PNG; q=1")) as server:
            got = get(server, server.url("/cat?size=2"))

        assert (got.data, got.media_type) == (b"cat", "image/png")
        assert got.url == server.url("/cat?size=2")

    def test_a_request_says_what_it_needs_and_nothing_of_this_machine(self, monkeypatch, tmp_path):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        with stranger(page(Set_Cookie="a=b")) as server:
            get(server)
            get(server)

        for head in server.heads:
            assert sorted(line for line in head.decode().split("\r\n") if line) == [
                "Accept-Encoding: gzip",
                "Accept: image/png",
                "Connection: close",
                "GET / HTTP/1.1",
                f"Host: 127.0.0.1:{server.port}",
                "User-Agent: Pigeonhole",
            ]

    def test_a_body_without_length_and_one_in_chunks_are_read(self):
        with stranger(saying(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\ncat")) as server:
            assert get(server).data == b"cat"
        chunks = b"Transfer-Encoding: chunked\r\n\r\n2\r\nca\r\n1\r\nt\r\n0\r\n\r\n"
        with stranger(saying(HEAD + chunks)) as server:
            assert get(server).data == b"cat"

    @pytest.mark.parametrize(
        "packed", [gzip.compress(b"cat", mtime=0), gzip.compress(b"c", mtime=0) * 3]
    )
    def test_gzip_is_unpacked(self, packed):
        with stranger(page(packed, Content_Encoding="gzip")) as server:
            assert get(server).data in (b"cat", b"ccc")

    def test_a_body_of_exactly_the_limit_passes(self):
        with stranger(page(b"x" * MOST)) as server:
            assert len(get(server).data) == MOST
        with stranger(page(gzip.compress(b"x" * MOST, mtime=0), Content_Encoding="gzip")) as server:
            assert len(get(server).data) == MOST

    @pytest.mark.parametrize("media_type", ["text/html", "", "image/pngx"])
    def test_another_type_is_refused_before_the_body_is_read(self, media_type):
        with stranger(
            endless(f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n".encode())
        ) as s:
            assert f"the unsupported content type {media_type or 'none'}" in refused(s)

    def test_what_is_wanted_may_be_a_question(self):
        with stranger(page(media_type="image/webp")) as server:
            assert get(server, accept=lambda kind: kind.startswith("image/")).data == b"cat"

    @pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "206 Part"])
    def test_another_status_is_refused(self, status):
        with stranger(page(b"", status=status)) as server:
            origin = f"http://127.0.0.1:{server.port}"
            assert (
                refused(server, server.url("/?key=secret"))
                == f"{origin} responded with status {status[:3]}"
            )


class TestWhatIsTooMuch:
    def test_a_length_beyond_the_limit_is_refused_at_once(self):
        with stranger(dripping(HEAD + b"Content-Length: 1001\r\n\r\n", b"", 9)) as server:
            assert "more than 1000 bytes, the limit" in refused(server)

    @pytest.mark.parametrize(
        "framing",
        [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n10000\r\n", b"Content-Length: 9\r\n\r\n"],
    )
    def test_an_endless_body_is_read_to_the_limit_or_the_length_that_it_told(self, framing):
        with stranger(endless(HEAD + framing)) as server:
            if b"9" in framing:
                assert get(server).data == b"x" * 9
            else:
                assert "more than 1000 bytes, the limit" in refused(server)

    def test_a_body_shorter_than_it_said_is_refused(self):
        with stranger(saying(HEAD + b"Content-Length: 500\r\n\r\nshort")) as server:
            assert "incomplete HTTP response" in refused(server)

    def test_a_gzip_bomb_stops_at_the_limit(self):
        bomb = gzip.compress(b"\0" * 2**26, mtime=0)
        with stranger(page(bomb, Content_Encoding="gzip")) as server:
            assert "more than 100000 bytes, the limit" in refused(server, max_bytes=100_000)

    def test_a_gzip_of_many_empty_pieces_is_not_unpacked_to_its_end(self):
        with stranger(page(gzip.compress(b"", mtime=0) * 5_000, Content_Encoding="gzip")) as server:
            assert "more than 4096 gzip members" in refused(server, max_bytes=1_000_000)

    @pytest.mark.parametrize(
        ("body", "encoding", "reason"),
        [
            (b"cat", "gzip", "invalid gzip data"),
            (gzip.compress(b"cat", mtime=0)[:-9], "gzip", "truncated gzip data"),
            (b"", "gzip", "truncated gzip data"),
            (zlib.compress(b"cat"), "deflate", "content encoding deflate;"),
            (b"cat", "gzip, gzip", "content encoding gzip, gzip;"),
        ],
    )
    def test_a_packing_that_cannot_be_undone_is_refused(self, body, encoding, reason):
        with stranger(page(body, Content_Encoding=encoding)) as server:
            assert reason in refused(server)

    def test_endless_headers_are_refused(self):
        with stranger(endless(HEAD, b"X-More: " + b"x" * 100 + b"\r\n")) as server:
            assert "more header or framing bytes" in refused(server)

    def test_endless_informational_answers_are_refused(self):
        with stranger(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")) as server:
            assert "more header or framing bytes" in refused(server)

    def test_chunks_that_are_mostly_frame_are_refused(self):
        chunk = b"1;" + b"x" * 1000 + b"\r\nx\r\n"
        with stranger(endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk)) as server:
            assert "more header or framing bytes" in refused(server)

    def test_what_is_no_http_is_refused(self):
        with stranger(saying(b"220 smtp.example.org ESMTP\r\n" * 5)) as server:
            assert "sent an invalid or incomplete HTTP response" in refused(server)


class TestDeadline:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("start", "piece"),
        [
            (b"", b""),
            (b"", b"H"),
            (HEAD, b"X: y\r\n"),
            (HEAD + b"Content-Length: 900\r\n\r\n", b"x"),
            (HEAD + b"\r\n", b""),
        ],
        ids=["silent", "status", "headers", "body", "stalled"],
    )
    def test_who_drips_is_cut_off_at_the_deadline(self, start, piece):
        with stranger(dripping(start, piece, 0.05)) as server:
            began = time.monotonic()
            reason = refused(server, deadline_s=0.5)

        assert "took longer than 0.5 s" in reason
        assert time.monotonic() - began < 20

    @pytest.mark.slow
    def test_a_slow_handshake_is_cut_off(self):
        with stranger(dripping(b"\x16\x03\x01", b"", 0.05)) as server:
            began = time.monotonic()
            reason = refused(server, server.url().replace("http:", "https:"), deadline_s=0.5)

        assert "took longer" in reason or "TLS" in reason
        assert time.monotonic() - began < 20

    @pytest.mark.slow
    def test_redirects_share_the_deadline(self):
        waits = threading.Event()

        def answer(connection, head):
            waits.wait(1.2)
            redirect("/again")(connection, head)

        with stranger(answer) as server:
            assert "took longer than 2 s" in refused(server, deadline_s=2)
        assert len(server.heads) == 2

    def test_a_resolver_that_hangs_is_not_waited_for(self):
        hangs = threading.Event()

        def resolve(_name):
            hangs.wait(10)
            return []

        with stranger(page()) as server:
            slow = HostResolver(resolve)
            reason = refused(server, server.url(host="a.example"), deadline_s=0.3, resolver=slow)
            hangs.set()

        assert "took longer than 0.3 s" in reason

    def test_when_too_many_lookups_hang_no_more_are_begun(self, monkeypatch):
        hangs = threading.Event()
        monkeypatch.setattr("workers.outbound_http.connection._MAX_LOOKUPS", 1)

        def resolve(_name):
            hangs.wait(10)
            return []

        slow = HostResolver(resolve)
        with stranger(page()) as server:
            refused(server, server.url(host="a.example"), deadline_s=0.1, resolver=slow)
            with pytest.raises(Unavailable, match="DNS is slow: 1 lookups are in flight"):
                get(server, server.url(host="a.example"), resolver=slow)
            hangs.set()


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "0.0.0.0",
        ],
    )
    def test_a_name_that_leads_inside_is_refused_and_never_dialled(self, address):
        with stranger(page()) as server:
            url = server.url(host="inside.example")
            reason = refused(server, url, networks=(), resolver=resolver([address]))

        assert "address that is not public" in reason
        assert address not in reason
        assert server.heads == []

    def test_one_closed_address_among_open_ones_is_enough_to_refuse(self):
        with stranger(page()) as server:
            url = server.url(host="mixed.example")
            names = resolver(["127.0.0.1", "10.0.0.1"])
            assert "is not public" in refused(server, url, resolver=names)

        assert server.heads == []

    def test_a_literal_address_inside_is_refused(self):
        with stranger(page()) as server:
            assert "address that is not public" in refused(server, networks=())

        assert server.heads == []

    def test_the_address_that_was_judged_is_the_one_that_is_dialled(self):
        names = resolver(["127.0.0.1"], ["10.9.9.9"])  # a second question would be answered so
        with stranger(page()) as server:
            assert get(server, server.url(host="turning.example"), resolver=names).data == b"cat"
            assert "is not public" in refused(
                server, server.url(host="turning.example"), resolver=names
            )

        assert len(server.heads) == 1
        assert f"Host: turning.example:{server.port}".encode() in server.heads[0]

    def test_an_address_that_does_not_answer_is_passed_over(self):
        with stranger(page()) as server:
            url = server.url(host="two.example")
            assert get(server, url, resolver=resolver(["127.1.1.1", "127.0.0.1"])).data == b"cat"

    def test_who_does_not_answer_at_all_is_named(self):
        with stranger(page()) as server:
            pass

        assert "does not accept the connection" in refused(server)

    def test_a_name_without_address_is_refused(self):
        with stranger(page()) as server:
            assert "host name that cannot be resolved: check the spelling" in refused(
                server, server.url(host="name.invalid")
            )
            empty = resolver([])
            assert "without an address" in refused(server, server.url(host="a.b"), resolver=empty)

    @pytest.mark.parametrize(
        "url", ["file:///etc/passwd", "http://u:p@127.0.0.1/", "http://127.0.0.1:1/"]
    )
    def test_a_url_that_is_not_ordinary_is_refused(self, url):
        with stranger(page()) as server:
            assert refused(server, url).startswith("the URL ")


class TestRedirects:
    def test_a_redirect_is_followed(self):
        def answer(connection, head):
            here = head.startswith(b"GET /cat")
            (page() if here else redirect("cat?a=b"))(connection, head)

        with stranger(answer) as server:
            assert get(server).url == server.url("/cat?a=b")

    @pytest.mark.parametrize(
        ("location", "reason"),
        [
            ("http://10.0.0.1/", "address that is not public"),
            ("http://169.254.169.254/latest/meta-data/", "address that is not public"),
            ("http://[::ffff:169.254.169.254]/", "address that is not public"),
            ("file:///etc/passwd", "must start with http"),
            ("http://127.0.0.1:1/", "port 1"),
            ("http://user:secret@127.0.0.1/", "user name or password"),
            ("http://[::1/", "redirects to a URL that is refused"),
            ("", "without a Location header"),
        ],
    )
    def test_a_redirect_is_judged_like_the_first_url(self, location, reason):
        with stranger(redirect(location)) as server:
            assert reason in refused(server)

    def test_a_redirect_to_a_name_that_leads_inside_is_refused(self):
        names = resolver(["10.0.0.1"])
        with stranger(redirect("http://inside.example/")) as server:
            assert "address that is not public" in refused(server, resolver=names)

    def test_a_loop_ends(self):
        with stranger(redirect("/")) as server:
            assert "redirects more than 5 times" in refused(server)

        assert len(server.heads) == 6


class TestTls:
    def test_the_name_in_the_url_is_verified_though_the_address_is_dialled(self, certificates):
        server_side, client_side = certificates
        names = resolver(["127.0.0.1"])
        with stranger(page(), tls=server_side) as server:
            url = server.url(host="cat.example")
            assert get(server, url, resolver=names, tls=client_side).data == b"cat"
            other = server.url(host="dog.example")
            assert "belongs to another host" in refused(
                server, other, resolver=names, tls=client_side
            )

    def test_a_certificate_of_nobody_we_know_is_refused(self, certificates):
        server_side, _ = certificates
        with stranger(page(), tls=server_side) as server:
            url = server.url(host="cat.example")
            assert "is not trusted" in refused(server, url, resolver=resolver(["127.0.0.1"]))

    def test_a_redirect_never_leads_from_https_to_http(self, certificates):
        server_side, client_side = certificates
        with stranger(page()) as plain, stranger(redirect(plain.url()), tls=server_side) as server:
            reason = refused(
                server,
                server.url(host="cat.example"),
                resolver=resolver(["127.0.0.1"]),
                tls=client_side,
                ports={server.port, plain.port},
            )

        assert "from https to http" in reason
        assert plain.heads == []


class TestPost:
    def post(self, server, body=b"{}", *, timeout_s=5.0, **headers):
        return way_out(server).post(server.url("/hook?a=b"), body, headers, timeout_s=timeout_s)

    def test_a_body_goes_with_its_headers_and_length(self):
        bodies = []

        def answer(connection, head):
            bodies.append(head.partition(b"\r\n\r\n")[2] or connection.recv(100))
            page(b"fine", status="202 Accepted")(connection, head)

        with stranger(answer) as server:
            answered = self.post(server, b'{"a":1}', **{"webhook-id": "msg_1"})

        assert (answered.status, answered.retry_after_s) == (202, None)
        assert bodies == [b'{"a":1}']
        assert b"POST /hook?a=b HTTP/1.1" in server.heads[0]
        assert b"webhook-id: msg_1" in server.heads[0]
        assert b"Content-Length: 7" in server.heads[0]

    def test_a_failure_says_when_to_come_again(self):
        with stranger(page(b"x" * 5000, status="500 No", Retry_After="120")) as server:
            answered = self.post(server)

        assert (answered.status, answered.retry_after_s) == (500, 120.0)

    def test_a_status_counts_though_the_body_drips(self):
        with stranger(dripping(b"HTTP/1.1 410 Gone\r\n\r\n", b"x", 0.05)) as server:
            assert self.post(server, timeout_s=0.5).status == 410

    def test_a_redirect_is_not_followed(self):
        with stranger(redirect("/elsewhere")) as server:
            assert self.post(server).status == 302

        assert len(server.heads) == 1

    @pytest.mark.slow
    def test_who_never_reads_a_large_body_is_cut_off(self):
        with (
            stranger(dripping(b"", b"", 0.05)) as server,
            pytest.raises(FetchFailed, match="longer"),
        ):
            self.post(server, b"x" * 2**24, timeout_s=0.5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("-1", None),
        ("120", 120.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert _retry_after_s(text, date="Wed, 21 Oct 2026 07:28:00 GMT") == seconds


def test_retry_after_of_a_server_without_a_date_is_read_by_the_services_clock():
    at = datetime.datetime.fromtimestamp(service_clock.now() + 600, datetime.UTC)

    seconds = _retry_after_s(format_datetime(at, usegmt=True), date="")

    assert seconds is not None
    assert 500 < seconds <= 600


def test_no_line_of_the_log_holds_a_url(capfd):
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        start_logging("test", "debug")
        with stranger(page()) as server:
            get(server, server.url("/?key=secret"))
        assert "secret" not in capfd.readouterr().err
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server that is cat.example, and a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cat.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cat.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, form, serialization.NoEncryption())
    file.write_bytes(secret + certificate.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(pem).decode())
