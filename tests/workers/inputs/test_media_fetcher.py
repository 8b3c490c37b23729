from __future__ import annotations

import ipaddress
import sys
import threading
from dataclasses import replace

import pytest

from shared.errors import ConfigurationError, FetchFailed, Unavailable
from shared.settings import Settings
from tests.third_party_servers import LOOPBACK, page, stranger
from workers.inputs.media_fetcher import Fetcher, bounds_of
from workers.outbound_http.client import Fetched, Outbound
from workers.outbound_http.connection import HostResolver

WAIT_S = 60


class Gate:
    """A server's answer that waits until it is opened; counts who waits, by Host."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self._changed = threading.Condition()
        self._inside: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.max_in_all = 0

    def __call__(self, connection, head):
        host = head.partition(b"Host: ")[2].partition(b":")[0].decode()
        self._count(host, 1)
        self.opened.wait(WAIT_S)
        self._count(host, -1)
        page()(connection, head)

    def wait_for(self, inside: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sum(self._inside.values()) == inside, WAIT_S)

    def _count(self, host, step):
        with self._changed:
            self._inside[host] = self._inside.get(host, 0) + step
            self.most[host] = max(self.most.get(host, 0), self._inside[host])
            self.max_in_all = max(self.max_in_all, sum(self._inside.values()))
            self._changed.notify_all()


@pytest.fixture
def fetchers():
    """Makes a fetcher for one server; names lead to it."""
    made = []

    def make(server, **more) -> Fetcher:
        loopback = HostResolver(lambda _name: [ipaddress.ip_address("127.0.0.1")])
        outbound = Outbound(networks=LOOPBACK, ports={server.port}, resolver=loopback)
        settings = replace(Settings(), max_image_bytes=5000, max_document_bytes=9000)
        made.append(Fetcher(outbound, bounds_of(settings), **{"timeout_s": 60.0} | more))
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.close()


def test_a_image_comes_with_its_type(fetchers):
    with stranger(page(b"cat")) as server:
        got = fetchers(server).get(server.url("/cat"), "image").result(WAIT_S)

    assert got == Fetched(data=b"cat", media_type="image/png", url=server.url("/cat"))


@pytest.mark.parametrize(
    ("kind", "media_type", "welcome"),
    [
        ("image", "image/webp", True),
        ("image", "binary/octet-stream", True),
        ("image", "", True),
        ("image", "image/svg+xml", False),
        ("image", "text/html", False),
        ("image", "application/pdf", False),
        ("document", "application/pdf", True),
        ("document", "text/plain", True),
        ("document", "application/octet-stream", True),
        ("document", "text/html", False),
        ("document", "image/png", False),
    ],
)
def test_each_kind_has_its_types(fetchers, kind, media_type, welcome):
    with stranger(page(media_type=media_type)) as server:
        future = fetchers(server).get(server.url(), kind)

        if welcome:
            assert future.result(WAIT_S).data == b"cat"
        else:
            with pytest.raises(FetchFailed, match="unsupported content type"):
                future.result(WAIT_S)


def test_each_kind_has_its_size(fetchers):
    with stranger(page(b"x" * 7000, "application/octet-stream")) as server:
        fetcher = fetchers(server)

        assert len(fetcher.get(server.url(), "document").result(WAIT_S).data) == 7000
        with pytest.raises(FetchFailed, match="more than 5000 bytes, the limit"):
            fetcher.get(server.url(), "image").result(WAIT_S)


def test_a_url_that_is_under_way_is_not_fetched_again(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server)
        futures = [fetcher.get(server.url(), "image") for _ in range(20)]
        gate.wait_for(1)
        gate.opened.set()

        assert {future.result(WAIT_S).data for future in futures} == {b"cat"}
    assert len(server.heads) == 1


def test_a_url_is_fetched_again_only_after_a_minute(fetchers):
    now = [0.0]
    with stranger(page()) as server:
        fetcher = fetchers(server, clock=lambda: now[0])
        for at, fetched in ((0.0, 1), (59.0, 1), (61.0, 2)):
            now[0] = at
            fetcher.get(server.url(), "image").result(WAIT_S)
            assert len(server.heads) == fetched


def test_a_failure_is_remembered_for_some_seconds_and_each_asker_has_his_own_error(fetchers):
    now = [0.0]
    with stranger(page(status="404 Not Found")) as server:
        fetcher = fetchers(server, clock=lambda: now[0])
        errors = [fetcher.get(server.url(), "image").exception(WAIT_S) for _ in range(2)]
        assert len(server.heads) == 1
        now[0] = 11.0
        errors.append(fetcher.get(server.url(), "image").exception(WAIT_S))
        assert len(server.heads) == 2

    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {f"{server.url('')} responded with status 404"}


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(fetchers):
    with stranger(page(b"x" * 1000)) as server:
        entry_bytes = 1024 + 1000 + sys.getsizeof(server.url("/1"))
        fetcher = fetchers(server, kept_bytes=2 * entry_bytes)
        for path in ("/1", "/2", "/3", "/3", "/2", "/1"):
            fetcher.get(server.url(path), "image").result(WAIT_S)

    fetched = [head.split()[1] for head in server.heads]
    assert fetched == [b"/1", b"/2", b"/3", b"/1"]


def test_a_host_has_a_few_at_once_and_others_pass_it_by(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server, per_host=4)
        futures = [
            fetcher.get(server.url(f"/{n}", host=host), "image")
            for host in ("a.example", "b.example")
            for n in range(10)
        ]
        gate.wait_for(8)
        gate.opened.set()
        for future in futures:
            future.result(WAIT_S)

    assert gate.most == {"a.example": 4, "b.example": 4}


def test_in_all_there_are_a_few_at_once(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server, at_once=3)
        urls = [server.url(host=f"{n}.example") for n in range(8)]
        futures = [fetcher.get(url, "image") for url in urls]
        gate.wait_for(3)
        gate.opened.set()
        for future in futures:
            future.result(WAIT_S)

    assert gate.max_in_all == 3


def test_what_nobody_waits_for_any_more_is_not_begun(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server, at_once=1)
        first = fetcher.get(server.url("/first"), "image")
        gate.wait_for(1)
        given_up = fetcher.get(server.url("/second"), "image")
        last = fetcher.get(server.url("/third"), "image")
        assert given_up.cancel()
        gate.opened.set()
        first.result(WAIT_S)
        last.result(WAIT_S)

    assert [head.split()[1] for head in server.heads] == [b"/first", b"/third"]


def test_one_who_gives_up_takes_nothing_from_the_others(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server)
        one, other = (fetcher.get(server.url(), "image") for _ in range(2))
        gate.wait_for(1)
        one.cancel()
        gate.opened.set()

        assert other.result(WAIT_S).data == b"cat"


def test_a_fetcher_that_is_closed_ends_every_wait(fetchers):
    gate = Gate()
    with stranger(gate) as server:
        fetcher = fetchers(server, at_once=1)
        running = fetcher.get(server.url("/1"), "image")
        gate.wait_for(1)
        waiting = fetcher.get(server.url("/2"), "image")
        fetcher.close()
        late = fetcher.get(server.url("/3"), "image")
        for future in (waiting, late):
            with pytest.raises(Unavailable, match="stopping"):
                future.result(0)
        gate.opened.set()

        assert running.result(WAIT_S).data == b"cat"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[", "http://10.0.0.1/", ""])
def test_a_url_that_is_refused_fails_its_future(fetchers, url):
    with stranger(page()) as server, pytest.raises(FetchFailed, match="the URL"):
        fetchers(server).get(url, "image").result(WAIT_S)


def test_the_operator_says_what_is_allowed():
    settings = replace(Settings(), fetch_networks="127.0.0.0/8", fetch_timeout_s=5.0)
    with stranger(page()) as server:
        closed, opened = (
            Fetcher.of(settings),
            Fetcher.of(replace(settings, fetch_ports=str(server.port))),
        )
        try:
            with pytest.raises(FetchFailed, match="port"):
                closed.get(server.url(), "image").result(WAIT_S)
            assert opened.get(server.url(), "image").result(WAIT_S).data == b"cat"
        finally:
            closed.close()
            opened.close()

    with pytest.raises(ConfigurationError, match="PIGEONHOLE_FETCH_NETWORKS"):
        Fetcher.of(replace(settings, fetch_networks="everything"))
