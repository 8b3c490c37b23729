"""Runs parsers of hostile bytes in child processes with bounds.

Decides who waits, which child runs what, that a child which takes too long is killed and which
error a death means; every future ends. The bounds inside a child and the bytes between are those of
`workers.sandbox.child`. What a function makes of its bytes is its own affair.

A thread and a child belong together: the thread starts the child, gives it one task at a time,
waits for the answer and buries it. The child begins as a new program, so it has nothing of the
worker's: no threads, no sockets, no model, no secrets in its environment.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeGuard, TypeVar

import msgspec

from shared.errors import InvalidRequest, TooBusy, Unavailable, UnreadableInput, tree
from shared.telemetry import Log
from workers.sandbox import child as sandboxed
from workers.sandbox.child import Crashed, Cut, Done, Refused, Task, TooLarge

log = Log("sandbox")
T = TypeVar("T")
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_START_S = 20.0
_BURY_S = 5.0
_DYING_S = 1.0  # from the end of its channel to that of a child that dies; then how is known
_DETAIL_CHARS = 300
_REFUSALS = {error.__name__: error for error in (*tree(InvalidRequest), *tree(UnreadableInput))}
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # each costs address space and gains nothing


class Sandbox:
    """A pool of children; any thread may submit.

    Start is construction, stop is `close`; `with` does both.
    """

    def __init__(
        self,
        modules: Sequence[str],
        *,
        workers: int,
        memory_bytes: int,
        waiting: int = 64,
        tasks_each: int = 5_000,
        at_once: bool = True,
    ) -> None:
        """Start the children; they are ready a moment later.

        Args:
            modules: whose functions may be asked for; each child imports them at its start.
            workers: children.
            memory_bytes: address space that a task may take, above what the imports take.
            waiting: tasks that may wait for a child.
            tasks_each: a child that has run so many is replaced, whatever it has leaked.
            at_once: start them now, not when there is a task for them.
        """
        self._modules = tuple(modules)
        self._memory_bytes = memory_bytes
        self._waiting = waiting
        self._tasks_each = tasks_each
        self._at_once = at_once
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # a task waits, or closing
        self._room = threading.Condition(lock)  # a task has left the queue, or closing
        self._queue: deque[_Waiting] = deque()
        self._children: set[_Child] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"sandbox-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, function: Callable[..., T], *args: object, limit_s: float, room_s: float = 0.0
    ) -> Future[T]:
        """Have a child call `function(*args)`.

        Args:
            function: a top-level function of one of the modules, without keyword arguments;
                annotated with what travels: plain values, bytes, dataclasses, arrays of uint8.
            args: as annotated.
            limit_s: seconds it may run; what it waited before is not counted.
            room_s: seconds to wait for room in the queue.

        Returns:
            A future of what the function returns. It raises the function's own InvalidRequest or
            UnreadableInput; the latter also where it took too long or too much memory, or crashed;
            Unavailable where no child can be started. Cancelling it while it waits takes it out of
            the queue.

        Raises:
            TooBusy: There is no room.
            Unavailable: The sandbox is closed.
        """
        name = self._name(function)
        _, returned = sandboxed.signature(function)
        arguments = msgspec.Raw(sandboxed.encode(args))
        task: _Waiting = _Waiting(
            message=sandboxed.encode(Task(name, limit_s, arguments)),
            name=name,
            returned=returned,
            limit_s=limit_s,
        )
        with self._room:
            self._room.wait_for(lambda: self._closed or len(self._queue) < self._waiting, room_s)
            if self._closed:
                raise Unavailable("The reader of inputs is not running.")
            if len(self._queue) >= self._waiting:
                raise TooBusy(
                    f"{self._waiting} inputs wait to be read already; try again later",
                    retry_after_s=1,
                )
            self._queue.append(task)
            self._work.notify()
        task.future.add_done_callback(self._take_out)
        return task.future

    def healthy(self) -> bool:
        """False from the moment a thread has died or `close` was called; dead children are none."""
        return not self._closed and all(thread.is_alive() for thread in self._threads)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Kill the children; every pending future ends with Unavailable."""
        self._stop()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _name(self, function: Callable[..., object]) -> str:
        """By which a child finds the function."""
        module, name = function.__module__, function.__name__
        known = module in self._modules and getattr(sys.modules[module], name, None) is function
        if not known:
            raise ValueError(f"{name} is no function that the sandbox runs")
        return f"{module}:{name}"

    def _stop(self) -> None:
        with self._work:
            self._closed = True
            pending = list(self._queue)
            self._queue.clear()
            self._work.notify_all()
            self._room.notify_all()
            for child in self._children:
                child.kill()
        for task in pending:
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(_closing())

    def _take_out(self, future: Future[Any]) -> None:
        if not future.cancelled():
            return
        with self._room:
            # By its future: one that kept its task would keep itself, with bytes and answer.
            for task in [task for task in self._queue if task.future is future]:
                self._queue.remove(task)
                self._room.notify()

    def _run(self) -> None:
        """Give tasks to one child after another, until closed."""
        child: _Child | None = None
        try:
            while True:
                if (self._at_once or child is not None) and not self._fresh(child):
                    with suppress(Unavailable):  # logged, and tried again when there is a task
                        child = self._another(child)
                task = self._next()
                if task is None:
                    return
                if not task.future.set_running_or_notify_cancel():
                    continue
                try:
                    if not self._fresh(child) or not child.alive():
                        child = self._another(child)
                    task.future.set_result(self._result(child, task))
                except Exception as exc:  # noqa: BLE001  handed to the one who waits
                    task.future.set_exception(exc)
        except BaseException as exc:
            log.error("sandbox.died", exc=exc)
            self._stop()  # whoever waits is told, and `healthy` says so
            raise
        finally:
            if child is not None:
                self._bury(child)

    def _next(self) -> _Waiting | None:
        """Wait for a task; None once closed."""
        with self._work:
            self._work.wait_for(lambda: self._closed or self._queue)
            if self._closed:
                return None
            self._room.notify()
            return self._queue.popleft()

    def _fresh(self, child: _Child | None) -> TypeGuard[_Child]:
        """Whether it may be given a task, as far as is known without asking the system."""
        return child is not None and not child.buried and child.tasks < self._tasks_each

    def _another(self, child: _Child | None) -> _Child:
        """A new child in the place of this one.

        Raises:
            Unavailable: None can be started, or the sandbox is closed.
        """
        if child is not None:
            self._bury(child)
        try:
            fresh = _Child(self._modules, self._memory_bytes)
        except (OSError, Cut) as exc:
            log.error("sandbox.no_child", exc=exc)
            raise Unavailable("The reader of inputs cannot be started.", retry_after_s=5) from exc
        with self._work:
            if not self._closed:  # or `close` has killed all that it saw
                self._children.add(fresh)
                return fresh
        self._bury(fresh)
        raise _closing()

    def _bury(self, child: _Child, *, grace_s: float = 0.0) -> int | None:
        with self._work:
            self._children.discard(child)
        return child.bury(grace_s=grace_s)

    def _result(self, child: _Child, task: _Waiting) -> object:
        """What the child answers, or the error that its silence means."""
        child.tasks += 1
        try:
            answer = child.ask(task.message, limit_s=task.limit_s)
            return self._believed(child, task, answer)
        except TimeoutError:
            self._bury(child)
            log.warning("sandbox.too_slow", function=task.name, limit_s=task.limit_s)
            raise _too_slow(task.limit_s) from None
        except (Cut, msgspec.DecodeError) as exc:  # it is dying, or lies
            status = self._bury(child, grace_s=_DYING_S)
            if self._closed:
                raise _closing() from exc
            log.warning("sandbox.child_died", function=task.name, status=status)
            raise _death(status, task.limit_s, self._memory_bytes) from exc

    def _believed(self, child: _Child, task: _Waiting, answer: bytearray) -> object:
        match sandboxed.decode(answer, sandboxed.Answer):
            case Done(value):
                return sandboxed.decode(value, task.returned)
            case Refused(error, detail):
                shown = "".join(each for each in detail if each.isprintable())[:_DETAIL_CHARS]
                raise _REFUSALS.get(error, UnreadableInput)(shown)
            case TooLarge():
                self._bury(child)  # it may have lost what it could not free
                raise UnreadableInput(_too_much(self._memory_bytes))
            case Crashed(error):
                log.warning("sandbox.crashed", function=task.name, error=error[:_DETAIL_CHARS])
                raise UnreadableInput("is broken: it cannot be read")
        raise AssertionError("there is no other answer")


@dataclass(eq=False, kw_only=True)
class _Waiting:
    """A task on its way to a child."""

    message: bytes
    name: str
    returned: object
    limit_s: float
    future: Future[Any] = field(default_factory=Future)


class _Child:
    """A process that runs tasks. One thread owns it; any may kill it."""

    def __init__(self, modules: Sequence[str], memory_bytes: int) -> None:
        """Start it and wait until it is ready.

        Raises:
            OSError: The system has no process for us.
            Cut: It died at its start; standard error says why.
        """
        self.tasks = 0
        self.buried = False
        self._channel, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            command = (sys.executable, "-P", "-s", "-B", "-W", "ignore", "-m", sandboxed.__name__)
            numbers = (str(descriptor), str(os.getpid()), str(memory_bytes))
            try:
                self._process = subprocess.Popen(
                    (*command, *numbers, *modules),
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[descriptor],
                )
            except OSError:
                self._channel.close()
                raise
        try:
            sandboxed.receive(self._channel, max_bytes=0, deadline=time.monotonic() + _START_S)
        except (OSError, Cut):
            self.bury()
            raise

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, message: bytes, *, limit_s: float) -> bytearray:
        """Its answer to a task.

        Raises:
            TimeoutError: There was none within `limit_s`.
            Cut: It has died.
        """
        deadline = time.monotonic() + limit_s
        sandboxed.send(self._channel, message, deadline=deadline)
        return sandboxed.receive(self._channel, max_bytes=MAX_ANSWER_BYTES, deadline=deadline)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def bury(self, *, grace_s: float = 0.0) -> int | None:
        """End it, if it does not end by itself within `grace_s`.

        Returns:
            How it ended by itself: a negative signal, or an exit status; None where it did not.
        """
        self.buried = True
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace_s)
        self.kill()
        self._process.wait(_BURY_S)
        return None


def _environment() -> dict[str, str]:
    """What a child must know; nothing of what it must not."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    kept = {
        name: os.environ[name]
        for name in ("LD_LIBRARY_PATH", "PYTHONPYCACHEPREFIX")
        if name in os.environ
    }
    return {**kept, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": path, "PYTHONUTF8": "1"}


def _closing() -> Unavailable:
    return Unavailable("The reader of inputs stopped before the answer.", retry_after_s=1)


def _too_slow(limit_s: float) -> UnreadableInput:
    return UnreadableInput(f"could not be read within {limit_s:g} s")


def _too_much(memory_bytes: int) -> str:
    return f"needs more than {memory_bytes // 10**6:,} MB of memory to be read"


def _death(status: int | None, limit_s: float, memory_bytes: int) -> UnreadableInput:
    """What the end of a child, in the middle of a task, says about the task."""
    if status == -signal.SIGXCPU:
        return _too_slow(limit_s)
    if status == -signal.SIGKILL:  # by whom is not known: an operator, the kernel short of memory
        return UnreadableInput("could not be read: its reader was killed; send it again")
    if status is not None and status < 0:  # decoders end themselves where they get no memory
        return UnreadableInput(f"crashed its reader: it is broken, or {_too_much(memory_bytes)}")
    return UnreadableInput("is broken: it crashed its reader")
