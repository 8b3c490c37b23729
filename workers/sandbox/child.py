"""The child's side of the sandbox: bounds itself, then runs what it is asked, one task at a time.

    python -m workers.sandbox.child DESCRIPTOR PARENT_PID MEMORY_BYTES MODULE …

It decides how a task and its answer look on the wire and which bounds hold in here. Who waits, how
long a task may take and what a death means is decided by `workers.sandbox.pool`, which believes
nothing that comes from here: an answer is data, checked against the annotations of the function.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import resource
import signal
import socket
import struct
import sys
import time
import typing
from collections.abc import Callable, Sequence
from functools import cache

import msgspec
import numpy as np

from shared.errors import InvalidRequest, UnreadableInput

Function = Callable[..., object]
_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OPEN_FILES = 16  # what is imported late needs one or two
_CHUNK_BYTES = 1 << 20


class Task(msgspec.Struct, frozen=True):
    """Which function, `module:name`, of which arguments; `limit_s` bounds its processor time."""

    function: str
    limit_s: float
    arguments: msgspec.Raw


class Done(msgspec.Struct, frozen=True, tag=True):
    """What the function returned."""

    value: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The function refused its input: the class of the error and its sentence."""

    error: str
    detail: str


class TooLarge(msgspec.Struct, frozen=True, tag=True):
    """The function asked for more memory than there may be."""


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The function raised something else: the name of its class."""

    error: str


Answer = Done | Refused | TooLarge | Crashed


class _Array(msgspec.Struct, frozen=True, array_like=True):
    """An array of uint8 on the wire."""

    shape: tuple[int, ...]
    data: memoryview


class Cut(Exception):
    """The other side has gone, or sent more than was agreed."""


def encode(value: object) -> bytes:
    """Plain values, dataclasses, bytes and arrays of uint8 as msgpack."""
    return _encoder.encode(value)


def decode(data: bytes | bytearray | msgspec.Raw, kind: object) -> typing.Any:
    """A value of the annotated type; arrays are the caller's own.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return _decoder(kind).decode(data)


@cache
def signature(function: Function) -> tuple[object, object]:
    """The types of a function's arguments, as one tuple, and of what it returns."""
    hints = typing.get_type_hints(function)
    returned = hints.pop("return")
    return tuple[tuple(hints.values())], returned  # type: ignore[misc]


def send(channel: socket.socket, message: bytes, *, deadline: float | None = None) -> None:
    """One message; `deadline` on the monotonic clock.

    Raises:
        Cut: The other side has gone.
        TimeoutError: The deadline has passed.
    """
    try:
        channel.settimeout(_left(deadline))
        channel.sendall(_LENGTH.pack(len(message)) + message)
    except TimeoutError:
        raise
    except OSError as exc:
        raise Cut from exc


def receive(
    channel: socket.socket, *, max_bytes: int | None = None, deadline: float | None = None
) -> bytearray:
    """The next message.

    Raises:
        Cut: The other side has gone, or announces more than `max_bytes`.
        TimeoutError: The deadline has passed.
    """
    (size,) = _LENGTH.unpack(_received(channel, _LENGTH.size, deadline))
    if max_bytes is not None and size > max_bytes:
        raise Cut
    return _received(channel, size, deadline)


def _received(channel: socket.socket, size: int, deadline: float | None) -> bytearray:
    message = bytearray()
    while len(message) < size:
        # Grows with what has come: a length is only a claim.
        place = len(message)
        message.extend(bytes(min(_CHUNK_BYTES, size - place)))
        with memoryview(message) as view:
            while place < len(view):
                try:
                    channel.settimeout(_left(deadline))
                    got = channel.recv_into(view[place:])
                except TimeoutError:
                    raise
                except OSError as exc:
                    raise Cut from exc
                if not got:
                    raise Cut
                place += got
    return message


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return _Array(value.shape, np.ascontiguousarray(value).data.cast("B"))
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _array(kind: type, value: object) -> object:
    if typing.get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"{kind} does not travel")
    sent = msgspec.convert(value, _Array)
    if min(sent.shape, default=0) < 0 or math.prod(sent.shape) != sent.data.nbytes:
        raise ValueError("the shape is not that of the data")
    return np.frombuffer(sent.data, np.uint8).reshape(sent.shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


@cache
def _decoder(kind: object) -> msgspec.msgpack.Decoder[typing.Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_array)


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
                task = msgspec.msgpack.decode(receive(channel), type=Task)
                module, _, name = task.function.partition(":")
                send(channel, encode(_answer(getattr(loaded[module], name), task)))
        except Cut:
            return


def _answer(function: Function, task: Task) -> Answer:
    """Run one task; whatever it raises is an answer."""
    _allow_cpu(task.limit_s)
    try:
        kinds, _ = signature(function)
        return Done(msgspec.Raw(encode(function(*decode(task.arguments, kinds)))))
    except (InvalidRequest, UnreadableInput) as exc:
        return Refused(type(exc).__name__, exc.detail)
    except MemoryError:
        return TooLarge()
    except Exception as exc:  # noqa: BLE001  a parser of hostile bytes may raise anything
        return Crashed(type(exc).__name__)


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
