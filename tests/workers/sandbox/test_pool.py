from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import psutil
import pytest

from shared.errors import (
    InvalidRequest,
    PigeonholeError,
    TooBusy,
    Unavailable,
    UnreadableInput,
)
from tests.waiting import wait_until
from tests.workers import hostile
from tests.workers.hostile import Sheet
from workers.sandbox.pool import Sandbox

T = TypeVar("T")
MEMORY_BYTES = 200_000_000
LIMIT_S = 30.0  # of what must not take long
DIED = "is broken: reading it crashed the sandbox process"
MEMORY = (
    "needs more than 200 MB of memory to decode, the limit for one file (PIGEONHOLE_DECODER_BYTES)"
)


def a_sandbox(**changes: int) -> Sandbox:
    return Sandbox([hostile.__name__], **{"workers": 1, "memory_bytes": MEMORY_BYTES, **changes})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with a_sandbox() as made:
        yield made


def run(sandbox: Sandbox, function: Callable[..., T], *args: object) -> T:
    return sandbox.submit(function, *args, limit_s=LIMIT_S, room_s=LIMIT_S).result(2 * LIMIT_S)


def gone(pid: int) -> bool:
    """Nobody may reap an orphan in a container: a zombie is gone, too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_values_bytes_and_pixels_travel_there_and_back(sandbox: Sandbox):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    sheet = Sheet(name="a", size=(2, 3), pixels=pixels)

    back = run(sandbox, hostile.turned, sheet, "ünïcode")

    assert (back.name, back.size) == ("ünïcode", (3, 2))
    assert np.array_equal(back.pixels, pixels.transpose(1, 0, 2))
    assert back.pixels.flags.writeable
    assert run(sandbox, hostile.length, bytes(10_000_000)) == 10_000_000


def test_nothing_of_a_task_stays_with_a_thread_that_waits(sandbox: Sandbox):
    done = sandbox.submit(hostile.length, bytes(100), limit_s=LIMIT_S)
    refused = sandbox.submit(hostile.refuse, "input", limit_s=LIMIT_S)
    assert done.result(LIMIT_S) == 100
    assert isinstance(refused.exception(LIMIT_S), UnreadableInput)
    left = [weakref.ref(done), weakref.ref(refused)]

    del done, refused
    wait_until(lambda: not any(future() for future in left))


def test_a_child_has_nothing_of_the_workers(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIGEONHOLE_SECRET", "x")
    with a_sandbox() as made:
        found = run(made, hostile.inherited)

    assert found["threads"] == ["MainThread"]
    assert len(found["sockets"]) == 1
    assert not [name for name in found["environment"] if "PIGEONHOLE" in name]
    assert not {"torch", "celery", "redis", "boto3", "httpx"} & set(found["modules"])
    assert found["core"] == ["0", "0"]


@pytest.mark.parametrize(
    ("kind", "error", "detail"),
    [
        ("input", UnreadableInput, "has 2,500 megapixels; the limit is 100"),
        ("request", InvalidRequest, "is no table"),
        ("labels", UnreadableInput, "is broken: it cannot be read"),  # no refusal of an input
    ],
)
def test_a_refusal_comes_back_as_itself(
    sandbox: Sandbox, kind: str, error: type[PigeonholeError], detail: str
):
    with pytest.raises(error) as raised:
        run(sandbox, hostile.refuse, kind)

    assert type(raised.value) is error
    assert raised.value.detail == detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "args", "detail"),
    [
        (hostile.hog, (4 * MEMORY_BYTES,), MEMORY),
        (hostile.fill_and_crash, (MEMORY_BYTES * 3 // 4,), MEMORY),
        (hostile.crash, (), DIED),
        (hostile.give_up, (), MEMORY),
        (hostile.leave, (0,), DIED),
        (hostile.recurse, (0,), "is broken: it cannot be read"),
        (hostile.wrong, (), DIED),
        (hostile.lie, (b"rubbish", 7), DIED),
        (hostile.lie, (b"", 1 << 60), DIED),
    ],
    ids=[
        "memory",
        "filled",
        "segfault",
        "abort",
        "exit",
        "recursion",
        "wrong type",
        "rubbish",
        "endless",
    ],
)
def test_a_task_that_takes_its_child_down_fails_alone(
    sandbox: Sandbox, function: Callable[..., int], args: tuple[object, ...], detail: str
):
    neighbour = sandbox.submit(hostile.pid, limit_s=LIMIT_S)

    with pytest.raises(UnreadableInput) as raised:
        run(sandbox, function, *args)

    assert raised.value.detail == detail
    assert neighbour.result(LIMIT_S) > 0
    assert run(sandbox, hostile.length, b"1234") == 4
    assert sandbox.healthy()


def test_what_a_task_may_have_is_above_what_the_imports_took(sandbox: Sandbox):
    assert run(sandbox, hostile.hog, MEMORY_BYTES * 9 // 10) == MEMORY_BYTES * 9 // 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "args"),
    [(hostile.nap, (60.0,)), (hostile.spin, ()), (hostile.lie, (b"", 1_000))],
    ids=["sleeps", "loops", "stalls"],
)
def test_a_task_that_takes_too_long_is_killed(
    sandbox: Sandbox, function: Callable[..., int], args: tuple[object, ...]
):
    before = run(sandbox, hostile.pid)

    slow = sandbox.submit(function, *args, limit_s=0.5)

    with pytest.raises(
        UnreadableInput,
        match=r"longer than 0\.5 s to decode, the limit for one file \(PIGEONHOLE_DECODE_LIMIT_S\)",
    ):
        slow.result(LIMIT_S)
    assert run(sandbox, hostile.pid) != before
    assert gone(before)


def test_a_child_killed_from_outside_costs_its_task_and_no_other(sandbox: Sandbox):
    child = run(sandbox, hostile.pid)
    doomed = sandbox.submit(hostile.nap, 60.0, limit_s=LIMIT_S)
    next_one = sandbox.submit(hostile.pid, limit_s=LIMIT_S)
    wait_until(doomed.running)

    os.kill(child, signal.SIGKILL)

    with pytest.raises(UnreadableInput, match="the sandbox process was killed; send it again"):
        doomed.result(LIMIT_S)
    assert next_one.result(LIMIT_S) != child


def test_a_child_killed_while_idle_costs_nothing(sandbox: Sandbox):
    child = run(sandbox, hostile.pid)

    os.kill(child, signal.SIGKILL)
    wait_until(lambda: gone(child))

    assert run(sandbox, hostile.pid) != child


def test_a_child_may_neither_write_files_nor_open_many(sandbox: Sandbox, tmp_path: Path):
    with pytest.raises(UnreadableInput):
        run(sandbox, hostile.write, str(tmp_path / "file"))

    assert run(sandbox, hostile.opened) < 16


def test_a_child_is_replaced_after_so_many_tasks():
    with a_sandbox(tasks_each=2) as made:
        children = [run(made, hostile.pid) for _ in range(5)]

        assert children[0] == children[1] != children[2] == children[3] != children[4]
        wait_until(lambda: gone(children[0]))


def test_only_functions_of_the_modules_are_run(sandbox: Sandbox):
    with pytest.raises(ValueError, match="not a function that the sandbox runs"):
        sandbox.submit(os.getpid, limit_s=1)
    with pytest.raises(ValueError, match="not a function that the sandbox runs"):
        sandbox.submit(hostile.Sheet.__hash__, limit_s=1)


def test_a_full_queue_refuses_or_waits_and_a_cancelled_task_leaves_it():
    with a_sandbox(waiting=2) as made:
        busy = made.submit(hostile.nap, 60.0, limit_s=LIMIT_S)
        wait_until(busy.running)
        first, second = (made.submit(hostile.pid, limit_s=LIMIT_S) for _ in range(2))

        with pytest.raises(TooBusy):
            made.submit(hostile.pid, limit_s=LIMIT_S)
        with pytest.raises(TooBusy):
            made.submit(hostile.pid, limit_s=LIMIT_S, room_s=0.05)
        late: list[Future[int]] = []
        waiter = threading.Thread(
            target=lambda: late.append(made.submit(hostile.pid, limit_s=LIMIT_S, room_s=LIMIT_S))
        )
        waiter.start()
        assert first.cancel()
        waiter.join(LIMIT_S)

        assert len(late) == 1
        assert not busy.cancel()
        with pytest.raises(CancelledError):
            first.result(0)
        assert not second.done()


def test_every_future_ends_when_the_sandbox_closes():
    made = a_sandbox()
    child = run(made, hostile.pid)
    running = made.submit(hostile.nap, 60.0, limit_s=LIMIT_S)
    waiting = made.submit(hostile.pid, limit_s=LIMIT_S)
    wait_until(running.running)

    made.close()

    for future in (running, waiting):
        with pytest.raises(Unavailable):
            future.result(LIMIT_S)
    with pytest.raises(Unavailable):
        made.submit(hostile.pid, limit_s=1)
    assert not made.healthy()
    assert gone(child)


def test_a_child_that_cannot_start_fails_the_task_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
):
    with a_sandbox() as made:
        before = run(made, hostile.pid)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/nowhere/python")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: gone(before))
            with pytest.raises(Unavailable, match="could not be started"):
                run(made, hostile.pid)

        assert run(made, hostile.pid) != before
        assert made.healthy()


ORPHANING = """
import sys, time
from tests.waiting import wait_until
from tests.workers import hostile
from workers.sandbox.pool import Sandbox
sandbox = Sandbox([hostile.__name__], workers=2, memory_bytes=10**8)
pids = [sandbox.submit(hostile.nap, 0.3, limit_s=60).result() for _ in range(2)]
busy = sandbox.submit(hostile.spin, limit_s=60)
while len(sandbox._children) < 2:
    time.sleep(0.01)
print(*(child._process.pid for child in sandbox._children), flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_no_child_outlives_a_worker_that_is_killed():
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANING], stdout=subprocess.PIPE, text=True, cwd=root
    ) as worker:
        assert worker.stdout is not None
        children = [int(pid) for pid in worker.stdout.readline().split()]
        assert len(children) == 2
        assert not any(gone(pid) for pid in children)

        worker.kill()

    wait_until(lambda: all(gone(pid) for pid in children))


@pytest.mark.slow
def test_two_children_work_at_the_same_time():
    with a_sandbox(workers=2) as made:
        both = [made.submit(hostile.nap, 1.0, limit_s=LIMIT_S) for _ in range(2)]
        wait_until(lambda: all(future.running() for future in both), timeout_s=LIMIT_S)

        assert len({future.result(LIMIT_S) for future in both}) == 2


def test_what_does_not_travel_is_refused_where_it_is_submitted(sandbox: Sandbox):
    with pytest.raises((NotImplementedError, TypeError, msgspec.ValidationError)):
        sandbox.submit(hostile.length, object(), limit_s=1)


def test_many_threads_share_the_children():
    with a_sandbox(workers=2, waiting=4) as made:
        answers: list[int] = []

        def ask(number: int) -> None:
            until = time.monotonic() + LIMIT_S
            for size in range(20):
                data = bytes(number * 100 + size)
                future = made.submit(
                    hostile.length, data, limit_s=LIMIT_S, room_s=until - time.monotonic()
                )
                answers.append(future.result(LIMIT_S) - len(data))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * LIMIT_S)

    assert answers == [0] * 160
