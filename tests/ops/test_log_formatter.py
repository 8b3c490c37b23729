from __future__ import annotations

import io
import json
from datetime import datetime

from ops.log_formatter import LogView, render

NOON = datetime(2027, 1, 1, 12, 0, 1)


def test_an_event_is_shown_with_its_fields_in_order() -> None:
    at = NOON.astimezone().isoformat()
    event = {"at": at, "level": "info", "process": "worker", "logger": "x", "event": "call.done"}

    shown = render("worker", json.dumps({**event, "items": 3, "ok": True}).encode(), now=NOON)

    assert shown == "12:00:01 worker  info    call.done items=3 ok=true"


def test_a_traceback_stands_below_its_event_line_by_line() -> None:
    event = {"level": "error", "event": "call.crashed", "traceback": "Traceback:\n  File x\nBoom\n"}

    head, *rows = render("worker", json.dumps(event).encode(), now=NOON).splitlines()

    assert head.endswith("error   call.crashed")
    assert rows == ["    Traceback:", "      File x", "    Boom"]


def test_other_lines_are_passed_on_behind_the_name_of_who_said_them() -> None:
    assert render("api", b"Killed\n", now=NOON).split(maxsplit=1)[1] == "api             Killed"
    assert render("api", b"{not json\n", now=NOON).endswith("{not json")
    assert render("api", b'{"no": "event"}\n', now=NOON).endswith('{"no": "event"}')


def test_a_line_of_redis_loses_its_own_time_and_shows_its_level() -> None:
    line = b"77:M 20 Nov 2026 21:59:24.099 # Short read of the append-only file\n"

    shown = render("redis", line, now=NOON)

    assert shown == "12:00:01 redis   warning Short read of the append-only file"


def test_no_line_can_move_the_cursor_or_pretend_to_be_another() -> None:
    event = json.dumps({"level": "info", "event": "x", "why": "a\n12:00:02 api \x1b[2J"}).encode()

    for shown in (render("api", b"\x1b[2J\x9b\r\n", now=NOON), render("api", event, now=NOON)):
        assert "\x1b" not in shown
        assert "\x9b" not in shown
        assert len(shown.splitlines()) == 1


def test_warnings_are_coloured_only_on_request() -> None:
    event = b'{"level": "warning", "event": "part.late"}'

    assert "\x1b[33m" in render("keeper", event, now=NOON, colour=True)
    assert "\x1b" not in render("keeper", event, now=NOON)


def test_what_the_launcher_itself_causes_is_not_shown() -> None:
    out = io.StringIO()
    log = LogView(out, colour=False)

    log.line("api", b'{"event": "http.request", "level": "info", "route": "/health/ready"}\n')
    log.line("redis", b"1:M 1 Jan 2027 12:00:00.000 # WARNING Memory overcommit must be enabled\n")
    log.line("worker", b"  \n")
    log.line("worker", b"hello\n")

    assert out.getvalue().endswith("hello\n")
    assert out.getvalue().count("\n") == 1


def test_a_reader_that_has_gone_does_no_harm() -> None:
    out = io.StringIO()
    out.close()

    LogView(out, colour=False).say("nobody hears this")
