"""When free memory goes back, and when a process counts as full."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import pytest

from workers.process_memory import MemoryGuard, bound_of, limit_heaps, rss_bytes, trim

MIB = 2**20


class Process:
    """Takes so much memory, of which so much is free."""

    def __init__(self, used_mib: int) -> None:
        self.used_mib = used_mib
        self.free_mib = 0
        self.trimmed = 0
        self.now = 0.0

    def rss_bytes(self) -> int:
        return (self.used_mib + self.free_mib) * MIB

    def trim(self) -> None:
        self.free_mib = 0
        self.trimmed += 1

    def guard(self, max_mib: int = 0) -> MemoryGuard:
        guard = MemoryGuard(
            max_bytes=max_mib * MIB,
            on_full=lambda: None,
            rss_bytes=self.rss_bytes,
            trim=self.trim,
            clock=lambda: self.now,
        )
        guard.measure_fresh()
        return guard

    def seconds_until_full(self, guard: MemoryGuard, max_s: int = 60) -> int | None:
        for second in range(max_s):
            if guard.look():
                return second
            self.now += 1
        return None


def test_free_memory_goes_back_every_few_seconds_and_only_if_there_may_be_some():
    process = Process(used_mib=100)
    guard = process.guard()

    process.seconds_until_full(guard)
    assert process.trimmed == 0

    process.free_mib = 50
    process.seconds_until_full(guard)
    assert process.trimmed == 1


def test_without_a_bound_no_process_is_full():
    process = Process(used_mib=100)
    guard = process.guard()
    process.used_mib = 100_000

    assert process.seconds_until_full(guard) is None
    assert process.trimmed <= 7  # once in ten seconds, however much it is


def test_what_is_only_free_does_not_fill_a_process():
    process = Process(used_mib=100)
    guard = process.guard(max_mib=200)
    process.free_mib = 500

    assert process.seconds_until_full(guard) is None


def test_a_process_is_full_when_it_stays_above_its_bound():
    process = Process(used_mib=100)
    guard = process.guard(max_mib=200)
    process.used_mib = 201
    assert not guard.look()
    process.now += 1
    process.used_mib = 150
    assert not guard.look()

    process.used_mib = 201
    assert process.seconds_until_full(guard) == 3


def test_a_bound_that_a_fresh_process_is_above_is_raised():
    process = Process(used_mib=100)
    guard = process.guard(max_mib=50)

    assert process.seconds_until_full(guard) is None
    process.used_mib = 111
    assert process.seconds_until_full(guard) == 3


def test_whoever_replaces_the_process_is_called_once():
    process, called = Process(used_mib=100), threading.Event()
    guard = MemoryGuard(
        max_bytes=200 * MIB, on_full=called.set, rss_bytes=process.rss_bytes, trim=process.trim
    )
    guard.start()
    process.used_mib = 300

    assert called.wait(30)
    assert guard.full
    assert guard.healthy()


@pytest.mark.parametrize(
    ("files", "bound"),
    [
        ({"memory.max": "1000000000\n"}, 800_000_000),
        ({"memory.max": "max\n"}, 0),
        ({"memory/memory.limit_in_bytes": "2000000000"}, 1_600_000_000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, 0),
        ({}, 0),
    ],
)
def test_without_a_setting_the_bound_is_a_share_of_the_containers_limit(
    tmp_path: Path, files: dict[str, str], bound: int
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert bound_of(0, cgroup=tmp_path) == bound
    assert bound_of(123, cgroup=tmp_path) == 123


def test_freed_memory_goes_back_to_the_system():
    limit_heaps()
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(64 * 1024) for _ in range(1600)]  # 100 MiB
    for block in blocks:
        ctypes.memset(block, 1, 64 * 1024)
    held = libc.malloc(64 * 1024)  # or the end of the heap would be free: that goes by itself
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    before = rss_bytes()

    trim()

    assert rss_bytes() < before - 50 * MIB
    libc.free(ctypes.c_void_p(held))
