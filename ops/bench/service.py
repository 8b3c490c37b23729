"""The service under measurement: the launcher in a directory of its own, and callers for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_LIMIT_S = 180.0
_ANSWER_LIMIT_S = 120.0
HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service; `launcher` is the process that started the others."""

    port: int
    key: str
    launcher: int

    def rss_mib(self) -> dict[str, float]:
        """Resident memory of the service's processes by what they run."""
        found: dict[str, float] = {}
        for pid in _descendants(self.launcher):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found[f"{pid} {command[-60:].strip()}"] = own_rss_mib(pid)
        return found

    def request(self, body: dict[str, Any], *, durable: bool = False) -> bytes:
        """The bytes of a classify request, for `HttpCaller.call`; `durable` asks for a job."""
        data = json.dumps(body).encode()
        prefer = "Prefer: respond-async\r\n" if durable else ""
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self.key}\r\n"
            f"{prefer}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data


class HttpCaller:
    """One kept-alive connection, with as little work on this side as HTTP allows."""

    def __init__(self, service: Service) -> None:
        self._socket = socket.create_connection((HOST, service.port), timeout=_ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes, *, statuses: Container[bytes] = (b"200", b"202")) -> bytes:
        """Send a request and read the body of its response.

        Raises:
            RuntimeError: The response has another status; the connection can be used again.
        """
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        chunks, have = [body], len(body)
        while have < length:
            chunks.append(self._read())
            have += len(chunks[-1])
        body = b"".join(chunks)
        if head[9:12] not in statuses:
            raise RuntimeError(f"{head[:16]!r} {body[:300]!r}")
        return body

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the service hung up")
        return data


def call_all(service: Service, requests: Sequence[bytes], *, callers: int) -> list[float]:
    """Send the requests from so many callers at once; each one's seconds, in any order."""
    waiting = iter(requests)
    lock = threading.Lock()
    took: list[float] = []
    failed: list[BaseException] = []

    def work() -> None:
        caller = HttpCaller(service)
        try:
            while not failed:
                with lock:
                    request = next(waiting, None)
                if request is None:
                    return
                began = time.perf_counter()
                caller.call(request)
                took.append(time.perf_counter() - began)
        except BaseException as exc:  # noqa: BLE001  raised again by who started the thread
            failed.append(exc)
        finally:
            caller.close()

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_ANSWER_LIMIT_S * 10)
    if failed:
        raise failed[0]
    return took


@contextmanager
def running() -> Iterator[Service]:
    """The service as `make run` starts it, ready, on a free port and an empty data directory."""
    with tempfile.TemporaryDirectory(prefix="pigeonhole-bench-") as folder:
        port = free_port()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIGEONHOLE_")}
        env |= {"PIGEONHOLE_DATA_DIR": folder, "PIGEONHOLE_PORT": str(port)}
        env |= {"PIGEONHOLE_LOG_LEVEL": "warning"}
        log = Path(folder) / "bench.log"
        with log.open("wb") as output:
            launcher = subprocess.Popen(
                [sys.executable, "-m", "ops.launcher"], env=env, stdout=output, stderr=output
            )
        try:
            _await_ready(launcher, port, log)
            key = (Path(folder) / "key").read_text().strip()
            yield Service(port=port, key=key, launcher=launcher.pid)
        finally:
            launcher.send_signal(signal.SIGTERM)
            launcher.wait(60)


def free_port() -> int:
    """A port that no process listens on at the moment."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def rss_mib(pid: int) -> float:
    """Resident memory of a process and its children."""
    return sum(own_rss_mib(each) for each in (pid, *_descendants(pid)))


def _await_ready(launcher: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < until and launcher.poll() is None:
        try:
            with socket.create_connection((HOST, port), timeout=5) as connection:
                connection.sendall(
                    b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
                if b" 200 " in connection.recv(64):
                    return
        except OSError:
            pass  # the service does not listen yet
        threading.Event().wait(0.2)
    raise RuntimeError(f"the service did not start:\n{log.read_text()[-3000:]}")


def own_rss_mib(pid: int) -> float:
    """Resident memory of a process, without its children's; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _descendants(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            children += [child, *_descendants(child)]
    return children
