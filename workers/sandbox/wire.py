"""The protocol between the worker and a sandbox child: messages and their encoding.

A message is a length in eight bytes, followed by msgpack. A task on bytes has one answer. A task
that reads a file is a dialogue: the child requests ranges of the file, which only the worker has
open, and sends pieces of its result; the worker answers each piece with `MORE` or `STOP`. Data from
a child is untrusted and is validated.
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

MAX_STRETCH_BYTES = 4 << 20  # limit of one requested range
FILE = "file"  # the name of the parameter for the file
MORE = b"more"
STOP = b"stop"


class SandboxTask(msgspec.Struct, frozen=True):
    """A call: the function as `module:name`, its arguments, and its limit of processor time.

    `file_bytes` is the size of the file that the function reads, or -1 without a file.
    """

    function: str
    limit_s: float
    arguments: msgspec.Raw
    file_bytes: int = -1


class ReadRange(msgspec.Struct, frozen=True, tag=True):
    """The child requests a range of the file."""

    start: int
    size: int


class ResultPiece(msgspec.Struct, frozen=True, tag=True):
    """A piece that the function yields; the limit of processor time starts anew."""

    value: bytes


class TaskDone(msgspec.Struct, frozen=True, tag=True):
    """The function returned a value."""

    value: msgspec.Raw


class TaskRefused(msgspec.Struct, frozen=True, tag=True):
    """The function refused its input: the class of the error and its detail."""

    error: str
    detail: str
    fields: tuple[tuple[str, str], ...] = ()  # fields of an InvalidRequest and their messages


class TooLarge(msgspec.Struct, frozen=True, tag=True):
    """The function exceeded the memory limit."""


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The function raised another exception: the name of its class."""

    error: str


Failure = TaskRefused | TooLarge | Crashed
Answer = TaskDone | Failure
ChildMessage = ReadRange | ResultPiece | Answer


class _Array(msgspec.Struct, frozen=True, array_like=True):
    """A uint8 array as it is encoded."""

    shape: tuple[int, ...]
    data: memoryview


class ChannelClosed(Exception):
    """The peer has closed the channel, or sent more than allowed."""


def encode(value: object) -> bytes:
    """Encode plain values, dataclasses, bytes and uint8 arrays as msgpack."""
    return _encoder.encode(value)


def decode(data: bytes | bytearray | msgspec.Raw, kind: object) -> typing.Any:
    """Decode a value of type `kind`; arrays are copies.

    Raises:
        msgspec.ValidationError: The data is not of this type.
    """
    return _decoder(kind).decode(data)


@cache
def signature(function: Function) -> tuple[object, object]:
    """The types of a function's arguments, as one tuple type, and of its return value."""
    hints = typing.get_type_hints(function)
    returned = hints.pop("return")
    hints.pop(FILE, None)
    return tuple[tuple(hints.values())], returned  # type: ignore[misc]


def send(channel: socket.socket, message: bytes, *, deadline: float | None = None) -> None:
    """Send one message; `deadline` is on the monotonic clock.

    Raises:
        ChannelClosed: The peer has closed the channel.
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
    """Receive the next message.

    Raises:
        ChannelClosed: The peer has closed the channel, or announces more than `max_bytes`.
        TimeoutError: The deadline has passed.
    """
    (size,) = _LENGTH.unpack(_receive_exactly(channel, _LENGTH.size, deadline))
    if max_bytes is not None and size > max_bytes:
        raise ChannelClosed
    return _receive_exactly(channel, size, deadline)


def _receive_exactly(channel: socket.socket, size: int, deadline: float | None) -> bytearray:
    message = bytearray()
    while len(message) < size:
        # Grow with the received bytes: the announced length is untrusted.
        place = len(message)
        message.extend(bytes(min(_CHUNK_BYTES, size - place)))
        with memoryview(message) as view:
            while place < len(view):
                try:
                    channel.settimeout(_left(deadline))
                    count = channel.recv_into(view[place:])
                except TimeoutError:
                    raise
                except OSError as exc:
                    raise ChannelClosed from exc
                if not count:
                    raise ChannelClosed
                place += count
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
    encoded = msgspec.convert(value, _Array)
    if min(encoded.shape, default=0) < 0 or math.prod(encoded.shape) != encoded.data.nbytes:
        raise ValueError("the shape does not match the data")
    return np.frombuffer(encoded.data, np.uint8).reshape(encoded.shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


@cache
def _decoder(kind: object) -> msgspec.msgpack.Decoder[typing.Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_array)
