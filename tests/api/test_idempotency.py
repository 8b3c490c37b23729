from __future__ import annotations

import re

import pytest

from api.openapi.model import IDEMPOTENCY_KEY
from api.services.idempotency import Idempotency, Reservation, StoredAnswer, pack
from shared.errors import Conflict, InvalidRequest
from tests.clock import Clock
from tests.fakes import FakeStore

GOOD, BAD = pack(200, {}, b"good"), pack(503, {}, b"bad")


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


class TestKeys:
    """The server takes the keys that the OpenAPI document describes, and no others."""

    GOOD = ("a", "order 4711", '"order 4711"', 'a"b', '""x""', "~" * 255, f'"{"~" * 255}"')
    BAD = ("", '""', '"', '"a', "~" * 256, f'"{"~" * 256}"', "ö", "a\tb", "a\x00", "a\x7f", "a\xa0")

    @pytest.mark.parametrize("key", GOOD)
    def test_it_is_taken_and_described(self, uses: Idempotency, key: str):
        assert isinstance(uses.begin("acme", key, b"", reserve_s=60), Reservation)
        assert re.search(IDEMPOTENCY_KEY.schema["pattern"], key)

    @pytest.mark.parametrize("key", BAD)
    def test_it_is_neither_taken_nor_described(self, uses: Idempotency, key: str):
        with pytest.raises(InvalidRequest, match="Idempotency-Key"):
            uses.begin("acme", key, b"", reserve_s=60)
        assert not re.search(IDEMPOTENCY_KEY.schema["pattern"], key)

    def test_quotes_and_blanks_around_it_are_no_part_of_it(self, uses: Idempotency):
        uses.begin("acme", ' "order 4711" ', b"", reserve_s=60)

        with pytest.raises(Conflict):
            uses.begin("acme", "order 4711", b"", reserve_s=60)


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
