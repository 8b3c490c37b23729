"""The child's side of the sandbox: bounds itself, then runs what it is asked, one task at a time.

    python -m workers.sandbox.child DESCRIPTOR PARENT_PID MEMORY_BYTES MODULE …

It decides which bounds hold in here, and how a function reads a file that only the worker has open.
Who waits, how long a task may take and what a death means is decided by `workers.sandbox.pool` and
`workers.sandbox.readers`, which believe nothing that comes from here.
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
_BUFFER_BYTES = 64 * 1024  # small reads, as of the end of a file, are one message
_OPEN_FILES = 16  # what is imported late needs one or two
_Reading = Callable[..., Iterator[bytes]]


class RemoteFile(io.RawIOBase):
    """A file that only the worker has open, by the stretches that are asked for."""

    def __init__(self, channel: socket.socket, size: int) -> None:
        super().__init__()
        self._channel = channel
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere, beyond the end too."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Bytes from here on, as many as there are and are given at once."""
        size = min(len(buffer), self._size - self._place, MAX_STRETCH_BYTES)
        if size <= 0:
            return 0
        send(self._channel, encode(ReadRange(self._place, size)))
        data = receive(self._channel, max_bytes=size)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def main(arguments: Sequence[str]) -> None:
    """Answer tasks until the parent goes."""
    descriptor, parent, memory_bytes, *modules = arguments
    _die_with(int(parent))
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which ends us
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
                send(channel, encode(_answer(getattr(loaded[module], name), task, channel)))
        except ChannelClosed:
            return


def _answer(function: Function, task: SandboxTask, channel: socket.socket) -> Answer:
    """Run one task; whatever it raises is an answer."""
    _allow_cpu(task.limit_s)
    try:
        kinds, _ = signature(function)
        arguments = decode(task.arguments, kinds)
        if task.file_bytes >= 0:
            file = io.BufferedReader(RemoteFile(channel, task.file_bytes), _BUFFER_BYTES)
            _tell(channel, cast("_Reading", function)(file, *arguments), task.limit_s)
            return TaskDone(msgspec.Raw(encode(None)))
        return TaskDone(msgspec.Raw(encode(function(*arguments))))
    except (InvalidRequest, UnreadableInput) as exc:
        fields = tuple((each.field, each.message) for each in exc.fields)
        return TaskRefused(type(exc).__name__, exc.detail, fields)
    except MemoryError:
        return TooLarge()
    except Exception as exc:  # noqa: BLE001  a parser of hostile bytes may raise anything
        return Crashed(type(exc).__name__)


def _tell(channel: socket.socket, pieces: Iterator[bytes], limit_s: float) -> None:
    """Send what a function yields, as long as more is wanted."""
    for piece in pieces:
        send(channel, encode(ResultPiece(piece)))
        if receive(channel, max_bytes=len(STOP)) == STOP:
            return
        _allow_cpu(limit_s)


def _die_with(parent: int) -> None:
    """End when the parent does, also in the middle of a decoder; elsewhere than on Linux, after."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the worker is gone")


def _bound(memory_bytes: int) -> None:
    """No files to write, few to open, no core, and so much memory above what is in use now."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_AS, _in_use_bytes() + memory_bytes),
    ):
        resource.setrlimit(what, (most, most))


def _in_use_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as pages:
            return int(pages.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _allow_cpu(limit_s: float) -> None:
    """The kernel ends a task that runs on after its parent has gone, or its watch failed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + limit_s) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _mute() -> None:
    """Decoders write warnings, with bytes of the input in them, to standard error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


if __name__ == "__main__":
    main(sys.argv[1:])
