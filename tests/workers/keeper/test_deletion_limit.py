"""A wrong clock or listing costs no more than a share before it is noticed."""

from __future__ import annotations

import pytest

from shared import ids, object_keys
from tests.fakes import FakeStore
from workers.keeper.deletion_limit import DeletionLimit
from workers.keeper.retention import expire_uploads


class Time:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def limit(time: Time) -> DeletionLimit:
    return DeletionLimit("jobs", wait_s=600, monotonic=time)


@pytest.mark.parametrize(("expired", "kept"), [(0, 0), (100, 0), (101, 404), (5000, 20_000)])
def test_a_small_share_goes_at_once(limit: DeletionLimit, expired: int, kept: int):
    assert len(limit.allowed(range(expired), range(kept))) == expired


@pytest.mark.parametrize(("expired", "kept"), [(174, 0), (101, 0), (501, 2000), (10**5, 0)])
def test_a_large_one_is_looked_at_twice(limit: DeletionLimit, expired: int, kept: int):
    assert len(limit.allowed(range(expired), range(kept))) == 0


def test_after_an_interval_it_goes_in_steps_the_oldest_first(limit: DeletionLimit, time: Time):
    old = list(range(2000))
    limit.allowed(old, ())
    time.s = 599
    assert not limit.allowed(old, ())  # a sweep that was tried again is no second look
    steps = []
    while old:
        time.s += 600
        allowed = limit.allowed(old, ())
        assert list(allowed) == old[: len(allowed)]
        steps.append(len(allowed))
        old = old[len(allowed) :]

    assert steps[:3] == [400, 320, 256]
    assert max(steps[3:]) <= 205


def test_the_next_time_is_a_first_look_again(limit: DeletionLimit, time: Time):
    limit.allowed(range(200), ())
    time.s = 600
    assert len(limit.allowed(range(200), ())) == 100
    assert len(limit.allowed(range(100), ())) == 100

    time.s = 1200

    assert not limit.allowed(range(200), ())


def test_what_is_kept_is_counted_only_as_far_as_it_matters(limit: DeletionLimit):
    kept = iter(range(10**6))

    assert len(limit.allowed(range(200), kept)) == 200

    assert next(kept) == 800


def test_a_sweep_of_uploads_keeps_to_it(limit: DeletionLimit, time: Time):
    """All kinds are cut alike; of this one the names are cheap to make."""
    store = FakeStore()
    made = [ids.upload_id(1000 * at, ids.random_bits()) for at in range(150)]
    for number, upload in enumerate(made):
        store.put(object_keys.upload_record(f"account-{number % 3}", upload), b"{}")

    assert expire_uploads(store, before=1e6, limit=limit) == 0
    time.s = 600
    assert expire_uploads(store, before=1e6, limit=limit) == 100

    left = {name.split("/")[2] for name in store.list(object_keys.UPLOADS)}
    assert left == set(made[100:])
