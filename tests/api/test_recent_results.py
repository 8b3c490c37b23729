"""Entries of the result cache in the memory of an API process."""

from __future__ import annotations

import pytest

from api.services.recent_results import KEPT_S, RecentResults
from shared.errors import BrokerUnavailable
from tests.fakes import FakeResultCache


class World:
    """A result cache with a process in front of it, and their clock."""

    def __init__(self, *, max_bytes: int = 2**20) -> None:
        self.now = 1000.0
        self.shared = FakeResultCache(lambda: self.now)
        self.process = self.new_process(max_bytes=max_bytes)

    def new_process(self, *, max_bytes: int = 2**20) -> RecentResults:
        return RecentResults(self.shared, max_bytes=max_bytes, clock=lambda: self.now)

    def found(self, key: bytes = b"k", account: str = "acme") -> bytes | None:
        entry = self.process.get(account, [key]).get(key)
        return None if entry is None else entry.data


@pytest.fixture
def world() -> World:
    return World()


def test_a_second_lookup_and_one_after_a_write_need_no_redis(world: World):
    world.shared.put("acme", {b"k": b"read"}, ttl_s=3600)
    world.process.put("acme", {b"own": b"written"}, ttl_s=3600)
    assert world.found() == b"read"
    world.shared.away = True

    assert world.found() == b"read"
    assert world.found(b"own") == b"written"
    with pytest.raises(BrokerUnavailable):
        world.found(b"unknown")


def test_an_entry_has_its_age_and_lives_no_longer_than_in_redis(world: World):
    world.process.put("acme", {b"k": b"data"}, ttl_s=50)
    world.now += 20
    world.process = world.new_process()
    assert world.found() == b"data"
    world.now += 29

    assert world.process.get("acme", [b"k"])[b"k"].age_s == 49
    world.now += 1
    assert world.found() is None


def test_an_entry_is_read_again_after_a_while(world: World):
    world.process.put("acme", {b"k": b"old"}, ttl_s=3600)
    world.shared.entries.clear()
    world.now += KEPT_S - 1
    assert world.found() == b"old"
    world.now += 1

    assert world.found() is None


def test_accounts_do_not_share(world: World):
    world.process.put("acme", {b"k": b"data"}, ttl_s=3600)

    assert world.found(account="umbrella") is None


def test_only_what_is_missing_is_looked_up(world: World):
    world.process.put("acme", {b"k": b"data"}, ttl_s=3600)
    world.shared.put("acme", {b"other": b"more"}, ttl_s=3600)
    del world.shared.entries["acme", b"k"]

    assert world.process.get("acme", [b"k", b"other"]).keys() == {b"k", b"other"}


def test_memory_is_bounded():
    world = World(max_bytes=10_000)
    for number in range(20):
        world.process.put("acme", {b"%d" % number: bytes(1000)}, ttl_s=3600)
    world.shared.away = True

    assert world.process._recent.size_bytes <= 10_000
    assert world.found(b"19") == bytes(1000)
    with pytest.raises(BrokerUnavailable):
        world.found(b"0")
