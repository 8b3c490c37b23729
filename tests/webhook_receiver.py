"""A receiver of webhooks on loopback; it verifies signatures without any code of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any

from tests.third_party_servers import page


@dataclass(frozen=True, kw_only=True)
class Message:
    """What arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    def signed_by(self, secret: str) -> bool:
        """As the specification of Standard Webhooks says it, step by step."""
        key = base64.b64decode(secret.split("_", 1)[1])
        content = b".".join(
            (self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body)
        )
        wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        signatures = [each.split(",") for each in self.headers["webhook-signature"].split(" ")]
        return ["v1", wanted] in signatures


class Receiver:
    """An answer of `tests.third_party_servers`: keeps every message, answers the statuses in turn.

    The last status stays. With `holds` cleared it keeps its answers back.
    """

    def __init__(self, *statuses: str, **headers: str) -> None:
        self.statuses = list(statuses or ("200 OK",))
        self.messages: list[Message] = []
        self.holds = threading.Event()
        self.holds.set()
        self._headers = headers
        self._changed = threading.Condition()
        self._inside = 0
        self.max_inside = 0

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        start, _, body = head.partition(b"\r\n\r\n")
        lines = start.decode().split("\r\n")[1:]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65536)
        with self._changed:
            self.messages.append(Message(headers=headers, body=body))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            self._inside += 1
            self.max_inside = max(self.max_inside, self._inside)
            self._changed.notify_all()
        self.holds.wait(60)
        with self._changed:
            self._inside -= 1
        page(b"thanks", "text/plain", status=status, **self._headers)(connection, head)

    def wait_for(self, count: int, *, timeout_s: float = 60) -> list[Message]:
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.messages) >= count, timeout_s)
            assert there, f"{len(self.messages)} of {count} messages came"
            return list(self.messages)
