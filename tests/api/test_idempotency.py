from __future__ import annotations

import pytest

from api.services.idempotency import Idempotency, Reservation, StoredAnswer, pack
from shared.errors import Conflict
from tests.fakes import FakeStore

GOOD, BAD = pack(200, {}, b"good"), pack(503, {}, b"bad")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uses(clock: Clock) -> Idempotency:
    return Idempotency(store=FakeStore(), keep_s=3600, clock=clock)


def begin(uses: Idempotency) -> Reservation | StoredAnswer:
    return uses.begin("acme", "one", b"payload", reserve_s=60)


def reserve(uses: Idempotency) -> Reservation:
    held = begin(uses)
    assert isinstance(held, Reservation)
    return held


class TestTakenOver:
    """A first call that outlives its reservation, because its process stood still."""

    def test_it_does_not_free_the_key_of_the_second(self, uses: Idempotency, clock: Clock):
        first = reserve(uses)
        clock.now += 61
        second = reserve(uses)

        uses.finish(first, BAD)

        assert second.use.job_id == first.use.job_id
        with pytest.raises(Conflict):
            begin(uses)

    def test_it_does_not_replace_the_answer_of_the_second(self, uses: Idempotency, clock: Clock):
        first = reserve(uses)
        clock.now += 61
        uses.finish(reserve(uses), GOOD)

        uses.finish(first, pack(200, {}, b"late"))

        assert begin(uses) == GOOD


def test_a_freed_key_makes_another_job(uses: Idempotency):
    first = reserve(uses)
    uses.finish(first, BAD)

    assert reserve(uses).use.job_id != first.use.job_id


class TestLettingGo:
    def test_a_failure_frees_the_key_for_another_job(self, uses: Idempotency):
        first = reserve(uses)

        uses.finish(first, BAD)

        assert reserve(uses).use.job_id != first.use.job_id

    def test_a_job_that_goes_on_is_the_same_job_the_next_time(self, uses: Idempotency):
        first = reserve(uses)

        uses.finish(first, pack(504, {"Location": "/v1/jobs/x"}, b"late"))

        assert reserve(uses).use.job_id == first.use.job_id
