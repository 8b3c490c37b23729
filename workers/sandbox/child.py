"""The child process of the sandbox: sets its own limits, then runs one task at a time.

    python -m workers.sandbox.child DESCRIPTOR PARENT_PID MEMORY_BYTES MODULE …

This module sets the resource limits of the process, and lets a function read a file that only the
worker has open. Queueing, time limits and the handling of a dead child are in
`workers.sandbox.pool` and `workers.sandbox.readers`, which validate everything a child sends.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec

from shared.errors import InvalidRequest, UnreadableInput
from workers.sandbox.wire import (
    MAX_STRETCH_BYTES,
    STOP,
    Answer,
    ChannelClosed,
    Crashed,
    Function,
    ReadRange,
    ResultPiece,
    SandboxTask,
    TaskDone,
    TaskRefused,
    TooLarge,
    decode,
    encode,
    receive,
    send,
    signature,
)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BUFFER_BYTES = 64 * 1024  # small reads, such as of the end of a file, become one message
_OPEN_FILES = 16  # late imports need one or two
_Reading = Callable[..., Iterator[bytes]]


class RemoteFile(io.RawIOBase):
    """A file that only the worker has open; the child requests byte ranges of it."""

    def __init__(self, channel: socket.socket, size: int) -> None:
        super().__init__()
        self._channel = channel
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, which may be beyond the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read from the position on, at most `MAX_STRETCH_BYTES` at once."""
        size = min(len(buffer), self._size - self._position, MAX_STRETCH_BYTES)
        if size <= 0:
            return 0
        send(self._channel, encode(ReadRange(self._position, size)))
        data = receive(self._channel, max_bytes=size)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def main(arguments: Sequence[str]) -> None:
    """Run tasks until the parent closes the channel."""
    descriptor, parent, memory_bytes, *modules = arguments
    _die_with(int(parent))
    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which ends its children
        signal.signal(number, signal.SIG_IGN)
    loaded = {name: importlib.import_module(name) for name in modules}
    _bound(int(memory_bytes))
    with socket.socket(fileno=int(descriptor)) as channel:
        try:
            send(channel, b"")
            _mute()
            while True:
                task = msgspec.msgpack.decode(receive(channel), type=SandboxTask)
                module, _, name = task.function.partition(":")
                send(channel, encode(_run(getattr(loaded[module], name), task, channel)))
        except ChannelClosed:
            return


def _run(function: Function, task: SandboxTask, channel: socket.socket) -> Answer:
    """Run one task. Every exception becomes an answer."""
    _allow_cpu(task.limit_s)
    try:
        kinds, _ = signature(function)
        arguments = decode(task.arguments, kinds)
        if task.file_bytes >= 0:
            file = io.BufferedReader(RemoteFile(channel, task.file_bytes), _BUFFER_BYTES)
            _stream(channel, cast("_Reading", function)(file, *arguments), task.limit_s)
            return TaskDone(msgspec.Raw(encode(None)))
        return TaskDone(msgspec.Raw(encode(function(*arguments))))
    except (InvalidRequest, UnreadableInput) as exc:
        fields = tuple((each.field, each.message) for each in exc.fields)
        return TaskRefused(type(exc).__name__, exc.detail, fields)
    except MemoryError:
        return TooLarge()
    except Exception as exc:  # noqa: BLE001  a parser of hostile bytes may raise anything
        return Crashed(type(exc).__name__)


def _stream(channel: socket.socket, pieces: Iterator[bytes], limit_s: float) -> None:
    """Send the pieces that a function yields, until the worker sends `STOP`."""
    for piece in pieces:
        send(channel, encode(ResultPiece(piece)))
        if receive(channel, max_bytes=len(STOP)) == STOP:
            return
        _allow_cpu(limit_s)


def _die_with(parent: int) -> None:
    """Die with the parent: on Linux at once, even inside a decoder; elsewhere after the task."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the worker process has exited")


def _bound(memory_bytes: int) -> None:
    """Limit this process: no writes, few open files, no core dump, `memory_bytes` above now."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_AS, _in_use_bytes() + memory_bytes),
    ):
        resource.setrlimit(limit, (value, value))


def _in_use_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as pages:
            return int(pages.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _allow_cpu(limit_s: float) -> None:
    """Let the kernel end a task whose parent has exited or does not enforce the limit."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + limit_s) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _mute() -> None:
    """Discard standard error: decoders write warnings to it that contain bytes of the input."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


if __name__ == "__main__":
    main(sys.argv[1:])
