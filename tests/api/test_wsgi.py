"""The front end as it is started: real processes behind a real port, no worker."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.server.liveness import answering_process
from shared.adapters.store_factory import open_store
from tests.keys import secret_of
from tests.servers import HOST, free_port, running, valkey_server
from tests.waiting import wait_until

pytestmark = pytest.mark.integration
COMMAND = [sys.executable, "-m", "api.main"]
HUGE = b"x" * (100 * 2**20)


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """Where it listens, a key for it, and what it was started with."""

    port: int
    key: str
    env: dict[str, str]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self.port, timeout=60)

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, bytes]:
        """One call on a connection of its own."""
        connection = self.connect()
        try:
            return self.call_on(connection, method, path, body, **headers)
        finally:
            connection.close()

    def call_on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object = None,
        **headers: str,
    ) -> tuple[int, bytes]:
        sent = {"Authorization": f"Bearer {self.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = "Transfer_Encoding" in headers
        connection.request(method, path, body=body, headers=sent, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_its_processes_end_with_it(front_end: FrontEnd):
    port = free_port()
    env = {**front_end.env, "PIGEONHOLE_PORT": str(port), "PIGEONHOLE_API_PROCESSES": "2"}

    def connects() -> bool:
        with socket.socket() as caller:
            return caller.connect_ex((HOST, port)) == 0

    with subprocess.Popen(COMMAND, env={**os.environ, **env}) as parent:
        answered: set[int | None] = set()
        while len(answered - {None}) < 2:
            answered.add(answering_process(HOST, port))
        parent.kill()
        wait_until(lambda: not connects())


def test_it_stops_at_once_when_nothing_is_answered(front_end: FrontEnd):
    port = free_port()
    env = {**front_end.env, "PIGEONHOLE_PORT": str(port), "PIGEONHOLE_SHUTDOWN_GRACE_S": "60"}
    with (
        running(COMMAND, port=port, env=env) as server,
        socket.create_connection((HOST, port), timeout=60) as idle,
    ):
        server.process.terminate()

        assert idle.recv(1) == b""
        assert server.process.wait(60) == 0


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    folder = tmp_path_factory.mktemp("front")
    (folder / "redis").mkdir()
    port = free_port()
    store = f"file://{folder / 'objects'}"
    key = secret_of(open_store(store))
    with valkey_server(folder / "redis") as redis:
        env = {
            "PIGEONHOLE_REDIS_URL": f"redis://{HOST}:{redis.port}/0",
            "PIGEONHOLE_OBJECT_STORE": store,
            "PIGEONHOLE_PORT": str(port),
            "PIGEONHOLE_API_PROCESSES": "2",
            "PIGEONHOLE_API_THREADS": "24",
        }
        with running(COMMAND, port=port, env=env):
            yield FrontEnd(port=port, key=key, env=env)


def test_a_huge_body_is_refused_and_the_connection_goes_on(front_end: FrontEnd):
    connection = front_end.connect()

    status, body = front_end.call_on(connection, "POST", "/v1/classify", HUGE)
    again, _ = front_end.call_on(connection, "GET", "/health/live")
    connection.close()

    assert (status, json.loads(body)["code"]) == (413, "VALIDATION_ERROR")
    assert again == 200


def test_a_huge_body_in_chunks_is_refused(front_end: FrontEnd):
    chunks = (HUGE[i : i + 65536] for i in range(0, len(HUGE), 65536))

    status, body = front_end.call("POST", "/v1/classify", chunks, Transfer_Encoding="chunked")

    assert (status, json.loads(body)["code"]) == (413, "VALIDATION_ERROR")


def test_a_client_that_asks_first_is_refused_before_it_sends(front_end: FrontEnd):
    with socket.create_connection((HOST, front_end.port), timeout=60) as client:
        client.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
            b"Expect: 100-continue\r\nAuthorization: Bearer %s\r\n\r\n" % front_end.key.encode()
        )

        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_http_2_is_refused_also_where_the_client_knows_it_beforehand(front_end: FrontEnd):
    with socket.create_connection((HOST, front_end.port), timeout=60) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_idle_connections_keep_nobody_out(front_end: FrontEnd):
    idle = [socket.create_connection((HOST, front_end.port), timeout=60) for _ in range(4200)]

    status, _ = front_end.call("GET", "/health/live")

    assert status == 200
    for connection in idle:
        connection.close()


def test_without_a_worker_it_lives_but_is_not_ready(front_end: FrontEnd):
    status, body = front_end.call("GET", "/health/ready")

    parts = json.loads(body)["parts"]
    assert status == 503
    assert (parts["redis"], parts["object_store"]) == ("ok", "ok")
    assert parts["worker"] == "no worker is running"


def test_a_scrape_of_one_process_counts_all(front_end: FrontEnd):
    for _ in range(40):
        assert front_end.call("GET", "/v1/models")[0] == 200

    _, text = front_end.call("GET", "/metrics")

    line = b'pigeonhole_http_requests_total{method="GET",route="/v1/models",status="200"} 40.0'
    assert line in text


def test_a_port_that_is_taken_is_refused_with_a_sentence(front_end: FrontEnd):
    done = subprocess.run(
        COMMAND, env=os.environ | front_end.env, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PIGEONHOLE_PROT": "1"}, "did you mean PIGEONHOLE_PORT?"),
        ({"PIGEONHOLE_OBJECT_STORE": "ftp://x"}, "must be file:///absolute/path or s3://"),
        ({"PIGEONHOLE_DEFAULT_MODEL": "nope"}, "default model 'nope'"),
        ({"PIGEONHOLE_REDIS_URL": ""}, "PIGEONHOLE_REDIS_URL is empty"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(
    tmp_path: Path, changes: dict[str, str], says: str
):
    env = {
        "PIGEONHOLE_OBJECT_STORE": f"file://{tmp_path}",
        "PIGEONHOLE_REDIS_URL": f"redis://{HOST}:1/0",
    }

    done = subprocess.run(
        COMMAND, env=os.environ | env | changes, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
