"""Anything in the queues of Celery: a worker drops it, counts it and works on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from tests.servers import HOST, free_port
from tests.shared.test_celery_transport import GARBAGE, IGNORED, QUEUE, changed, encoded
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration
RAW = [
    b"garbage", b"", bytes(range(256)), b"null", b"7", b"[]", b'"x"', b"{}", b"NaN", b"[" * 100_000,
    b'{"a":' + b"9" * 10_000 + b"}", b'{"__type__": "datetime", "__value__": "x"}',
    json.dumps({"body": "x" * 30_000_000}).encode(),
]  # fmt: skip


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Stack]:
    """A service whose worker serves its metrics; the keeper is not asked to."""
    folder: Path = tmp_path_factory.mktemp("garbage")
    with running_stack(folder, ready_s=180) as stack:
        stack.kill("worker")
        stack.start("worker", *stack.commands["worker"], metrics_port=port)
        stack.until("it is there", lambda: len(stack.events("worker", "worker.ready")) == 2)
        yield stack


def dropped(port: int) -> int:
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as answer:
        found = re.search(r"^pigeonhole_messages_dropped_total (\S+)", answer.read().decode(), re.M)
    assert found is not None
    return int(float(found[1]))


def check_it_works(stack: Stack) -> None:
    assert stack.processes["worker"].poll() is None, stack.tail()
    assert stack.classify().status == 200
    job = stack.submit()
    stack.until("a job ends", lambda: stack.job(job)["status"] == "succeeded")


@pytest.mark.timeout(400)
def test_in_a_queue(served: Stack, port: int):
    client = redis.Redis(host=HOST, port=served.redis_port)
    before = dropped(port)
    messages = [json.dumps(changed(place, value)).encode() for place, value in GARBAGE]
    odd = [json.dumps(changed(place, value)).encode() for place, value in IGNORED]
    for message in (*RAW, *messages, *odd):
        for queue in ("control", QUEUE):
            client.lpush(queue, message)

    served.until(
        "the queues are read", lambda: not client.llen("control") and not client.llen(QUEUE)
    )
    check_it_works(served)
    # Odd ones ring for one queue: in the other they are garbage too.
    expected = 2 * (len(RAW) + len(messages)) + len(odd) - 1  # one of GARBAGE rings for `control`
    served.until("all are counted", lambda: dropped(port) - before == expected, timeout_s=60)
    assert client.hlen("unacked") == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["string", "hash", "zset"])
def test_in_the_place_of_a_queue(served: Stack, kind: str):
    client = redis.Redis(host=HOST, port=served.redis_port)
    served.until("nothing waits", lambda: not client.exists("control", QUEUE))
    for queue in ("control", QUEUE):
        if kind == "string":
            client.set(queue, "x")
        elif kind == "hash":
            client.hset(queue, "x", "y")
        else:
            client.zadd(queue, {"x": 1})

    served.until(
        "they are gone",
        lambda: {client.type(queue) for queue in ("control", QUEUE)} <= {b"none", b"list"},
    )
    check_it_works(served)


@pytest.mark.timeout(400)
def test_in_the_channel_of_remote_control(served: Stack):
    client = redis.Redis(host=HOST, port=served.redis_port)
    commands = [{"method": method, "arguments": 7} for method in ("ping", "no_such", None, [])]
    messages = [
        *RAW[:-1],
        *(json.dumps(changed(place, value)).encode() for place, value in (*GARBAGE, *IGNORED)),
        *(json.dumps(changed("body", encoded(each))).encode() for each in commands),
    ]
    for message in messages:
        assert client.publish("/0.celery.pidbox", message) == 1  # the worker listens

    check_it_works(served)
