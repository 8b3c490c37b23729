"""A pool of sandboxed child processes that run parsers on untrusted bytes.

The pool queues tasks, assigns them to children, kills a child that exceeds its time limit, and maps
the death of a child to an error; every future ends. `workers.sandbox.child` sets the limits inside
a child, and `workers.sandbox.wire` defines the messages.

Each thread owns one child: it starts the child, sends it one task at a time, waits for the answer
and reaps it. The child starts as a new program, so it shares nothing with the worker: no threads,
no sockets, no model, and no secrets in its environment.
"""

from __future__ import annotations

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

from shared.errors import TooBusy, Unavailable
from shared.telemetry import Log
from workers.futures import without_variables
from workers.sandbox.process import DYING_S, ChildProcess, closing, death, refusal, too_slow
from workers.sandbox.wire import (
    Answer,
    ChannelClosed,
    Crashed,
    SandboxTask,
    TaskDone,
    TooLarge,
    decode,
    encode,
    signature,
)

log = Log("sandbox")
_CLOCK = 4
T = TypeVar("T")


class Sandbox:
    """A pool of child processes; `submit` is thread-safe.

    Construction starts it, `close` stops it; `with` does both.
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
        gives_way: bool = False,
    ) -> None:
        """Start the threads, and with `at_once` the children.

        Args:
            modules: modules whose functions may run; each child imports them when it starts.
            workers: number of children.
            memory_bytes: limit of address space for a task, above that of the imports.
            waiting: limit of queued tasks (backpressure).
            tasks_each: a child is replaced after this many tasks, so that leaks are bounded.
            at_once: start the children now, not with the first task.
            gives_way: run the children at a lower process priority.
        """
        self._modules = tuple(modules)
        self._memory_bytes = memory_bytes
        self._waiting = waiting
        self._tasks_each = tasks_each
        self._at_once = at_once
        self._gives_way = gives_way
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # a task waits, or closing
        self._room = threading.Condition(lock)  # a task has left the queue, or closing
        self._queue: deque[_Waiting] = deque()
        self._children: set[ChildProcess] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"sandbox-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        function: Callable[..., T],
        *args: object,
        limit_s: float,
        clock_s: float | None = None,
        said_s: float | None = None,
        yields_s: float | None = None,
        room_s: float = 0.0,
    ) -> Future[T]:
        """Queue a call of `function(*args)` in a child.

        Args:
            function: a top-level function of one of the modules, without keyword arguments. Its
                annotations may be plain values, bytes, dataclasses and uint8 arrays.
            args: the arguments, as annotated.
            limit_s: limit of processor time, in seconds; waiting is not counted.
            clock_s: limit of wall-clock time, in seconds; by default four times `limit_s`.
            said_s: the limit that a timeout error reports, if it differs from `limit_s`.
            yields_s: after this many seconds of processor time the task ends with TimeoutError.
            room_s: seconds to wait for a place in the queue.

        Returns:
            A future of the return value. Its error is an InvalidRequest or UnreadableInput that
            the function raised; UnreadableInput after a timeout, a memory limit or a crash;
            TimeoutError after `yields_s`; Unavailable if no child can be started. Cancelling a
            queued future removes its task from the queue.

        Raises:
            TooBusy: The queue is full.
            Unavailable: The sandbox is closed.
        """
        name = self._name(function)
        _, returned = signature(function)
        arguments = msgspec.Raw(encode(args))
        task: _Waiting = _Waiting(
            message=encode(SandboxTask(name, limit_s, arguments)),
            name=name,
            returned=returned,
            limit_s=limit_s if yields_s is None else yields_s,
            clock_s=_CLOCK * limit_s if clock_s is None else clock_s,
            said_s=(said_s or limit_s) if yields_s is None else None,
        )
        with self._room:
            self._room.wait_for(lambda: self._closed or len(self._queue) < self._waiting, room_s)
            if self._closed:
                raise Unavailable("The sandbox process that reads inputs is not running.")
            if len(self._queue) >= self._waiting:
                raise TooBusy(
                    f"the queue of inputs to decode is full ({self._waiting} wait); try later",
                    retry_after_s=1,
                )
            self._queue.append(task)
            self._work.notify()
        task.future.add_done_callback(self._remove)
        return task.future

    def healthy(self) -> bool:
        """False once a thread has died or `close` was called. Dead children do not matter."""
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
        """The name by which a child finds the function, `module:name`."""
        module, name = function.__module__, function.__name__
        known = module in self._modules and getattr(sys.modules[module], name, None) is function
        if not known:
            raise ValueError(f"{name} is not a function that the sandbox runs")
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
                task.future.set_exception(closing())

    def _remove(self, future: Future[Any]) -> None:
        if not future.cancelled():
            return
        with self._room:
            # A callback that held the task would form a cycle and keep its bytes and answer.
            for task in [task for task in self._queue if task.future is future]:
                self._queue.remove(task)
                self._room.notify()

    def _run(self) -> None:
        """Give tasks to one child after another, until closed."""
        child: ChildProcess | None = None
        try:
            while True:
                if (self._at_once or child is not None) and not self._fresh(child):
                    with suppress(Unavailable):  # logged; the next task tries again
                        child = self._replaced(child)
                task = self._next()
                if task is None:
                    return
                if not task.future.set_running_or_notify_cancel():
                    del task
                    continue
                try:
                    if not self._fresh(child) or not child.alive():
                        child = self._replaced(child)
                    task.future.set_result(self._result(child, task))
                except Exception as exc:  # noqa: BLE001  the caller raises it
                    task.future.set_exception(without_variables(exc))
                del task  # frees its bytes and its answer while the thread waits for the next task
        except BaseException as exc:
            log.error("sandbox.died", exc=exc)
            self._stop()  # ends all futures; `healthy` becomes False
            raise
        finally:
            if child is not None:
                self._bury(child)

    def _next(self) -> _Waiting | None:
        """Wait for the next task; None once closed."""
        with self._work:
            self._work.wait_for(lambda: self._closed or self._queue)
            if self._closed:
                return None
            self._room.notify()
            return self._queue.popleft()

    def _fresh(self, child: ChildProcess | None) -> TypeGuard[ChildProcess]:
        """Whether a child can take a task, as far as known without a system call."""
        return child is not None and not child.buried and child.tasks < self._tasks_each

    def _replaced(self, child: ChildProcess | None) -> ChildProcess:
        """Replace a child with a new one.

        Raises:
            Unavailable: None can be started, or the sandbox is closed.
        """
        if child is not None:
            self._bury(child)
        try:
            fresh = ChildProcess(self._modules, self._memory_bytes)
            if self._gives_way:
                fresh.give_way()
        except (OSError, ChannelClosed) as exc:
            log.error("sandbox.no_child", exc=exc)
            raise Unavailable(
                "The sandbox process that reads inputs could not be started.", retry_after_s=5
            ) from exc
        with self._work:
            if not self._closed:  # `close` kills only the children that it finds
                self._children.add(fresh)
                return fresh
        self._bury(fresh)
        raise closing()

    def _bury(self, child: ChildProcess, *, grace_s: float = 0.0) -> int | None:
        with self._work:
            self._children.discard(child)
        return child.bury(grace_s=grace_s)

    def _result(self, child: ChildProcess, task: _Waiting) -> object:
        """The result of a task, or the error that the timeout or death of its child means."""
        child.tasks += 1
        try:
            answer = child.ask(task.message, limit_s=task.limit_s, clock_s=task.clock_s)
            return self._validated(child, task, answer)
        except TimeoutError:
            self._bury(child)
            if task.said_s is None:
                raise TimeoutError from None
            log.warning("sandbox.too_slow", function=task.name, limit_s=task.said_s)
            raise too_slow(task.said_s) from None
        except (ChannelClosed, msgspec.DecodeError) as exc:  # the child dies, or sends invalid data
            status = self._bury(child, grace_s=DYING_S)
            if self._closed:
                raise closing() from exc
            filled = child.filled()
            log.warning("sandbox.child_died", function=task.name, status=status, filled=filled)
            raise death(
                status,
                filled=filled,
                limit_s=task.said_s or task.limit_s,
                memory_bytes=self._memory_bytes,
            ) from exc

    def _validated(self, child: ChildProcess, task: _Waiting, answer: bytearray) -> object:
        outcome = decode(answer, Answer)
        if isinstance(outcome, TaskDone):
            return decode(outcome.value, task.returned)
        if isinstance(outcome, TooLarge):
            self._bury(child)  # the child may have leaked memory
        if isinstance(outcome, Crashed):
            log.warning("sandbox.crashed", function=task.name, error=outcome.error[:300])
        raise refusal(outcome, self._memory_bytes)


@dataclass(eq=False, kw_only=True)
class _Waiting:
    """A queued task."""

    message: bytes
    name: str
    returned: object
    limit_s: float
    clock_s: float
    said_s: float | None  # None: the task ends with TimeoutError
    future: Future[Any] = field(default_factory=Future)
