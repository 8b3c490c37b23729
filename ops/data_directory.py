"""The launcher's data directory: who has it, and the first key in it.

lock          held while a launcher, or a server that writes here, lives; names the launcher
key           the first key, for the owner of the directory
objects/      the object store      redis/      the embedded server
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from api.services.auth import Authenticator
from api.services.keys import create_key
from shared import ids
from shared.errors import (
    ConfigurationError,
    Conflict,
    InvalidKey,
    InvalidKeyFormat,
    MissingKey,
)
from shared.ports import ObjectStore

KEY = "key"
_LOCK = "lock"


@contextmanager
def held(directory: Path, *, patience_s: float) -> Iterator[int]:
    """Hold the directory exclusively; the yielded file descriptor holds it in a child as well.

    Args:
        directory: Made if there is none, for its owner only.
        patience_s: How long to wait for what a launcher that was killed has left running.

    Raises:
        Conflict: Another launcher has it.
        ConfigurationError: It cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise ConfigurationError(
            f"the data directory {directory} cannot be used: {exc.strerror}"
        ) from exc
    try:
        _take(lock, directory, patience_s)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def first_key(store: ObjectStore, directory: Path, *, now: datetime) -> str | None:
    """A key for this machine's user, stored in the directory; None if the one of an earlier start
    is valid. A secret is shown once.

    Raises:
        Unavailable: The store is away.
    """
    path = directory / KEY
    with suppress(FileNotFoundError, InvalidKey, InvalidKeyFormat, MissingKey):
        secret = path.read_text().strip()
        Authenticator(store, cache_s=0).caller(f"Bearer {secret}")
        return None
    secret, _ = create_key(
        store, name="first key", account="default", scopes=(), created_at=now, expires_at=None
    )
    fresh = path.with_name(f".{KEY}.{ids.token()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    fresh.replace(path)
    return secret


def _take(lock: int, directory: Path, patience_s: float) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
    if not _is_gone(pid):
        raise Conflict(
            f"the data directory {directory} is in use by process {pid or 'unknown'}; "
            "stop that one, or set PIGEONHOLE_DATA_DIR to another"
        )
    # A lock has no deadline of its own: it is awaited by a thread that may be left behind.
    waiting = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX), daemon=True)
    waiting.start()
    waiting.join(patience_s)
    if waiting.is_alive():
        raise Conflict(
            f"the data directory {directory} is still used by a child of process {pid}, "
            "which has ended; look for a redis-server or valkey-server process and stop it"
        )


def _is_gone(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, PermissionError):
        pass
    return False
