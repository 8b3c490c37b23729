"""What `celery inspect` tells an operator of a running worker, as the runbook says it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from shared.messages import DRAIN, queues_of
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def inspect(stack: Stack, what: str, *options: str) -> dict[str, Any]:
    """The answer of the one worker."""
    broker = stack.variables["PIGEONHOLE_REDIS_URL"]
    command = [
        sys.executable,
        "-m",
        "celery",
        "-b",
        broker,
        "inspect",
        "-t",
        "20",
        "-j",
        what,
        *options,
    ]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, text=True)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout).values()
    return answer


def test_a_worker_tells_its_queues_its_task_and_its_numbers(stack: Stack):
    assert stack.classify().status == 200

    queues = {each["name"] for each in inspect(stack, "active_queues")}
    # Who asks all workers waits for others until the timeout; one that is named answers at once.
    (ready,) = stack.events("worker", "worker.ready")
    named = ("-d", f"{ready['member']}@{socket.gethostname()}")
    stats = inspect(stack, "stats", *named)

    assert queues == set(queues_of("cpu", ["tiny"]))
    assert inspect(stack, "registered", *named) == [DRAIN]
    assert stats["total"][DRAIN] >= 1
    assert stats["pid"] == stack.processes["worker"].pid
