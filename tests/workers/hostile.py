"""What a parser may do when its bytes have taken it over; run by the tests of the sandbox."""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import FieldError, InvalidLabels, InvalidRequest, UnreadableInput
from workers.sandbox.wire import ReadRange, encode


@dataclass(frozen=True, kw_only=True)
class Sheet:
    name: str
    size: tuple[int, int]
    pixels: npt.NDArray[np.uint8]


def turned(sheet: Sheet, note: str) -> Sheet:
    return Sheet(name=note, size=sheet.size[::-1], pixels=sheet.pixels.transpose(1, 0, 2))


def length(data: bytes) -> int:
    return len(data)


def pid() -> int:
    return os.getpid()


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def spin() -> int:
    while True:
        pass


def hog(size: int) -> int:
    return len(bytearray(size))


def crash() -> int:
    return len(ctypes.string_at(0))


def fill_and_crash(size: int) -> int:
    held = bytes(size)
    time.sleep(0.5)  # as long as it takes to fill it
    return len(held) + crash()


def give_up() -> int:
    os.abort()  # as PDFium does where it gets no memory


def leave(status: int) -> int:
    os._exit(status)


def echo(file: BinaryIO, size: int) -> Iterator[bytes]:
    """A file, as many bytes a piece."""
    return iter(lambda: file.read(size), b"")


def pid_and_ends(file: BinaryIO) -> Iterator[bytes]:
    yield str(os.getpid()).encode()
    file.seek(-3, io.SEEK_END)
    yield file.read()
    file.seek(0)
    yield file.read(3)


def broken_after(file: BinaryIO, pieces: int, how: str) -> Iterator[bytes]:
    """Some pieces, and then something else."""
    for _ in range(pieces):
        yield file.read(1)
    match how:
        case "refuse":
            error = FieldError(field="file", message="is no table")
            raise InvalidRequest("file: is no table", fields=(error,))
        case "hog":
            yield bytes(10**9)
        case "crash":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "fail":
            raise KeyError("secret")
        case "nap":
            time.sleep(60)
        case "beyond":
            lie(encode(ReadRange(-5, 10)), len(encode(ReadRange(-5, 10))))
        case "large":
            yield bytes(10_000_000)


def trickle(file: BinaryIO, pause_s: float) -> Iterator[bytes]:
    """Tiny pieces for ever, none of them late."""
    while True:
        time.sleep(pause_s)
        yield file.read(1)


def refuse(kind: Literal["input", "request", "labels"]) -> int:
    if kind == "input":
        raise UnreadableInput("has 2,500 megapixels\n; the limit is 100")
    if kind == "request":
        raise InvalidRequest("is no table")
    raise InvalidLabels("not for a parser")


def recurse(depth: int) -> int:
    return recurse(depth + 1)


def wrong() -> int:
    return "seven"  # type: ignore[return-value]


def write(path: str) -> int:
    with open(path, "wb", buffering=0) as file:
        return file.write(b"x")


def opened() -> int:
    count = 0
    held = []
    while True:
        try:
            held.append(open(os.devnull))  # noqa: SIM115  to have many
        except OSError:
            return count
        count += 1


def inherited() -> dict[str, list[str]]:
    """Everything of the worker's that a child might have."""
    sockets = [fd for fd in os.listdir("/proc/self/fd") if _is_socket(int(fd))]
    return {
        "threads": [thread.name for thread in threading.enumerate()],
        "sockets": sockets,
        "environment": sorted(os.environ),
        "modules": sorted(sys.modules),
        "core": [str(each) for each in resource.getrlimit(resource.RLIMIT_CORE)],
    }


def lie(message: bytes, size: int) -> int:
    """Answer by hand: what a child sends that somebody else controls."""
    (fd,) = [int(fd) for fd in os.listdir("/proc/self/fd") if _is_socket(int(fd))]
    with socket.socket(fileno=fd) as channel:
        channel.sendall(struct.pack("<Q", size) + message)
        signal.pause()
    return 0


def _is_socket(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket")
    except OSError:
        return False
