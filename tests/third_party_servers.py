"""Servers on loopback that answer as a test says, byte by byte; most of them badly."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket, bytes], None]
"""Gets the connection and the head of the request."""

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Stranger:
    """One server; `heads` are the heads of the requests that it got."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.stopped = threading.Event()
        self._answer = answer
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def stop(self) -> None:
        self.stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(20)
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                head = b""
                while b"\r\n\r\n" not in head and (piece := connection.recv(4096)):
                    head += piece
                self.heads.append(head)
                self._answer(connection, head)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)  # a close with unread bytes would reset what was sent
            except OSError:
                pass
            finally:
                connection.close()


@contextmanager
def stranger(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Stranger]:
    """A server for the time of the block."""
    server = Stranger(answer, tls)
    try:
        yield server
    finally:
        server.stop()


def saying(raw: bytes) -> Answer:
    """Answers with these bytes."""
    return lambda connection, _head: connection.sendall(raw)


def page(
    body: bytes = b"cat", media_type: str = "image/png", status: str = "200 OK", **headers: str
) -> Answer:
    """Answers as a well-behaved server."""
    named = {"Content-Type": media_type, "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return saying(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)


def redirect(location: str, status: str = "302 Found") -> Answer:
    return page(b"", status=status, Location=location)


def dripping(start: bytes, piece: bytes, every_s: float) -> Answer:
    """Sends a start, and then a piece now and then, for ever."""

    def answer(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(start)
        while not threading.Event().wait(every_s):
            connection.sendall(piece)

    return answer


def endless(start: bytes, piece: bytes = b"x" * 65536) -> Answer:
    def answer(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return answer
