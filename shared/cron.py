"""Schedules in cron syntax: their ticks in a time zone.

A tick in an hour that the clock skips comes once, right after it; one in an hour that comes twice
comes once (https://github.com/cuu508/cronsim, which follows Debian's cron).
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from shared.validation import refuse

_MAX_TICKS = 200_000  # a schedule of each minute, for half a year


def check_schedule(schedule: str, timezone: str) -> None:
    """Refuse a schedule or a time zone that is none.

    Raises:
        InvalidRequest: One of them is wrong.
    """
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, OSError, ValueError):  # `ZoneInfoNotFoundError` is a KeyError
        refuse("timezone", "is not a known time zone; use a name such as Europe/Berlin or UTC")
    if len(schedule.split()) != 5:
        refuse("schedule", "must have 5 fields of cron, such as '0 2 * * *' for each night at 2")
    try:
        ticks = CronSim(schedule, datetime(2026, 1, 1, tzinfo=zone))
        if next(ticks, None) is None:
            refuse("schedule", "never comes: check the day and the month")
    except CronSimError as exc:
        refuse(
            "schedule",
            f"is not valid ({exc}); use 5 fields such as '0 2 * * *' for each night at 2",
        )


def next_tick(schedule: str, timezone: str, after: datetime) -> datetime | None:
    """The first tick after a time, in UTC; None if there is none within 50 years.

    >>> next_tick("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 2, tzinfo=UTC))
    datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)
    """
    tick = next(CronSim(schedule, after.astimezone(ZoneInfo(timezone))), None)
    return None if tick is None else tick.astimezone(UTC)


def latest_tick(schedule: str, timezone: str, first: datetime, now: datetime) -> datetime:
    """The last tick up to `now`, where `first` is one of them.

    >>> first = datetime(2026, 1, 1, 2, tzinfo=UTC)
    >>> latest_tick("0 2 * * *", "UTC", first, datetime(2026, 1, 4, 1, tzinfo=UTC)).day
    3
    """
    latest = first
    ticks = CronSim(schedule, first.astimezone(ZoneInfo(timezone)))
    for tick in islice(ticks, _MAX_TICKS):
        if tick.astimezone(UTC) > now:
            break
        latest = tick.astimezone(UTC)
    return latest
