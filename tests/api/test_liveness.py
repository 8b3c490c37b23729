"""Processes that stop answering are replaced: real processes, stopped by a real signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from api.server.liveness import PROCESS_HEADER, LivenessWatch, answering_process
from tests.servers import HOST, free_port, running, valkey_server
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "api.main"]


@pytest.mark.integration
@pytest.mark.timeout(600)  # a minute without an answer is a process's end
@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_of_the_api_that_stops_answering_is_replaced(tmp_path: Path, processes: int):
    port = free_port()
    (tmp_path / "redis").mkdir()
    with valkey_server(tmp_path / "redis") as redis:
        env = {
            "PIGEONHOLE_REDIS_URL": f"redis://{HOST}:{redis.port}/0",
            "PIGEONHOLE_OBJECT_STORE": f"file://{tmp_path / 'objects'}",
            "PIGEONHOLE_PORT": str(port),
            "PIGEONHOLE_API_PROCESSES": str(processes),
        }
        with running(COMMAND, port=port, env=env):
            stopped, *_ = answering(port, processes)
            time.sleep(3)  # the watch has had its answer as well: without one it waits a minute
            os.kill(stopped, signal.SIGSTOP)

            wait_until(lambda: not psutil.pid_exists(stopped), timeout_s=240)

            assert stopped not in answering(port, processes)


def answering(port: int, count: int) -> set[int]:
    """The processes that answer on the port, when there are so many.

    That a healthy one stays is for the next test: here chance may keep ten connections from it.
    """
    found: set[int] = set()
    while len(found) < count:
        found |= {answering_process(HOST, port) or 0} - {0}
    return found


def test_a_process_that_answers_nothing_is_killed_and_others_stay():
    with children(2) as (healthy, stuck), server(answers_as=healthy.pid, each=2) as port:
        watch = watching(port, healthy.pid, stuck.pid)
        watch._answered.add(stuck.pid)

        for _ in range(20):
            watch.look()

        assert stuck.wait(60) == -signal.SIGKILL
        assert healthy.poll() is None


def test_a_process_that_has_not_answered_yet_is_given_time_to_start():
    with children(1) as (starting,):
        watch = watching(free_port(), starting.pid)

        for _ in range(10):
            watch.look()

        assert starting.poll() is None


def test_nothing_is_killed_while_the_service_stops():
    with children(1) as (draining,):
        watch = watching(free_port(), draining.pid)
        watch._answered.add(draining.pid)
        watch.stopping = lambda: True

        for _ in range(10):
            watch.look()

        assert draining.poll() is None


def watching(port: int, *pids: int) -> LivenessWatch:
    return LivenessWatch(
        host=HOST, port=port, processes=lambda: pids, stopping=lambda: False, deadline_s=5
    )


@contextmanager
def children(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


@contextmanager
def server(*, answers_as: int, each: int) -> Iterator[int]:
    """Answers one call in so many as that process, the others not at all."""
    calls = iter(range(1, 10_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if next(calls) % each == 0:
                self.send_response(200)
                self.send_header(PROCESS_HEADER, str(answers_as))
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield listening.server_port
        finally:
            listening.shutdown()
