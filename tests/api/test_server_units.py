"""Parts of the HTTP server, each by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from api.server.client_limits import ByteBudget, PerAddress
from api.server.route_limits import SMALL_BODY_BYTES, Routing
from api.server.server import HttpServer, to_cut
from api.server.thread_pool import ThreadPool
from api.server.upload_stream import UploadStream
from shared.errors import BodyTimeout
from shared.settings import Settings
from tests.waiting import wait_until

SETTINGS = Settings(request_timeout_s=1.0)


def test_a_pool_refuses_what_would_wait_beyond_its_bound():
    pool, go, begun = ThreadPool("test", max_threads=2, max_queued_calls=1), threading.Event(), []

    def work() -> None:
        begun.append(1)
        go.wait(60)

    accepted = [pool.submit(work) for _ in range(4)]
    wait_until(lambda: len(begun) == 2)

    assert accepted == [True, True, True, False]
    assert pool.submit(work, bounded=False)
    assert pool.max_wait_s > 0
    go.set()
    wait_until(lambda: len(begun) == 4)
    assert pool.max_wait_s == 0


def test_a_thread_outlives_a_function_that_raises():
    pool, done = ThreadPool("test", max_threads=1, max_queued_calls=9), threading.Event()

    pool.submit(lambda: 1 / 0 and None)
    pool.submit(done.set)

    assert done.wait(60)


def test_an_address_has_its_share_and_no_more():
    counts = PerAddress(2)

    assert [counts.take("a"), counts.take("a"), counts.take("a")] == [True, True, False]
    assert counts.take("b")
    counts.give_back("a")
    assert counts.take("a")


def test_a_body_waits_for_others_of_its_address_but_not_for_those_of_another():
    budget, begun = ByteBudget(100), []

    def then(name: str) -> Callable[[], None]:
        return lambda: begun.append(name)

    assert budget.take("a", 40, "a1", then("a1"))
    assert not budget.take("a", 40, "a2", then("a2"))
    assert budget.take("b", 40, "b1", then("b1"))
    assert not budget.take("c", 40, "c1", then("c1"))
    budget.cancel("a2")
    budget.give_back("a", 40)

    assert begun == ["c1"]


@pytest.mark.parametrize(
    ("method", "path", "pool", "max_bytes"),
    [
        ("GET", "/health/live", "liveness", SMALL_BODY_BYTES),
        ("GET", "/health/ready", "readiness", SMALL_BODY_BYTES),
        ("GET", "/v1/jobs/job_1", "polling", SMALL_BODY_BYTES),
        ("GET", "/v1/batches/batch_1/events", "calls", SMALL_BODY_BYTES),
        ("GET", "/v1/files/file_1/content", "calls", SMALL_BODY_BYTES),
        ("POST", "/v1/classify", "calls", SETTINGS.max_body_bytes),
        ("POST", "/v1/train", "calls", SETTINGS.max_body_bytes),
        ("POST", "/v1/classifiers/a/evaluate", "calls", SETTINGS.max_body_bytes),
        ("POST", "/v1/classifiers/a/rebuild", "calls", SMALL_BODY_BYTES),
        ("POST", "/v1/batches", "calls", 4 * SMALL_BODY_BYTES),
        ("PATCH", "/v1/webhooks/wh_1", "calls", SMALL_BODY_BYTES),
    ],
)
def test_where_a_request_is_answered_and_how_much_it_may_send(
    method: str, path: str, pool: str, max_bytes: int
):
    routing = Routing(SETTINGS)

    route = routing.route_of(method, path)

    assert route.pool is getattr(routing, pool)
    assert (route.max_bytes, route.streamed) == (max_bytes, False)


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/uploads/upload_1/parts", "/v1/classifiers/import"]
)
def test_files_are_handed_on_while_they_arrive(path: str):
    routing = Routing(SETTINGS)

    assert routing.route_of("POST", path).streamed
    assert routing.route_of("POST", path).pool is routing.uploads


def test_a_prefix_of_a_proxy_changes_no_route():
    routing = Routing(replace(SETTINGS, path_prefix="/ai"))

    for path in ("/v1/classify", "/ai/v1/classify"):
        assert routing.route_of("POST", path).max_bytes == SETTINGS.max_body_bytes
    assert routing.route_of("POST", "/of/v1/files", "/of/").streamed
    assert routing.route_of("GET", "/ai/health/live").pool is routing.liveness


def test_no_route_may_send_more_than_the_operator_allows():
    routing = Routing(replace(SETTINGS, max_body_bytes=2048))

    for path in ("/v1/classify", "/v1/batches", "/v1/webhooks"):
        assert routing.route_of("POST", path).max_bytes == 2048


def test_a_process_whose_threads_are_all_stuck_does_not_live(monkeypatch: pytest.MonkeyPatch):
    server = HttpServer(lambda *_: [], SETTINGS, check_key=lambda _: None, max_connections=10)
    live = server._routing.route_of("GET", "/health/live")
    assert server._fault(live) is None

    monkeypatch.setattr(ThreadPool, "max_wait_s", 100.0)

    assert server._fault(live) is not None
    assert server._fault(server._routing.route_of("GET", "/v1/models")) is None


@dataclass
class Reader:
    unsent_bytes: int
    held_s: float

    def unsent_for_s(self, now: float) -> float:
        return self.held_s


def test_the_slowest_readers_are_cut_where_all_leave_too_much():
    slow, slower, quick, fine = Reader(60, 8), Reader(60, 9), Reader(60, 1), Reader(0, 0)
    all_readers = [slow, slower, quick, fine]

    def cut(max_bytes: int) -> list[Reader]:
        return to_cut(all_readers, now=0, max_bytes=max_bytes)

    assert cut(200) == []
    assert cut(130) == [slower]
    assert cut(10) == [slower, slow]  # one that has just begun is given time


def test_a_stream_gives_what_came_and_then_its_error():
    wanted: list[int] = []
    stream = UploadStream(lambda: wanted.append(1))
    assert not stream.feed(b"abc")
    assert stream.feed(b"x" * 300_000)
    stream.fail(BodyTimeout("too slow"))

    assert (stream.read(2), stream.read(2)) == (b"ab", b"c")
    assert len(stream.read(400_000)) == 300_000
    for _ in range(2):
        with pytest.raises(BodyTimeout):
            stream.read(1)
    assert wanted == []


def test_a_stream_waits_for_more():
    stream = UploadStream(lambda: None)

    async def run() -> bytes:
        reading = asyncio.get_running_loop().run_in_executor(None, stream.read)
        await asyncio.sleep(0)
        stream.feed(b"a")
        stream.feed(b"b")
        stream.end()
        return await reading

    assert asyncio.run(run()) == b"ab"
