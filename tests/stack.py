"""A whole service of real processes for a test: Redis, object store, API, workers, keeper.

Each process can be killed, frozen and started again by its name; output goes to one log file each,
which a failing test shows the end of.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from shared.adapters.store_factory import store_of
from shared.settings import Settings
from tests.keys import secret_of
from tests.servers import HOST, free_port, valkey_command

ROOT = Path(__file__).parents[1]
TINY = """
[[model]]
name = "tiny"
engine = "hashing"
"""
LABELS = ["red", "green"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Stack:
    """Processes by name. `settings` are PIGEONHOLE_ variables without the prefix, lower case."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.host = HOST
        self.redis_port = free_port()
        self.port = free_port()
        (folder / "redis").mkdir(parents=True, exist_ok=True)
        catalogue = folder / "catalogue.toml"
        catalogue.write_text(TINY)
        chosen: dict[str, object] = {
            "host": HOST,
            "port": self.port,
            "redis_url": f"redis://{HOST}:{self.redis_port}/0",
            "object_store": f"file://{folder / 'objects'}",
            "catalogue": catalogue,
            "default_model": "tiny",
            "models": "tiny",
            "device": "cpu",
            "lease_s": 4,
            "audit_s": 5,
            **settings,
        }
        self.variables = {f"PIGEONHOLE_{n.upper()}": str(v) for n, v in chosen.items()}
        self.settings = Settings.from_env(self.variables)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, list[str]] = {}
        self.key = ""

    def start(self, name: str, *command: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start a process; `command` once, later starts of the name repeat it."""
        if command:
            self.commands[name] = list(command)
        extra = {f"PIGEONHOLE_{n.upper()}": str(v) for n, v in settings.items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PIGEONHOLE_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.commands[name],
                cwd=ROOT,
                env=inherited | self.variables | extra | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes[name] = process
        return process

    def start_redis(self, *command: str) -> None:
        """Start a Redis with an append-only file, or another one by a command of its own."""
        own = valkey_command(self.redis_port, self.folder / "redis")
        self.start("redis", *(command or own))

    def start_api(self) -> None:
        self.start("api", sys.executable, "-m", "api.main")

    def start_keeper(self, name: str = "keeper") -> None:
        self.start(name, sys.executable, "-m", "workers.keeper.main")

    def start_worker(self, name: str = "worker") -> None:
        self.start(name, sys.executable, "-m", "workers.main")

    def send(self, name: str, signum: int) -> None:
        self.processes[name].send_signal(signum)

    def freeze(self, name: str) -> None:
        """Stop a process that uses Redis, until SIGCONT.

        When this returns, Redis has executed all that the process had sent: it claims nothing more.
        """
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        with redis.Redis(host=HOST, port=self.redis_port) as client:
            client.ping()

    def kill(self, name: str, signum: int = signal.SIGKILL, *, wait_s: float = 40) -> int:
        """End a process and return its exit code."""
        process = self.processes[name]
        process.send_signal(signum)
        return process.wait(wait_s)

    def wipe_redis(self) -> None:
        """Kill Redis and start it with nothing in it."""
        self.kill("redis")
        for path in (self.folder / "redis").rglob("*"):
            if path.is_file():
                path.unlink()
        self.start("redis")

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            process = self.processes[name]
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float = 60,
        **headers: str,
    ) -> Answer:
        """One HTTP call with the stack's key; `headers` with `_` for `-`."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, body=data, headers=sent)
            answer = connection.getresponse()
            return Answer(
                status=answer.status,
                headers={k.lower(): v for k, v in answer.getheaders()},
                body=answer.read(),
            )
        finally:
            connection.close()

    def classify(self, texts: object = "a red rose", **extra: Any) -> Answer:
        headers = extra.pop("headers", {})
        timeout_s = extra.pop("timeout_s", 60)
        body = {"input": texts, "labels": LABELS, **extra}
        return self.call("POST", "/v1/classify", body, timeout_s=timeout_s, **headers)

    def submit(self, texts: object = "a red rose", **extra: Any) -> str:
        """Submit a durable job and return its id."""
        answer = self.classify(texts, headers={"Prefer": "respond-async"}, **extra)
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/v1/jobs/{job_id}")
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def until(self, what: str, condition: Callable[[], object], *, timeout_s: float = 120) -> float:
        """Wait for a condition; how long it took, in seconds."""
        began = time.monotonic()
        while True:
            try:
                if condition():
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException):
                pass  # the process asked is just being killed
            if time.monotonic() - began > timeout_s:
                raise AssertionError(f"not within {timeout_s} s: {what}\n{self.tail()}")
            time.sleep(0.05)

    def until_ready(self, *, timeout_s: float = 120) -> float:
        return self.until(
            "ready",
            lambda: self.call("GET", "/health/ready", timeout_s=10).status == 200,
            timeout_s=timeout_s,
        )

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """Log lines of a process with the event."""
        found = []
        for line in (self.folder / f"{name}.log").read_text(errors="replace").splitlines():
            if f'"{event}"' in line and line.startswith("{"):
                entry = json.loads(line)
                if entry["event"] == event:
                    found.append(entry)
        return found

    def tail(self, lines: int = 15) -> str:
        ends = []
        for name in self.processes:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            ends.append(f"--- {name} ({self.processes[name].poll()})")
            ends += text.splitlines()[-lines:]
        return "\n".join(ends)


@contextmanager
def running_stack(
    folder: Path,
    *,
    workers: int = 1,
    ready_s: float = 120,
    redis: Sequence[str] = (),
    **settings: object,
) -> Iterator[Stack]:
    """A ready service while the block runs; models that have to be loaded take their time."""
    stack = Stack(folder, **settings)
    try:
        stack.start_redis(*redis)
        stack.key = secret_of(store_of(stack.settings))
        stack.start_api()
        stack.start_keeper()
        for number in range(workers):
            stack.start_worker("worker" if number == 0 else f"worker{number + 1}")
        stack.until_ready(timeout_s=ready_s)
        yield stack
    finally:
        stack.stop()
