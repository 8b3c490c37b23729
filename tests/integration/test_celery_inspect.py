"""What `celery inspect` tells an operator of a running worker, as the runbook says it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from shared.messages import DRAIN, queues_of
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def inspect(stack: Stack, what: str) -> dict[str, Any]:
    """The answer of the one worker."""
    broker = stack.variables["PIGEONHOLE_REDIS_URL"]
    command = [sys.executable, "-m", "celery", "-b", broker, "inspect", "-t", "20", "-j", what]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, text=True)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout).values()
    return answer


def test_a_worker_tells_its_queues_its_task_and_its_numbers(stack: Stack):
    assert stack.classify().status == 200

    queues = {each["name"] for each in inspect(stack, "active_queues")}
    stats = inspect(stack, "stats")

    assert queues == set(queues_of("cpu", ["tiny"]))
    assert inspect(stack, "registered") == [DRAIN]
    assert stats["total"][DRAIN] >= 1
    assert stats["pid"] == stack.processes["worker"].pid
