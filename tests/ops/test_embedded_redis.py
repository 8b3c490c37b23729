from __future__ import annotations

import shutil
import signal
import stat
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from ops.embedded_redis import EmbeddedRedis, await_answer, prepare
from tests.servers import HOST, running

pytestmark = pytest.mark.integration


def port_of(server: EmbeddedRedis) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def password_of(server: EmbeddedRedis) -> str:
    password = urlsplit(server.url).password
    assert password is not None
    return password


def test_it_lets_in_only_who_knows_the_password(tmp_path: Path) -> None:
    server = prepare(tmp_path / "redis")

    with running(server.command, port=port_of(server)), redis.Redis(HOST, port_of(server)) as thief:
        assert await_answer(server.url, threading.Event(), deadline_s=30)
        with pytest.raises(redis.AuthenticationError):
            thief.ping()


def test_its_password_is_new_each_time_and_seen_by_the_owner_only(tmp_path: Path) -> None:
    server = prepare(tmp_path / "red is")
    config = tmp_path / "red is" / "redis.conf"

    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    with running(server.command, port=port_of(server)) as process:
        command_line = psutil.Process(process.process.pid).cmdline()
    assert password_of(server) not in " ".join(command_line)
    assert password_of(prepare(tmp_path / "red is")) != password_of(server)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_it_forgets_and_evicts_nothing(tmp_path: Path, signum: signal.Signals) -> None:
    server = prepare(tmp_path)

    with running(server.command, port=port_of(server)) as process:
        with redis.Redis.from_url(server.url) as client:
            client.set("job", "1")
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("bind")["bind"] == HOST
            if signum == signal.SIGKILL:
                await_snapshot(client)
        process.process.send_signal(signum)
        process.process.wait(30)
    again = prepare(tmp_path)
    with running(again.command, port=port_of(again)), redis.Redis.from_url(again.url) as client:
        assert client.get("job") == b"1"


def await_snapshot(client: redis.Redis) -> None:
    """Wait until all that was written is saved, as it is every 10 seconds."""
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        found = client.info("persistence")
        if not (found["rdb_changes_since_last_save"] or found["rdb_bgsave_in_progress"]):
            return
        time.sleep(0.1)
    raise AssertionError("no snapshot within 60 s")


def test_it_takes_writes_and_can_be_stopped_where_nothing_can_be_saved(tmp_path: Path) -> None:
    server = prepare(tmp_path / "redis")
    with running(server.command, port=port_of(server)) as process:
        with redis.Redis.from_url(server.url) as client:
            shutil.rmtree(tmp_path / "redis")  # the server is in it: no file can be made there
            client.bgsave()
            ends_at = time.monotonic() + 60
            while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
                assert time.monotonic() < ends_at
                time.sleep(0.1)

            assert client.set("job", "1")
        process.process.send_signal(signal.SIGTERM)
        process.process.wait(30)


def test_what_an_earlier_version_appended_goes(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(b"x")

    prepare(tmp_path)

    assert not (tmp_path / "appendonlydir").exists()


def test_it_keeps_its_port_unless_somebody_has_taken_it(tmp_path: Path) -> None:
    server = prepare(tmp_path)

    assert port_of(prepare(tmp_path)) == port_of(server)
    with running(server.command, port=port_of(server)):
        assert port_of(prepare(tmp_path)) != port_of(server)


def test_waiting_for_it_ends_at_the_deadline_or_when_the_service_stops(tmp_path: Path) -> None:
    server, stopping = prepare(tmp_path), threading.Event()

    assert not await_answer(server.url, stopping, deadline_s=0.1)
    stopping.set()
    assert not await_answer(server.url, stopping, deadline_s=600)
