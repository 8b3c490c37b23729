"""Redis fails over to its replica in the middle of a batch: Sentinels name the new primary."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.adapters.store_factory import store_of
from tests.chaos.test_batches import done, ended, expected, lines, start, table, text_of
from tests.chaos.test_outages import supervise
from tests.keys import secret_of
from tests.servers import HOST, free_port, valkey_command
from tests.stack import Stack

pytestmark = pytest.mark.chaos
ROWS = 5_000
PASSWORD = "of/the:servers@"  # what a URL must escape


def url_of(sentinels: list[int]) -> str:
    hosts = ",".join(f"{HOST}:{port}" for port in sentinels)
    return f"redis+sentinel://:of%2Fthe%3Aservers%40@{hosts}/pigeonhole/0"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A service on a primary, a replica and three Sentinels of which two must agree."""
    sentinels = [free_port() for _ in range(3)]
    stack = Stack(tmp_path, redis_url=url_of(sentinels), lease_s=2, audit_s=2)
    auth = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
    servers = {"primary": stack.redis_port, "replica": free_port()}
    try:
        for name, port in servers.items():
            (tmp_path / name).mkdir()
            command = [*valkey_command(port, tmp_path / name), *auth]
            if name == "replica":
                command += ["--replicaof", f"{HOST} {servers['primary']}"]
            stack.start(name, *command)
        for port in servers.values():
            stack.until("a server answers", lambda port=port: info(port), timeout_s=60)
        program = valkey_command(0, tmp_path)[0]
        for port in sentinels:
            config = tmp_path / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind {HOST}\n"
                f"sentinel monitor pigeonhole {HOST} {servers['primary']} 2\n"
                f"sentinel auth-pass pigeonhole {PASSWORD}\n"
                "sentinel down-after-milliseconds pigeonhole 1000\n"
                "sentinel failover-timeout pigeonhole 5000\n"
            )
            stack.start(f"sentinel-{port}", program, str(config), "--sentinel")
        stack.until("the Sentinels know each other", lambda: all(map(agrees, sentinels)))
        stack.key = secret_of(store_of(stack.settings))
        stack.start_api()
        stack.start_keeper()
        stack.start("worker", sys.executable, "-m", "tests.slow_worker")
        stack.until_ready()
        yield stack
    finally:
        stack.stop()


def info(port: int) -> dict[str, object]:
    """What a server says of its replication; nothing while it does not answer."""
    try:
        with redis.Redis(host=HOST, port=port, password=PASSWORD) as client:
            return dict(client.info("replication"))
    except redis.RedisError:
        return {}


def agrees(port: int) -> bool:
    """Whether a Sentinel knows the replica and the two others."""
    try:
        with redis.Redis(host=HOST, port=port) as client:
            known = client.sentinel_master("pigeonhole")
    except redis.RedisError:
        return False
    return (known["num-other-sentinels"], known["num-slaves"]) == (2, 1)


@pytest.mark.timeout(300)
def test_a_batch_loses_and_doubles_nothing_when_the_primary_is_killed(stack: Stack):
    right = expected(stack)
    batch_id = start(stack, table(ROWS))
    stack.until("it is under way", lambda: done(stack, batch_id) > 500)

    stop = threading.Event()
    supervisors = [supervise(stack, name, stop) for name in ("worker", "keeper")]
    try:
        stack.kill("primary")
        at_failover = done(stack, batch_id)
        final = ended(stack, batch_id, timeout_s=120)
    finally:
        stop.set()
        for supervisor in supervisors:
            supervisor.join()

    assert at_failover < ROWS
    assert final["status"] == "completed", final
    found = lines(stack, final["output_file_id"])
    assert [line["id"] for line in found] == [f"r{n}" for n in range(ROWS)]
    assert {line["prediction"] == right[text_of(n)] for n, line in enumerate(found)} == {True}
    stack.until("calls are answered", lambda: stack.classify("red").status == 200, timeout_s=60)
