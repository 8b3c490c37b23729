"""Runs parsers of hostile bytes in child processes with bounds.

Decides who waits, which child runs what, that a child which takes too long is killed and which
error a death means; every future ends. The bounds inside a child and the bytes between are those of
`workers.sandbox.child`. What a function makes of its bytes is its own affair.

A thread and a child belong together: the thread starts the child, gives it one task at a time,
waits for the answer and buries it. The child begins as a new program, so it has nothing of the
worker's: no threads, no sockets, no model, no secrets in its environment.
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
        gives_way: bool = False,
    ) -> None:
        """Start the children; they are ready a moment later.

        Args:
            modules: whose functions may be asked for; each child imports them at its start.
            workers: children.
            memory_bytes: address space that a task may take, above what the imports take.
            waiting: tasks that may wait for a child.
            tasks_each: a child that has run so many is replaced, whatever it has leaked.
            at_once: start them now, not when there is a task for them.
            gives_way: they let every other process go first.
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
        """Have a child call `function(*args)`.

        Args:
            function: a top-level function of one of the modules, without keyword arguments;
                annotated with what travels: plain values, bytes, dataclasses, arrays of uint8.
            args: as annotated.
            limit_s: seconds of processor time it may take; what it waited is not counted.
            clock_s: seconds by the clock it may take; if None, four times as many as `limit_s`.
            said_s: the limit that the error of one that takes too long names, if that is another.
            yields_s: one that has taken so many seconds ends with TimeoutError.
            room_s: seconds to wait for room in the queue.

        Returns:
            A future of what the function returns. It raises the function's own InvalidRequest or
            UnreadableInput; the latter also where it took too long or too much memory, or crashed;
            TimeoutError where it yields; Unavailable where no child can be started. Cancelling it
            while it waits takes it out of the queue.

        Raises:
            TooBusy: There is no room.
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
        child: ChildProcess | None = None
        try:
            while True:
                if (self._at_once or child is not None) and not self._fresh(child):
                    with suppress(Unavailable):  # logged, and tried again when there is a task
                        child = self._another(child)
                task = self._next()
                if task is None:
                    return
                if not task.future.set_running_or_notify_cancel():
                    del task
                    continue
                try:
                    if not self._fresh(child) or not child.alive():
                        child = self._another(child)
                    task.future.set_result(self._result(child, task))
                except Exception as exc:  # noqa: BLE001  handed to the one who waits
                    task.future.set_exception(without_variables(exc))
                del task  # with its bytes and its answer: the next may be long in coming
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

    def _fresh(self, child: ChildProcess | None) -> TypeGuard[ChildProcess]:
        """Whether it may be given a task, as far as is known without asking the system."""
        return child is not None and not child.buried and child.tasks < self._tasks_each

    def _another(self, child: ChildProcess | None) -> ChildProcess:
        """A new child in the place of this one.

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
            if not self._closed:  # or `close` has killed all that it saw
                self._children.add(fresh)
                return fresh
        self._bury(fresh)
        raise closing()

    def _bury(self, child: ChildProcess, *, grace_s: float = 0.0) -> int | None:
        with self._work:
            self._children.discard(child)
        return child.bury(grace_s=grace_s)

    def _result(self, child: ChildProcess, task: _Waiting) -> object:
        """What the child answers, or the error that its silence means."""
        child.tasks += 1
        try:
            answer = child.ask(task.message, limit_s=task.limit_s, clock_s=task.clock_s)
            return self._believed(child, task, answer)
        except TimeoutError:
            self._bury(child)
            if task.said_s is None:
                raise TimeoutError from None
            log.warning("sandbox.too_slow", function=task.name, limit_s=task.said_s)
            raise too_slow(task.said_s) from None
        except (ChannelClosed, msgspec.DecodeError) as exc:  # it is dying, or lies
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

    def _believed(self, child: ChildProcess, task: _Waiting, answer: bytearray) -> object:
        found = decode(answer, Answer)
        if isinstance(found, TaskDone):
            return decode(found.value, task.returned)
        if isinstance(found, TooLarge):
            self._bury(child)  # it may have lost what it could not free
        if isinstance(found, Crashed):
            log.warning("sandbox.crashed", function=task.name, error=found.error[:300])
        raise refusal(found, self._memory_bytes)


@dataclass(eq=False, kw_only=True)
class _Waiting:
    """A task on its way to a child."""

    message: bytes
    name: str
    returned: object
    limit_s: float
    clock_s: float
    said_s: float | None  # None: it yields
    future: Future[Any] = field(default_factory=Future)
