"""When keys were last used, as the store has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api.services.key_uses import KeyUses
from api.services.keys import list_keys
from tests.api.conftest import World, make_world
from tests.clock import Clock
from tests.fakes import FakeStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return make_world(clock=clock)


def last_uses(world: World) -> list[datetime | None]:
    return [key.last_used_at for key in list_keys(world.store)]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_800_000_000.0 + seconds, UTC)


def count_writes(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    put = store.put

    def counted(name: str, data: Any, **conditions: Any) -> str:
        written.append(name)
        return put(name, data, **conditions)

    monkeypatch.setattr(store, "put", counted)
    return written


def test_a_use_is_shown_and_a_refused_one_is_not(world: World, clock: Clock):
    client = world.client()
    world.app.test_client().get("/v1/models", headers={"Authorization": "Bearer ph_wrong"})
    world.services.key_uses.flush()
    assert last_uses(world) == [None]

    clock.now += 5
    client.get("/v1/models")
    world.services.key_uses.flush()

    assert last_uses(world) == [at(5)]
    assert len([name for name in world.store.objects if name.startswith("key_uses/")]) == 1


def test_each_key_has_its_own(world: World, clock: Clock):
    one, two = world.client(), world.client()
    one.get("/v1/models")
    clock.now += 100
    two.get("/v1/models")
    world.services.key_uses.flush()

    assert sorted(last_uses(world)) == [at(0), at(100)]


def test_a_key_that_is_used_all_the_time_is_written_once_a_minute(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    client = world.client()
    written = count_writes(world.store, monkeypatch)

    for _ in range(301):
        client.get("/v1/models")
        world.services.key_uses.flush()
        clock.now += 1

    assert len(written) == 6
    assert last_uses(world) == [at(300)]


def test_two_processes_do_not_write_twice(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    others = [KeyUses(world.store, clock=clock) for _ in range(8)]
    written = count_writes(world.store, monkeypatch)

    for each in others:
        clock.now += 1
        each.note("abc")
        each.flush()

    assert len(written) == 1


def test_the_last_use_of_a_process_is_written_at_its_end(clock: Clock):
    world = make_world(clock=clock)
    uses, client = world.services.key_uses, world.client()
    client.get("/v1/models")
    uses.flush()
    clock.now += 90
    client.get("/v1/models")

    uses.start()
    uses.stop()

    assert last_uses(world) == [at(90)]


def test_while_the_store_is_away_it_waits(world: World, clock: Clock):
    client = world.client()
    client.get("/v1/models")
    world.store.away = True
    world.services.key_uses.flush()
    world.store.away = False
    clock.now += 10

    world.services.key_uses.flush()

    assert last_uses(world) == [at(0)]


def test_a_use_never_goes_back(world: World, clock: Clock):
    early, late = (KeyUses(world.store, clock=clock) for _ in range(2))
    world.client()
    early.note("abc")
    clock.now += 200
    late.note("abc")
    late.flush()
    early.flush()

    assert b"2027-01-15T08:03:20" in world.store.objects["key_uses/abc.json"].data
