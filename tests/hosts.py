"""Hosts of a test's own on one machine, each with a slow and lossy link to the servers.

With root and `ip`, a host is a network namespace: it has an address and a loopback of its own, and
its cable to the bridge can be pulled. Where that is not permitted, the hosts share the loopback of
the machine, and a link that is cut is a relay that is frozen.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.servers import HOST, free_port
from tests.stack import Stack

_NET = "198.18.77"  # of the addresses for tests of networks (RFC 2544)
_PREFIX = "ph"  # of the names of interfaces, which have at most 15 characters


class Network(Protocol):
    """What joins hosts."""

    def join(self, name: str) -> str:
        """Add a host; its address."""

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """What runs a command on a host, in the process that is started."""

    def port(self) -> int:
        """A port that is free on a host that has just joined."""

    def cut(self, name: str) -> bool:
        """Pull the cable of a host; False if the network has none."""

    def mend(self, name: str) -> None:
        """Plug it in again."""

    def close(self) -> None:
        """Leave nothing behind."""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


def why_no_namespaces() -> str:
    """Why network namespaces cannot be had; empty: they can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    name = f"{_PREFIX}{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "exec", name, "ip", "link", "add", "name", "try0", "type", "bridge")
        _ip("netns", "delete", name)
    except subprocess.CalledProcessError as exc:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        return f"network namespaces are not permitted here: {exc.stderr.strip()}"
    return ""


class Namespaces:
    """A bridge on this machine, and a network namespace with a cable to it for each host."""

    def __init__(self) -> None:
        self._id = f"{_PREFIX}{os.getpid()}"
        self._names: list[str] = []
        self._bridge = f"{self._id}b"
        _ip("link", "add", "name", self._bridge, "type", "bridge")
        _ip("address", "add", f"{_NET}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def join(self, name: str) -> str:
        self._names.append(name)
        number = len(self._names)
        space, cable = f"{self._id}-{name}", self._cable(name)
        address = f"{_NET}.{number + 1}"
        _ip("netns", "add", space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", cable, "master", self._bridge, "up")
        _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        return address

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", f"{self._id}-{name}", *command]

    def port(self) -> int:
        return free_port()

    def cut(self, name: str) -> bool:
        _ip("link", "set", self._cable(name), "down")
        return True

    def mend(self, name: str) -> None:
        _ip("link", "set", self._cable(name), "up")

    def close(self) -> None:
        for name in self._names:
            with suppress(subprocess.CalledProcessError):
                _ip("link", "delete", self._cable(name))
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", f"{self._id}-{name}")
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)

    def _cable(self, name: str) -> str:
        return f"{self._id}v{self._names.index(name)}"


class Loopback:
    """All hosts at the address of this machine, on ports of their own."""

    def join(self, name: str) -> str:
        return HOST

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        return list(command)

    def port(self) -> int:
        return free_port()

    def cut(self, name: str) -> bool:
        return False

    def mend(self, name: str) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class Host:
    """A host with a relay for each server that it reaches, under one process."""

    name: str
    address: str
    port: int = 0  # of its API
    programs: list[str] = field(default_factory=list)  # names of its processes, the relay first


class Hosts(Stack):
    """A stack whose parts stand on hosts.

    Servers are added first; then hosts, each of which reaches the servers through a relay.
    """

    def __init__(self, folder: Path, network: Network, **settings: object) -> None:
        super().__init__(folder, **settings)
        self.network = network
        self.hosts: dict[str, Host] = {}
        self.servers: dict[str, tuple[str, int]] = {}
        self.other_key = ""  # of a second account

    def add_server(self, name: str, port: int, command: Sequence[str]) -> None:
        """Start a server on a host of its own. `{address}` in its command becomes its address."""
        host = self._join(name)
        command = [word.format(address=host.address) for word in command]
        self.start(name, *self.network.inside(name, command))
        host.programs.append(name)
        self.servers[name] = (host.address, port)

    def add_host(
        self, name: str, *command: str, delay_ms: float, loss: float, **settings: str
    ) -> None:
        """Start a host: its relay, then its program.

        In `settings`, `{redis}` stands for the port of the relay to the server `redis`, and so on.
        """
        host = self._join(name)
        host.port = self.network.port()
        ports = {server: self.network.port() for server in self.servers}
        ways = [f"{ports[s]}={host_}:{port}" for s, (host_, port) in self.servers.items()]
        relay = [sys.executable, "-S", "-m", "tests.relay", str(delay_ms), str(loss), name, *ways]
        self._start(host, f"{name}.relay", relay)
        values = {"host": host.address, "port": str(host.port), **settings}
        words = [f"PIGEONHOLE_{n.upper()}={v.format(**ports)}" for n, v in values.items()]
        self._start(host, name, ["env", *words, *command])

    def at(self, name: str, *, key: str = "") -> Hosts:
        """The same stack, called at the API of a host, by another key if one is given."""
        view = copy.copy(self)
        view.host, view.port = self.hosts[name].address, self.hosts[name].port
        view.key = key or self.key
        return view

    def cut(self, name: str) -> None:
        """Nothing that a host sends arrives, and nothing is sent to it; nobody is told."""
        if not self.network.cut(name):
            self.send(self.hosts[name].programs[0], signal.SIGSTOP)

    def mend(self, name: str) -> None:
        """The host is there again, with all connections that it did not give up meanwhile."""
        self.network.mend(name)
        self.send(self.hosts[name].programs[0], signal.SIGCONT)

    def kill_host(self, name: str) -> None:
        """End every process of a host at once; its address answers nothing any more."""
        self.network.cut(name)
        for program in self.hosts[name].programs:
            self.send(program, signal.SIGKILL)
        for program in self.hosts[name].programs:
            self.processes[program].wait(20)

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self.network.close()

    def _join(self, name: str) -> Host:
        self.hosts[name] = Host(name=name, address=self.network.join(name))
        return self.hosts[name]

    def _start(self, host: Host, name: str, command: Sequence[str]) -> None:
        self.start(name, *self.network.inside(host.name, command))
        host.programs.append(name)
