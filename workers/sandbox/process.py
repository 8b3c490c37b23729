"""One child process of the sandbox, seen from the worker, and the errors that its end means."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from shared.errors import (
    FieldError,
    InvalidRequest,
    PigeonholeError,
    Unavailable,
    UnreadableInput,
    tree,
)
from workers.sandbox.wire import (
    ChannelClosed,
    Crashed,
    Failure,
    TaskRefused,
    TooLarge,
    receive,
    send,
)

MAX_ANSWER_BYTES = 256 * 1024 * 1024
DYING_S = 1.0  # a dying child exits this soon after its channel closes; then its status is known
_CHILD = "workers.sandbox.child"
_START_S = 20.0
_BURY_S = 5.0
_DETAIL_CHARS = 1000
_LOOK_MS = 100
_NICE = 5  # gets a third of the CPU beside a process of normal priority
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_REFUSALS = {error.__name__: error for error in (*tree(InvalidRequest), *tree(UnreadableInput))}
# Threads cost address space without a gain; Arrow's own allocator reserves GiB of it.
_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "PYTHONUTF8": "1",
}


class ChildProcess:
    """A process that runs tasks. One thread owns it; any thread may kill it."""

    def __init__(self, modules: Sequence[str], memory_bytes: int) -> None:
        """Start the process and wait until it is ready.

        Raises:
            OSError: The system cannot start a process.
            ChannelClosed: The process died at its start; its standard error gives the reason.
        """
        self.tasks = 0
        self.buried = False
        self._memory_bytes = memory_bytes
        self._idle_bytes = self._max_bytes = 0
        self.channel, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            command = (sys.executable, "-P", "-s", "-B", "-W", "ignore", "-m", _CHILD)
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
                self.channel.close()
                raise
        try:
            receive(self.channel, max_bytes=0, deadline=time.monotonic() + _START_S)
        except (OSError, ChannelClosed):
            self.bury()
            raise
        self._idle_bytes = self._size_bytes()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, message: bytes, *, limit_s: float, clock_s: float) -> bytearray:
        """Send a task and return the encoded answer.

        Args:
            message: the encoded task.
            limit_s: limit of processor time, in seconds. Beside a busy model a child runs slowly,
                which must not count against its input.
            clock_s: limit of wall-clock time, in seconds.

        Raises:
            TimeoutError: A limit passed without an answer.
            ChannelClosed: The process has died.
        """
        began, before_s = time.monotonic(), self._cpu_s()
        self._max_bytes = 0

        def check_cpu() -> None:
            if self._cpu_s() - before_s >= limit_s:
                raise TimeoutError

        deadline = began + clock_s
        send(self.channel, message, deadline=deadline)
        return self.hear(deadline, look=check_cpu)

    def hear(
        self,
        deadline: float,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
        look: Callable[[], object] = lambda: None,
    ) -> bytearray:
        """The next message of the process. Raises as `ask`.

        `look` is called every 100 ms while no message arrives; it may raise.
        """
        waiting = select.poll()
        waiting.register(self.channel, select.POLLIN)
        while not waiting.poll(_LOOK_MS):
            self._max_bytes = max(self._max_bytes, self._size_bytes())
            look()
            if time.monotonic() >= deadline:
                raise TimeoutError
        return receive(self.channel, max_bytes=max_bytes, deadline=deadline)

    def filled(self) -> bool:
        """Whether the last task was seen to use more than half of the memory limit."""
        return self._max_bytes - self._idle_bytes > self._memory_bytes // 2

    def give_way(self) -> None:
        """Lower the priority of the process."""
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)

    def _cpu_s(self) -> float:
        """The processor time of the process; the wall clock where it is not available."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        except (OSError, IndexError):
            return time.monotonic()

    def _size_bytes(self) -> int:
        """The address space of the process, which the limit bounds; 0 where it is not available."""
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as pages:
                return int(pages.read().split()[0]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def bury(self, *, grace_s: float = 0.0) -> int | None:
        """Reap the process: wait `grace_s` for its end, then kill it.

        Returns:
            The exit status or negative signal if it ended by itself; None if it was killed here.
        """
        self.buried = True
        self.channel.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace_s)
        self.kill()
        self._process.wait(_BURY_S)
        return None


def _environment() -> dict[str, str]:
    """The environment of a child: an allowlist of variables, without secrets."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    allowed = {
        name: os.environ[name]
        for name in ("LD_LIBRARY_PATH", "PYTHONPYCACHEPREFIX")
        if name in os.environ
    }
    return {**allowed, **_VARIABLES, "PYTHONPATH": path}


def closing() -> Unavailable:
    """The error for tasks that a stopping worker leaves unfinished."""
    return Unavailable("The sandbox process stopped before it returned a result.", retry_after_s=1)


def refusal(failure: Failure, memory_bytes: int) -> PigeonholeError:
    """The error that a failure of the child means."""
    match failure:
        case TaskRefused(error, detail, fields):
            field_errors = tuple(
                FieldError(field=_shown(each), message=_shown(why)) for each, why in fields
            )
            return _REFUSALS.get(error, UnreadableInput)(_shown(detail), fields=field_errors)
        case TooLarge():
            return too_much(memory_bytes)
        case Crashed(error):
            return UnreadableInput("is broken: it cannot be read")


def too_slow(limit_s: float) -> UnreadableInput:
    """The error for an exceeded time limit."""
    return UnreadableInput(
        f"took longer than {limit_s:g} s to decode, the limit for one file "
        "(PIGEONHOLE_DECODE_LIMIT_S)"
    )


def too_much(memory_bytes: int) -> UnreadableInput:
    """The error for an exceeded memory limit."""
    return UnreadableInput(
        f"needs more than {memory_bytes // 10**6:,} MB of memory to decode, the limit for one file "
        "(PIGEONHOLE_DECODER_BYTES)"
    )


def death(
    status: int | None, *, filled: bool, limit_s: float, memory_bytes: int
) -> UnreadableInput:
    """The error that the death of a child during a task means.

    PDFium and C++ abort if an allocation fails. A child that was seen `filled` and died by a signal
    also ran out of memory, since some decoders dereference failed allocations.
    """
    if status == -signal.SIGXCPU:
        return too_slow(limit_s)
    if status == -signal.SIGKILL:  # by an operator, or by the out-of-memory killer
        return UnreadableInput("could not be read: the sandbox process was killed; send it again")
    if status == -signal.SIGABRT or (filled and status is not None and status < 0):
        return too_much(memory_bytes)
    return UnreadableInput("is broken: reading it crashed the sandbox process")


def _shown(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:_DETAIL_CHARS]
