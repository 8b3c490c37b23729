"""Asks a running API whether the service is ready, and reports what is missing."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

_PATH = "/health/ready"
_ANSWER_S = 15.0  # the API itself sends an item through the queue to find out
_TRY_AGAIN_S = 0.5


def await_ready(
    address: str,
    stopping: threading.Event,
    *,
    patience_s: float,
    complain: Callable[[str], None],
) -> bool:
    """Wait until an item went through the real queue; False only if `stopping` comes first.

    Args:
        address: The API, such as ``http://127.0.0.1:8080``.
        stopping: Ends the waiting.
        patience_s: How often to complain while it lasts.
        complain: Told in a sentence what is missing.
    """
    complain_at = time.monotonic() + patience_s
    while not stopping.is_set():
        missing = _missing(address)
        if missing is None:
            return True
        if time.monotonic() >= complain_at:
            complain(f"not ready after {patience_s:g} s: {missing}")
            complain_at = time.monotonic() + patience_s
        stopping.wait(_TRY_AGAIN_S)
    return False


def _missing(address: str) -> str | None:
    """What is missing, None if nothing is."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as exc:
        return f"the API does not answer ({type(exc).__name__})"
    finally:
        connection.close()
    return None if answer.status == 200 else _reason(answer.status, body)


def _reason(status: int, body: bytes) -> str:
    """The parts that are not ok; the answer itself if it names none.

    >>> _reason(503, b'{"ready": false, "parts": {"redis": "ok", "worker": "none is running"}}')
    'worker: none is running'
    >>> _reason(502, b"Bad gateway")
    'the API returned 502 Bad gateway'
    """
    try:
        parts = json.loads(body)["parts"].items()
    except (ValueError, TypeError, KeyError, AttributeError):
        parts = ()
    missing = "; ".join(f"{part}: {why}" for part, why in parts if why != "ok")
    return missing or f"the API returned {status} {body[:300].decode(errors='replace')}"
