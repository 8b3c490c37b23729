"""What a process and its children take of the machine, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_MIB = 2**20 / os.sysconf("SC_PAGE_SIZE")  # in pages
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class ProcessUsage:
    """By one process, or by several together. `cpu_s` is processor time since each began."""

    rss_mib: float = 0.0
    descriptors: int = 0
    threads: int = 0
    cpu_s: float = 0.0

    def plus(self, other: ProcessUsage) -> ProcessUsage:
        """By both."""
        return ProcessUsage(
            rss_mib=self.rss_mib + other.rss_mib,
            descriptors=self.descriptors + other.descriptors,
            threads=self.threads + other.threads,
            cpu_s=self.cpu_s + other.cpu_s,
        )


def taken(pid: int = 0) -> tuple[ProcessUsage, ProcessUsage]:
    """By a process, or this one; by those that it started and by theirs."""
    pid = pid or os.getpid()
    children = ProcessUsage()
    for each in _below(pid):
        children = children.plus(_taken(each))
    return _taken(pid), children


def cpu_s(pid: int = 0) -> float:
    """Processor time that a process, or this one, and its living children have taken."""
    own, children = taken(pid)
    return own.cpu_s + children.cpu_s


def _taken(pid: int) -> ProcessUsage:
    place = Path(f"/proc/{pid}")
    try:
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html; fields from the third on
        stat = (place / "stat").read_text().rpartition(")")[2].split()
        return ProcessUsage(
            rss_mib=int((place / "statm").read_text().split()[1]) / _MIB,
            descriptors=len(os.listdir(place / "fd")),
            threads=int(stat[17]),
            cpu_s=(int(stat[11]) + int(stat[12])) * _TICK_S,
        )
    except OSError:
        return ProcessUsage()  # it has just ended


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            started = [int(each) for each in children.read_text().split()]
        except OSError:
            continue  # the thread has just ended
        for child in started:
            found += [child, *_below(child)]
    return found
