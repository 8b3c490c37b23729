"""What a parser may do when its bytes have taken it over; run by the tests of the sandbox."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.errors import InvalidLabels, InvalidRequest, UnreadableInput


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


def give_up() -> int:
    os.abort()  # as PDFium does where it gets no memory


def leave(status: int) -> int:
    os._exit(status)


def refuse(kind: Literal["input", "request", "labels"]) -> int:
    if kind == "input":
        raise UnreadableInput("has 2,500 megapixels\n; at most 100 are read")
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
