"""Formats the log lines of several processes as one readable log.

A JSON line of ours (`shared.telemetry`) becomes ``12:00:01 worker  info    call.done items=3``, a
traceback is laid out under its event, and any other line is passed on behind the process's name.
"""

from __future__ import annotations

import json
import re
import threading
from datetime import datetime
from typing import Any, TextIO

_LAUNCHER = "local"
_TAKEN = {"at", "level", "process", "logger", "event", "traceback"}
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 9}
_REDIS = re.compile(r"\d+:[A-Z] \d\d? \w{3} \d{4} [\d:.]+ (?P<mark>[.*#-]) (?P<text>.*)")
_REDIS_LEVELS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_NOISE = (
    b"Memory overcommit must be enabled",  # at every start of Redis; matters for gigabytes only
    b":signal-handler (",  # at every stop of Redis
    b"is now ready to exit, bye bye",
    b'"route": "/health/',  # the launcher's own questions
)


class LogView:
    """The log of the launcher and its children; thread-safe."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._lock = threading.Lock()

    def line(self, source: str, raw: bytes) -> None:
        """Show one line of a child."""
        if raw.strip() and not any(noise in raw for noise in _NOISE):
            self._write(render(source, raw, now=datetime.now(), colour=self._colour))

    def say(self, text: str, *, level: str = "info") -> None:
        """Show a message of the launcher itself."""
        self._write(_row(datetime.now(), _LAUNCHER, level, text, colour=self._colour))

    def _write(self, text: str) -> None:
        # A reader that has gone (`| head`, a closed terminal) must not end the service.
        try:
            with self._lock:
                print(text, file=self._out, flush=True)
        except (OSError, ValueError):
            pass


def render(source: str, raw: bytes, *, now: datetime, colour: bool = False) -> str:
    r"""One line of a child as people read it; more than one line if it has a traceback.

    Args:
        source: The name of the child.
        raw: What it wrote, with or without the line end.
        now: The time shown where the line tells none.
        colour: Whether to colour the levels by terminal codes.

    >>> render("api", b"plain words\n", now=datetime(2027, 1, 1, 12, 0, 1))
    '12:00:01 api             plain words'
    >>> event = b'{"level": "info", "event": "call.done", "items": 3, "why": "two words"}'
    >>> render("worker", event, now=datetime(2027, 1, 1, 12, 0, 1))
    '12:00:01 worker  info    call.done items=3 why="two words"'
    """
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    event = _event(text)
    if event is None:
        redis = _REDIS.fullmatch(text)
        level, text = (_REDIS_LEVELS[redis["mark"]], redis["text"]) if redis else ("", text)
        return _row(now, source, level, text, colour=colour)
    fields = [f"{key}={_value(value)}" for key, value in event.items() if key not in _TAKEN]
    head = _row(
        _time(event.get("at"), now),
        source,
        str(event.get("level", "")),
        " ".join([str(event["event"]), *fields]),
        colour=colour,
    )
    traceback = str(event.get("traceback", "")).splitlines()
    return "\n".join([head, *(f"    {_plain(row)}" for row in traceback)])


def _event(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _time(at: object, now: datetime) -> datetime:
    """The event's time on this machine's clock."""
    try:
        return datetime.fromisoformat(str(at)).astimezone()
    except ValueError:
        return now


def _value(value: object) -> str:
    if isinstance(value, str) and value and not re.search(r'[\s"=]', value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _row(at: datetime, source: str, level: str, text: str, *, colour: bool) -> str:
    row = f"{at:%H:%M:%S} {source:<7} {level:<7} {_plain(text)}"
    code = _COLOURS.get(level)
    return f"\x1b[{code}m{row}\x1b[0m" if colour and code else row


def _plain(text: str) -> str:
    """Without the control characters by which a line could move the cursor or forge another."""
    return text.translate(_CONTROLS)
