"""A full disk: calls that need no room go on, what does says so, nothing ends, nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from ops import embedded_redis
from tests.chaos.test_workers import submit_many
from tests.servers import HOST, free_port, valkey_command
from tests.small_disk import SmallDisk, small_disk
from tests.stack import Answer, Stack, running_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
FULL_S = 25.0  # longer than Redis's snapshots, a report's life, and the watchdog's patience


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", mib=32) as disk:
        yield disk


@contextmanager
def kept_full(disk: SmallDisk) -> Iterator[None]:
    """Fill the disk, and what others free of it, until the block ends."""
    stop = threading.Event()

    def fill() -> None:
        while not stop.wait(0.2):
            disk.fill()

    disk.fill()
    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    try:
        yield
    finally:
        stop.set()
        filler.join()
        disk.make_room()


def check_full(answer: Answer, whose: str) -> None:
    problem = answer.json()
    assert (answer.status, problem["code"]) == (507, "STORAGE_FULL"), problem
    assert whose in problem["detail"]
    assert int(answer.headers["retry-after"]) >= 1


def check_alive(stack: Stack, pids: dict[str, int]) -> None:
    """Every process is the one that it was."""
    for name, pid in pids.items():
        assert stack.processes[name].pid == pid
        assert stack.processes[name].poll() is None, stack.tail()


def pids_of(stack: Stack) -> dict[str, int]:
    return {name: process.pid for name, process in stack.processes.items()}


def all_succeed(stack: Stack, jobs: list[str]) -> None:
    stack.until(
        "all have succeeded",
        lambda: {stack.job(job_id)["status"] for job_id in jobs} == {"succeeded"},
        timeout_s=120,
    )


def test_with_everything_on_one_full_disk_calls_go_on(
    tmp_path: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
):
    """As the launcher sets it up, Redis and the object store beside each other; and with the
    directory of temporary files.
    """
    monkeypatch.setenv("TMPDIR", str(disk.root))
    server = embedded_redis.prepare(disk.root / "redis")
    store = f"file://{disk.root / 'objects'}"
    with running_stack(
        tmp_path / "stack",
        redis=server.command,
        redis_url=server.url,
        object_store=store,
        api_processes=2,
        ready_s=180,
    ) as stack:
        examples = [{"text": "a red rose", "label": "red"}, {"text": "grass", "label": "green"}]
        lesson = {"model": "tiny", "name": "flowers", "input": examples}
        assert stack.call("POST", "/v1/train", lesson).status == 200
        pids = pids_of(stack)
        stack.kill("worker")  # jobs that were accepted before wait
        waiting = submit_many(stack, 5, "a red rose")
        with kept_full(disk):
            stack.kill("api", signal.SIGTERM)
            for name in ("worker", "api"):  # they start on a full disk
                pids[name] = stack.start(name).pid
            stack.until("it serves", lambda: stack.classify().status == 200, timeout_s=120)
            ends_at = time.monotonic() + FULL_S
            while time.monotonic() < ends_at:
                assert stack.classify().status == 200
                body = {"classifier_id": "flowers", "input": "a red rose"}
                assert stack.call("POST", "/v1/classify", body).status == 200
                check_full(stack.call("POST", "/v1/train", lesson), "object store's disk")
                check_full(
                    stack.classify(headers={"Prefer": "respond-async"}), "object store's disk"
                )
                time.sleep(0.5)
            with redis.Redis.from_url(server.url) as client:
                assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
            assert {stack.job(job_id)["status"] for job_id in waiting} <= {"queued", "running"}
            check_alive(stack, pids)
        all_succeed(stack, [*waiting, *submit_many(stack, 3, "a red rose")])
        check_alive(stack, pids)


def test_a_redis_that_cannot_append_is_waited_for(tmp_path: Path, disk: SmallDisk):
    """An operator's own Redis, with an append-only file on its own disk."""
    folder, port = disk.root / "redis", free_port()
    folder.mkdir()
    command, url = valkey_command(port, folder), f"redis://{HOST}:{port}/0"
    with running_stack(tmp_path / "stack", redis=command, redis_url=url, ready_s=180) as stack:
        pids = pids_of(stack)
        with kept_full(disk):
            stack.until("it is noticed", lambda: stack.classify().status == 507)
            ends_at = time.monotonic() + FULL_S
            while time.monotonic() < ends_at:
                check_full(stack.classify(), "Redis rejects writes: its disk is full")
                time.sleep(1)
            accepted = submit_many(stack, 5, "a red rose")  # the object store has room
            check_alive(stack, pids)
        stack.until("it serves", lambda: stack.classify().status == 200, timeout_s=120)
        all_succeed(stack, accepted)
        check_alive(stack, pids)
        assert len(stack.events("worker", "consumer.waits")) < 20


def test_a_redis_without_memory_is_waited_for(tmp_path: Path):
    with (
        running_stack(tmp_path, ready_s=180) as stack,
        redis.Redis(HOST, stack.redis_port) as client,
    ):
        pids = pids_of(stack)
        client.config_set("maxmemory", "1")
        try:
            ends_at = time.monotonic() + FULL_S
            while time.monotonic() < ends_at:
                check_full(stack.classify(), "Redis rejects writes: its memory is full")
                time.sleep(1)
            accepted = submit_many(stack, 5, "a red rose")
        finally:
            client.config_set("maxmemory", "0")
        stack.until("it serves", lambda: stack.classify().status == 200, timeout_s=120)
        all_succeed(stack, accepted)
        check_alive(stack, pids)
