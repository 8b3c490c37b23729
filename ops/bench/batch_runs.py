"""Batches as a caller sees them: a file sent, a batch made of it, its end awaited."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.bench.service import HOST, Service

_ANSWER_LIMIT_S = 120.0
_EDGE = b"edge7134"
_CHUNK_BYTES = 1 << 20
_FINAL = ("completed", "failed", "expired", "cancelled")
LABELS = ["question", "complaint"]


def upload(service: Service, path: Path) -> str:
    """Send a file of rows; its id."""
    head = b"".join(
        (
            b"--" + _EDGE + b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
            b"--" + _EDGE + b'\r\nContent-Disposition: form-data; name="file"; ',
            f'filename="{path.name}"\r\n\r\n'.encode(),
        )
    )
    foot = b"\r\n--" + _EDGE + b"--\r\n"

    def pieces() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece
        yield foot

    headers = {
        "Content-Type": f"multipart/form-data; boundary={_EDGE.decode()}",
        "Content-Length": str(len(head) + path.stat().st_size + len(foot)),
    }
    return str(_call(service, "POST", "/v1/files", pieces(), headers)["id"])


def create(
    service: Service, file_id: str, *, labels: list[str] | None = None, **chosen: object
) -> str:
    """Begin a batch of the file, with what is `chosen` beside the usual; its id."""
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/classify",
        "completion_window": "24h",
        "classify": {"labels": labels or LABELS},
        "id_column": "id",
        **chosen,
    }
    return str(_call(service, "POST", "/v1/batches", json.dumps(body).encode())["id"])


def get(service: Service, path: str) -> dict[str, Any]:
    """What a GET answers."""
    return _call(service, "GET", path)


def counted(service: Service, batch_id: str) -> int:
    """How many rows have come out."""
    return int(get(service, f"/v1/batches/{batch_id}")["request_counts"]["completed"])


def await_rows(service: Service, batch_id: str, rows: int, *, timeout_s: float = 600) -> None:
    """Wait until so many rows have come out.

    Raises:
        TimeoutError: They have not in time.
    """
    until = time.monotonic() + timeout_s
    while counted(service, batch_id) < rows:
        if time.monotonic() > until:
            raise TimeoutError(f"{batch_id} has not {rows} rows after {timeout_s:g} s")
        time.sleep(0.05)


def await_end(service: Service, batch_id: str, *, rows: int, timeout_s: float = 1800) -> float:
    """Wait for the end of a batch; how long that took, in seconds.

    Raises:
        TimeoutError: It has not ended in time.
        RuntimeError: It ended without all its rows.
    """
    began = time.monotonic()
    while True:
        _follow(service, batch_id)
        batch = get(service, f"/v1/batches/{batch_id}")
        took_s = time.monotonic() - began
        if batch["status"] in _FINAL:
            break
        if took_s > timeout_s:
            raise TimeoutError(f"{batch_id} is {batch['status']} after {timeout_s:g} s")
    if batch["status"] != "completed" or batch["request_counts"]["completed"] != rows:
        raise RuntimeError(f"{batch_id}: {batch['status']} {batch['request_counts']}")
    return took_s


def timed(service: Service, file_id: str, *, rows: int, timeout_s: float = 1800) -> float:
    """Seconds of a batch, from its creation until it is completed."""
    began = time.monotonic()
    await_end(service, create(service, file_id), rows=rows, timeout_s=timeout_s)
    return time.monotonic() - began


def cancel(service: Service, batch_id: str) -> None:
    """End a batch, and wait for that."""
    _call(service, "POST", f"/v1/batches/{batch_id}/cancel")
    until = time.monotonic() + _ANSWER_LIMIT_S
    while get(service, f"/v1/batches/{batch_id}")["status"] not in _FINAL:
        if time.monotonic() > until:
            raise TimeoutError(f"{batch_id} is not cancelled")
        time.sleep(0.1)


def write_rows(path: Path, texts: Iterator[str] | list[str]) -> Path:
    """A file of JSON lines, with an id and a text in each."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": f"r{number}", "text": text}) + "\n")
    return path


def _follow(service: Service, batch_id: str) -> None:
    """Read the events of a batch to their end: an event a second, where looking often costs more.

    Four looks a second took a fiftieth of the processor from the batch that was measured.
    """
    connection = http.client.HTTPConnection(HOST, service.port, timeout=_ANSWER_LIMIT_S)
    try:
        headers = {"Authorization": f"Bearer {service.key}"}
        connection.request("GET", f"/v1/batches/{batch_id}/events", headers=headers)
        answer = connection.getresponse()
        while answer.read1(_CHUNK_BYTES):
            pass
    finally:
        connection.close()


def _call(
    service: Service,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One call; what it answered.

    Raises:
        RuntimeError: It was refused.
    """
    connection = http.client.HTTPConnection(HOST, service.port, timeout=_ANSWER_LIMIT_S)
    fields = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, body=body, headers=fields | (headers or {}))
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
    return dict(json.loads(data))
