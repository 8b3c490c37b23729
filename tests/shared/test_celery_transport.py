"""What the transport hands on to Celery: doorbells of the queue, made anew, and nothing else."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from typing import Any

import pytest

from shared.adapters.celery.transport import doorbell

QUEUE = "cpu.standard.tiny"


def encoded(body: object) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return base64.b64encode(data).decode()


def a_bell() -> dict[str, Any]:
    """As Celery sends one."""
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return {
        "body": encoded([[QUEUE], {}, embed]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "pigeonhole.drain",
            "id": "2f6f",
            "expires": "2026-01-01T00:00:00+00:00",
            "retries": 0,
            "timelimit": [None, None],
        },
        "properties": {
            "correlation_id": "2f6f",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "9a1c",
        },
    }


_GONE = object()
_PICKLED = pickle.dumps([["x"], {}, {}])
# Where in a bell something else stands, and what: with each Celery or kombu got into trouble.
GARBAGE: list[tuple[str, object]] = [
    ("body", _GONE), ("body", None), ("body", 7), ("body", ""), ("body", "!!!"), ("body", "abc"),
    ("body", encoded({})), ("body", encoded(5)), ("body", encoded(b"{]")),
    ("body", encoded(b"\xff\xfe")), ("body", encoded([None, None, None])),
    ("body", encoded([[], {}, {}])), ("body", encoded([[QUEUE], {}])),
    ("body", encoded([[1], {}, {}])), ("body", encoded([[[QUEUE]], {}, {}])),
    ("body", encoded([[QUEUE], {"x": 1}, {}])), ("body", encoded([["control"], {}, {}])),
    ("body", encoded([[QUEUE, QUEUE], {}, {}])), ("body", encoded(b"[" * 2000)),
    ("body", encoded([[QUEUE], {}, {"chain": "x" * 5000}])), ("body", encoded(_PICKLED)),
    ("content-type", _GONE), ("content-type", 7), ("content-type", "application/evil"),
    ("content-type", "application/x-python-serialize"), ("content-encoding", _GONE),
    ("content-encoding", "binary"), ("content-encoding", "no-such"),
    ("headers", _GONE), ("headers", None), ("headers", []), ("headers", "x"),
    ("headers.task", _GONE), ("headers.task", None), ("headers.task", "os.system"),
    ("headers.task", ["x"]), ("headers.task", {}), ("headers.task", "\ud800"),
    ("headers.id", _GONE), ("headers.id", None), ("headers.id", [1]), ("headers.id", "x" * 1000),
    ("headers.compression", "zlib"), ("properties", _GONE), ("properties", None),
    ("properties", 7), ("properties.delivery_tag", _GONE), ("properties.delivery_tag", [1]),
    ("properties.body_encoding", _GONE), ("properties.body_encoding", "rot13"),
]  # fmt: skip
# Which only Celery looks at: what it would do with them does not matter any more.
IGNORED: list[tuple[str, object]] = [
    ("headers.eta", "yesterday"), ("headers.eta", 5), ("headers.eta", "9999-12-31T23:59:59"),
    ("headers.expires", "never"), ("headers.expires", [1]), ("headers.timelimit", 3),
    ("headers.timelimit", ["x", {}]), ("headers.retries", "x"), ("headers.group", [3]),
    ("headers.stamped_headers", 7), ("headers.root_id", {}), ("headers.ignore_result", "x"),
    ("properties.reply_to", [1]), ("properties.priority", "x"),
    ("properties.delivery_info", None), ("properties.correlation_id", {}),
]  # fmt: skip


def changed(place: str, value: object) -> dict[str, Any]:
    """A bell with something else in one place."""
    message = copy.deepcopy(a_bell())
    *outer, last = place.split(".")
    inside = message[outer[0]] if outer else message
    if value is _GONE:
        inside.pop(last)
    else:
        inside[last] = value
    return message


def test_a_bell_is_made_anew():
    bell = doorbell(a_bell(), QUEUE)

    assert bell is not None
    assert json.loads(base64.b64decode(bell["body"])) == [[QUEUE], {}, {}]
    assert bell["headers"] == {"lang": "py", "task": "pigeonhole.drain", "id": "2f6f"}
    assert bell["properties"]["delivery_tag"] == "9a1c"


@pytest.mark.parametrize(("place", "value"), GARBAGE)
def test_what_is_no_bell_is_not_handed_on(place: str, value: object):
    assert doorbell(changed(place, value), QUEUE) is None


@pytest.mark.parametrize("message", [None, 7, "x", [], {}, [a_bell()]])
def test_what_is_no_message_is_not_handed_on(message: object):
    assert doorbell(message, QUEUE) is None


@pytest.mark.parametrize(("place", "value"), IGNORED)
def test_what_else_a_bell_says_is_left_out(place: str, value: object):
    assert doorbell(changed(place, value), QUEUE) == doorbell(a_bell(), QUEUE)


def test_a_bell_in_the_queue_of_another_is_not_handed_on():
    assert doorbell(a_bell(), "control") is None
