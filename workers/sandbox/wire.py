"""What goes between the worker and a child of the sandbox, and how it is written.

A message is its length in eight bytes and msgpack. A task of bytes has one answer. A task that
reads a file has a conversation: the child asks for stretches of the file, which only the worker has
open, and sends pieces of its result; after each piece the worker says whether it wants another.
What comes from a child is data that is checked; nothing of it is believed.
"""

from __future__ import annotations

import math
import socket
import struct
import time
import typing
from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np

Function = Callable[..., object]
_LENGTH = struct.Struct("<Q")
_CHUNK_BYTES = 1 << 20

MAX_STRETCH_BYTES = 4 << 20  # that are asked for at once
FILE = "file"  # how a function calls the file that it reads
MORE = b"more"
STOP = b"stop"


class SandboxTask(msgspec.Struct, frozen=True):
    """Which function, `module:name`, of which arguments; `limit_s` bounds its processor time.

    `file_bytes` is the size of the file that the function reads, -1 where it reads none.
    """

    function: str
    limit_s: float
    arguments: msgspec.Raw
    file_bytes: int = -1


class ReadRange(msgspec.Struct, frozen=True, tag=True):
    """The function wants these bytes of its file."""

    start: int
    size: int


class ResultPiece(msgspec.Struct, frozen=True, tag=True):
    """A part of what the function yields; the processor time of a task is counted anew."""

    value: bytes


class TaskDone(msgspec.Struct, frozen=True, tag=True):
    """What the function returned."""

    value: msgspec.Raw


class TaskRefused(msgspec.Struct, frozen=True, tag=True):
    """The function refused its input: the class of the error and its sentence."""

    error: str
    detail: str
    fields: tuple[tuple[str, str], ...] = ()  # of an InvalidRequest: each field and its message


class TooLarge(msgspec.Struct, frozen=True, tag=True):
    """The function asked for more memory than there may be."""


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The function raised something else: the name of its class."""

    error: str


Failure = TaskRefused | TooLarge | Crashed
Answer = TaskDone | Failure
Told = ReadRange | ResultPiece | Answer


class _Array(msgspec.Struct, frozen=True, array_like=True):
    """An array of uint8 on the wire."""

    shape: tuple[int, ...]
    data: memoryview


class ChannelClosed(Exception):
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
    hints.pop(FILE, None)
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
        raise ChannelClosed from exc


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
        raise ChannelClosed
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
                    raise ChannelClosed from exc
                if not got:
                    raise ChannelClosed
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
    raise NotImplementedError(
        f"a value of type {type(value).__name__} cannot be sent to the sandbox"
    )


def _array(kind: type, value: object) -> object:
    if typing.get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"a value of type {kind} cannot be received from the sandbox")
    sent = msgspec.convert(value, _Array)
    if min(sent.shape, default=0) < 0 or math.prod(sent.shape) != sent.data.nbytes:
        raise ValueError("the shape does not match the data")
    return np.frombuffer(sent.data, np.uint8).reshape(sent.shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


@cache
def _decoder(kind: object) -> msgspec.msgpack.Decoder[typing.Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_array)
