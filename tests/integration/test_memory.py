"""A worker that has grown above its bound of memory is replaced, and nothing is lost by it."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ops.test_launcher import environment, service
from tests.ops.test_supervisor import Launcher
from tests.servers import HOST

pytestmark = pytest.mark.integration
ROWS = 6_000
CALLERS = 3
LIMIT_S = 240.0


class Client:
    """Calls of one key; texts of words that the model has not seen, which its cache then keeps."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._pick = random.Random(0)

    def call(self, method: str, path: str, body: Any = None, kind: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=120)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": kind}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def text(self) -> str:
        return " ".join(f"{self._pick.randrange(16**10):x}" for _ in range(20))

    def batch(self) -> str:
        rows = "".join(json.dumps({"id": f"r{n}", "text": self.text()}) + "\n" for n in range(ROWS))
        form = (
            '--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--edge\r\n'
            'Content-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
            f"{rows}\r\n--edge--\r\n"
        )
        kind = "multipart/form-data; boundary=edge"
        status, file = self.call("POST", "/v1/files", form.encode(), kind)
        assert status == 200, file
        body = {
            "input_file_id": json.loads(file)["id"],
            "endpoint": "/v1/classify",
            "completion_window": "24h",
            "classify": {"labels": ["red", "green"]},
            "id_column": "id",
        }
        status, batch = self.call("POST", "/v1/batches", body)
        assert status == 200, batch
        return str(json.loads(batch)["id"])


def the_worker(running: Launcher) -> int | None:
    for child in running.children():
        try:
            if child.cmdline()[-1] == "workers.main":
                return child.pid
        except psutil.Error:
            continue  # it has just ended
    return None


def test_a_full_worker_is_replaced_and_all_calls_and_rows_are_answered(tmp_path: Path):
    env = environment(tmp_path, worker_memory="1MB", request_timeout_s=100, redis_timeout_s=20)
    with service(env) as running:
        running.read_until(r"Pigeonhole is ready")
        key = running.read_until(r"Your key: (\S+)")[1]
        client = Client(int(env["PIGEONHOLE_PORT"]), key)
        first = the_worker(running)
        assert first is not None
        failed: list[tuple[int, bytes]] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                body = {"input": [client.text() for _ in range(50)], "labels": ["red", "green"]}
                answer = client.call("POST", "/v1/classify", body)
                failed.extend([answer] if answer[0] != 200 else [])

        callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            batch_id = client.batch()
            running.read_until(r"memory\.full", r"worker died \(exit code 75\)", r"worker\.ready")
        finally:
            over.set()
            for caller in callers:
                caller.join(LIMIT_S)

        until = time.monotonic() + LIMIT_S
        while (batch := json.loads(client.call("GET", f"/v1/batches/{batch_id}")[1]))[
            "status"
        ] != "completed":
            assert time.monotonic() < until, batch
            time.sleep(0.2)
        lines = client.call("GET", f"/v1/files/{batch['output_file_id']}/content")[1].splitlines()

        assert {first, None}.isdisjoint({the_worker(running)})
        assert failed == []
        assert batch["request_counts"] == {"total": ROWS, "completed": ROWS, "failed": 0}
        assert sorted(json.loads(line)["id"] for line in lines) == sorted(
            f"r{n}" for n in range(ROWS)
        )
