"""Schedules in cron syntax: ticks over changes of the clock, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.cron import check_schedule, latest_tick, next_tick
from shared.errors import InvalidRequest

BERLIN = "Europe/Berlin"


def ticks(schedule: str, first: datetime, count: int) -> list[str]:
    found = []
    for _ in range(count):
        tick = next_tick(schedule, BERLIN, first)
        assert tick is not None
        found.append(f"{tick:%m-%d %H:%M}")
        first = tick
    return found


def test_an_hour_that_the_clock_skips_ticks_once_after_it():
    # On 29 March 2026, 2:00 in Berlin is followed by 3:00, which is 1:00 UTC.
    assert ticks("30 2 * * *", datetime(2026, 3, 28, 0, tzinfo=UTC), 3) == [
        "03-28 01:30",
        "03-29 01:00",
        "03-30 00:30",
    ]


def test_an_hour_that_comes_twice_ticks_once():
    # On 25 October 2026, 2:00 to 3:00 in Berlin comes twice: from 0:00 and from 1:00 UTC.
    assert ticks("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
        "10-25 00:30",
        "10-26 01:30",
    ]


def test_the_latest_tick_is_the_last_that_has_come():
    first = datetime(2026, 1, 1, 1, tzinfo=UTC)

    assert latest_tick("0 2 * * *", BERLIN, first, first) == first
    late = latest_tick("0 2 * * *", BERLIN, first, first + timedelta(days=9, hours=23))
    assert late == first + timedelta(days=9)


@pytest.mark.parametrize(
    ("schedule", "timezone", "says"),
    [
        ("61 * * * *", "UTC", "schedule: is not valid"),
        ("* * * *", "UTC", "schedule: must have 5 fields"),
        ("0 0 0 2 * *", "UTC", "schedule: must have 5 fields"),
        ("@daily", "UTC", "schedule: must have 5 fields"),
        ("0 2 31 2 *", "UTC", "schedule: "),
        ("0 2 * * *", "Europe/Nowhere", "timezone: is not a known time zone"),
        ("0 2 * * *", "../etc/passwd", "timezone: is not a known time zone"),
        ("0 2 * * *", "", "timezone: is not a known time zone"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str, timezone: str, says: str):
    with pytest.raises(InvalidRequest, match=says):
        check_schedule(schedule, timezone)
