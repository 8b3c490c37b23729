"""An exclusive lock on a file, with a deadline, between threads and between processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import StoreUnavailable

_FIRST_PAUSE_S = 0.0005
_MAX_PAUSE_S = 0.02


@contextmanager
def hold(path: str, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a path while the block runs; the kernel frees it if the process dies.

    Args:
        path: The lock's file, made if need be. It is never removed: a lock on a removed file
            excludes no other process.
        timeout_s: How long to wait for other holders.

    Raises:
        StoreUnavailable: Another process held the lock for all that time.
        OSError: The file cannot be opened or locked.
    """
    # Opened anew for each hold: a lock belongs to the open file, so a descriptor shared by
    # threads, or inherited through fork, would let both in.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _acquire(descriptor, timeout_s)
        try:
            yield
        finally:
            # Not left to close: a child forked meanwhile has a copy that would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, timeout_s: float) -> None:
    ends_at = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() > ends_at:
                raise StoreUnavailable(
                    f"Another writer has held the object's lock for {timeout_s:g} seconds."
                ) from exc
            # The kernel has no lock call with a deadline, so this one wait polls.
            threading.Event().wait(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        else:
            return
