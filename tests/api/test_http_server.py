"""Clients that send or read slowly, many or broken requests: over real sockets, real processes."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.servers import HOST
from tests.stack import Answer, Stack, running_stack

pytestmark = pytest.mark.integration
BODY_TIMEOUT_S = 8.0
ANSWER_TIMEOUT_S = 5.0
LABELS = ["red", "green"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("http"),
        ready_s=200,
        api_threads=24,
        upload_threads=4,
        body_timeout_s=BODY_TIMEOUT_S,
        response_timeout_s=ANSWER_TIMEOUT_S,
        header_timeout_s=5,
        max_address_requests=600,
        trusted_proxies="127.0.0.2",
        path_prefix="/ai",
    ) as running:
        yield running


def head(stack: Stack, path: str, *, length: int, method: str = "POST", more: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


def connect(stack: Stack) -> socket.socket:
    return socket.create_connection((HOST, stack.port), timeout=60)


@contextmanager
def clients(stack: Stack, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that have sent those bytes."""
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(stack)) for _ in range(count)]
        for connection in connections:
            connection.sendall(first)
        yield connections


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


def usual_calls_succeed(stack: Stack) -> None:
    """Health, polling and a call are answered."""
    assert stack.call("GET", "/health/live").status == 200
    assert stack.call("GET", "/v1/jobs").status == 200
    assert stack.classify().status == 200


def test_bodies_that_stop_half_way_delay_nobody_and_are_cut(stack: Stack):
    paths = ("/v1/batches", "/v1/classify", "/v1/train", "/v1/files")
    with ExitStack() as opened:
        stuck = [
            (path, connection)
            for path in paths
            for connection in opened.enter_context(
                clients(stack, 100, head(stack, path, length=5000) + b"{")
            )
        ]

        began = time.monotonic()
        usual_calls_succeed(stack)
        assert time.monotonic() - began < BODY_TIMEOUT_S  # before any of these is given up

        for path, connection in stuck:
            status, headers, body = answer_on(connection)
            # An upload beyond those that are taken at once is refused at its head.
            assert (status, path) in {(408, path), (429, "/v1/files")}, body
            if status == 408:
                assert headers["connection"] == "close"
                assert "REQUEST_TIMEOUT" in body.decode().upper()
                assert connection.recv(1) == b""


def test_a_body_that_comes_a_byte_at_a_time_is_cut(stack: Stack):
    with clients(stack, 1, head(stack, "/v1/classify", length=5000)) as (slow,):
        began = time.monotonic()
        slow.settimeout(0.2)
        while time.monotonic() - began < 3 * BODY_TIMEOUT_S:
            try:
                slow.sendall(b" ")
                if answered := slow.recv(4096):
                    break
            except TimeoutError:
                continue
        else:
            raise AssertionError("the client was not cut")

    assert answered.startswith(b"HTTP/1.1 408 ")


def test_heads_that_never_end_are_closed(stack: Stack):
    with clients(stack, 1, b"GET /health/live HTTP/1.1\r\nX-A: ") as (slow,):
        until = time.monotonic() + 60

        assert closed_while_sending(slow, b"a", pause_s=0.2, until=until)


def test_a_head_without_an_end_is_refused_for_its_size(stack: Stack):
    with clients(stack, 1, b"GET / HTTP/1.1\r\n") as (greedy,):
        line = b"X-A: " + b"a" * 1000 + b"\r\n"

        assert closed_while_sending(greedy, line, pause_s=0.001, until=time.monotonic() + 60)


def closed_while_sending(client: socket.socket, piece: bytes, *, pause_s: float, until: float):
    client.settimeout(pause_s)
    while time.monotonic() < until:
        try:
            client.sendall(piece)
            if client.recv(4096) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def large_answer(stack: Stack) -> bytes:
    """A request whose answer has 10 MB: the kernel does not take all of that."""
    labels = [f"label number {n} of many others" for n in range(256)]
    body = json.dumps({"input": ["a b c"] * 500, "labels": labels}).encode()
    return head(stack, "/v1/classify", length=len(body)) + body


def slow_reader(stack: Stack) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect((HOST, stack.port))
    return client


def test_who_does_not_read_a_large_answer_holds_nothing_and_is_cut(stack: Stack):
    request = large_answer(stack)
    with ExitStack() as opened:
        readers = [opened.enter_context(slow_reader(stack)) for _ in range(4)]
        for reader in readers:
            reader.sendall(request)
        stack.until("answered", lambda: all(_readable(reader) for reader in readers))

        usual_calls_succeed(stack)

        stack.until("cut", lambda: len(stack.events("api", "http.slow_reader")) >= 4)
        for reader in readers:
            with pytest.raises((ConnectionError, http.client.IncompleteRead)):
                answer_on(reader)


def _readable(connection: socket.socket) -> bool:
    return bool(connection.recv(1, socket.MSG_PEEK))


def test_a_large_answer_that_is_read_slowly_but_steadily_is_read_whole(stack: Stack):
    with slow_reader(stack) as client:
        client.sendall(large_answer(stack))
        time.sleep(1)

        status, headers, body = answer_on(client)

    assert (status, len(body)) == (200, int(headers["content-length"]))
    assert len(json.loads(body)["data"]) == 500
    usual_calls_succeed(stack)


def test_a_download_that_is_not_read_frees_its_slot(stack: Stack):
    content = b'{"text": "a red rose"}\n' * 1_000_000
    file_id = send_file(stack, content).json()["id"]
    path = f"/v1/files/{file_id}/content"
    before = len(stack.events("api", "http.slow_reader"))
    slots = (24 - 16) // 2  # half of those of calls, so that downloads leave the rest to calls
    with ExitStack() as opened:
        for _ in range(slots):
            reader = opened.enter_context(slow_reader(stack))
            reader.sendall(head(stack, path, length=0, method="GET"))
            assert _readable(reader)
        assert stack.call("GET", path).status == 429  # every slot of downloads is held for now
        assert stack.classify().status == 200

        stack.until("cut", lambda: len(stack.events("api", "http.slow_reader")) >= before + slots)

        assert stack.call("GET", path).body == content


def send_file(stack: Stack, content: bytes) -> Answer:
    form = b"".join(
        (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n',
            content,
            b"\r\n--b--\r\n",
        )
    )
    return stack.call("POST", "/v1/files", form, Content_Type="multipart/form-data; boundary=b")


def test_two_hundred_slow_clients_leave_room_for_others(stack: Stack):
    body = json.dumps({"input": "a red rose", "labels": LABELS}).encode()
    statuses = []
    with clients(stack, 200, head(stack, "/v1/classify", length=len(body)) + body[:10]) as slow:
        for _ in range(40):
            statuses.append(stack.classify(timeout_s=60).status)
        for connection in slow[:20]:
            connection.sendall(body[10:])
        finished = [answer_on(connection)[0] for connection in slow[:20]]

    assert statuses == [200] * 40
    assert set(finished) <= {200, 408, 429}  # eight slots; and time has passed


def test_an_address_has_a_bounded_number_of_requests(stack: Stack):
    with clients(stack, 600, head(stack, "/v1/classify", length=50) + b"{"):
        stack.until("refused", lambda: stack.call("GET", "/v1/models").status == 429)

    stack.until("let in again", lambda: stack.call("GET", "/v1/models").status == 200)


def test_behind_a_trusted_proxy_each_client_is_counted_by_itself(stack: Stack):
    first = head(stack, "/ai/v1/classify", length=50, more="X-Forwarded-For: 192.0.2.1\r\n") + b"{"
    with ExitStack() as opened:
        for number in range(620):
            client = opened.enter_context(socket.socket())
            client.settimeout(60)
            client.bind(("127.0.0.2", 0))
            client.connect((HOST, stack.port))
            client.sendall(first)
            assert number or stack.call("GET", "/v1/models").status == 200
        status, _, _ = answer_on(client)  # the last of them is one too many

        assert status == 429
        for address, expected in [("192.0.2.1", 429), ("192.0.2.2", 200)]:
            with socket.socket() as other:
                other.settimeout(60)
                other.bind(("127.0.0.2", 0))
                other.connect((HOST, stack.port))
                more = f"X-Forwarded-For: {address}\r\n"
                other.sendall(head(stack, "/ai/v1/models", length=0, method="GET", more=more))

                assert answer_on(other)[0] == expected


def test_abandoned_uploads_let_go_of_their_threads(stack: Stack):
    for _ in range(3):
        with clients(stack, 4, head(stack, "/v1/files", length=10**9) + b"--b\r\n"):
            pass

    began = time.monotonic()
    stack.until("threads are free", lambda: send_file(stack, b"{}\n").status == 200)
    assert time.monotonic() - began < BODY_TIMEOUT_S


def test_calls_that_need_little_are_bounded_by_their_route(stack: Stack):
    filler = json.dumps({"filler": "x" * 2**21}).encode()
    for method, path in [
        ("PATCH", "/v1/classifiers/cls_x"),
        ("POST", "/v1/webhooks"),
        ("POST", "/v1/uploads"),
        ("DELETE", "/v1/jobs/job_x"),
    ]:
        answer = stack.call(method, path, filler)

        assert answer.status == 413, (method, path, answer.body)
        assert b"at most 1048576 bytes are allowed" in answer.body


def test_ignored_fields_do_not_add_up_in_memory(stack: Stack):
    filler = '"abc",' * (30 * 2**20 // 6)
    body = f'{{"input": "a red rose", "labels": ["red", "green"], "x": [{filler}0]}}'.encode()
    process = answering_process(stack)
    before, peak, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    statuses: list[int] = []

    def call() -> None:
        statuses.append(stack.call("POST", "/v1/classify", body, timeout_s=120).status)

    watcher = threading.Thread(target=watch)
    watcher.start()
    callers = [threading.Thread(target=call) for _ in range(8)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(120)
    over.set()
    watcher.join(10)

    assert 200 in statuses
    assert set(statuses) <= {200, 413, 422, 503}
    assert peak[0] - before < 800 * 2**20


def answering_process(stack: Stack) -> psutil.Process:
    status, headers, _ = _get(stack, "/health/live")
    assert status == 200
    return psutil.Process(int(headers["x-process-id"]))


def _get(stack: Stack, path: str) -> tuple[int, dict[str, str], bytes]:
    with connect(stack) as client:
        client.sendall(head(stack, path, length=0, method="GET"))
        return answer_on(client)


def test_without_a_key_no_large_body_is_read(stack: Stack):
    with connect(stack) as client:
        client.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ph_nope\r\n"
            b"Content-Length: 20000000\r\n\r\n{"
        )

        assert answer_on(client)[0] == 401


def test_requests_in_one_packet_are_answered_in_turn(stack: Stack):
    body = json.dumps({"input": "a red rose", "labels": LABELS}).encode()
    classify = head(stack, "/v1/classify", length=len(body)) + body
    models = head(stack, "/v1/models", length=0, method="GET")
    statuses, keys = [], []
    with connect(stack) as client, client.makefile("rb") as answers:
        client.sendall(classify + models + classify + models + classify[:-5])
        for number in range(5):
            if number == 4:
                client.sendall(classify[-5:])
            statuses.append(int(answers.readline().split()[1]))
            length = http.client.parse_headers(answers)["Content-Length"]
            keys.append(next(iter(json.loads(answers.read(int(length))))))

    assert statuses == [200] * 5
    assert keys[0] == keys[2] == keys[4] != keys[1] == keys[3]


@pytest.mark.parametrize(
    ("request_bytes", "begins"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /health/live HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"HEAD /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 "),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 404 "),
        (b"GET http://x/health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 "),
        (
            b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 200 ",
        ),
        (
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 400 ",
        ),
        (
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 400 ",
        ),
    ],
)
def test_odd_heads(stack: Stack, request_bytes: bytes, begins: bytes):
    with connect(stack) as client:
        client.sendall(request_bytes)

        assert client.recv(4096).startswith(begins)


def test_a_body_in_chunks_is_read(stack: Stack):
    body = json.dumps({"input": ["a red rose"] * 900, "labels": LABELS, "x": "y" * 200_000})
    pieces = [body[i : i + 50_000].encode() for i in range(0, len(body), 50_000)]
    connection = http.client.HTTPConnection(HOST, stack.port, timeout=60)
    headers = {"Authorization": f"Bearer {stack.key}", "Transfer-Encoding": "chunked"}

    for _ in range(2):
        connection.request("POST", "/v1/classify", iter(pieces), headers, encode_chunked=True)
        answer = connection.getresponse()

        assert answer.status == 200
        assert len(json.loads(answer.read())["data"]) == 900
    connection.close()


def test_a_client_that_asks_first_is_told_to_send(stack: Stack):
    body = json.dumps({"input": "a red rose", "labels": LABELS}).encode()
    with connect(stack) as client:
        client.sendall(
            head(stack, "/v1/classify", length=len(body), more="Expect: 100-continue\r\n")
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)

        assert answer_on(client)[0] == 200


def test_events_that_nobody_listens_to_any_more_free_their_slot(stack: Stack):
    job_id = stack.submit()
    stack.until("ended", lambda: stack.job(job_id)["status"] == "succeeded")

    status, headers, body = _get(stack, f"/v1/jobs/{job_id}/events")

    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert b"event: progress" in body
