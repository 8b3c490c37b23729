"""What the commands of the operator share: the store, the time, types of arguments, and tables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from shared.accounts import is_account_id
from shared.adapters.store_factory import store_of
from shared.errors import ConfigurationError
from shared.ports import ObjectStore
from shared.settings import Settings

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def service_store(env: Mapping[str, str]) -> ObjectStore:
    """The store of the service that the environment names.

    Raises:
        ConfigurationError: It is to be the launcher's, and no launcher has run here: a key made
            there would open nothing.
    """
    settings = Settings.from_env(env)
    if not settings.object_store and not (settings.data_dir / "objects").is_dir():
        raise ConfigurationError(
            f"no service data in {settings.data_dir.absolute()}; change to the directory "
            "where the service was started, or set PIGEONHOLE_DATA_DIR or "
            "PIGEONHOLE_OBJECT_STORE"
        )
    return store_of(settings)


def store_time(store: ObjectStore) -> datetime:
    """The time by the object store's clock: that of an operator's machine may be wrong."""
    return datetime.fromtimestamp(store.now(), UTC)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def account_id(text: str) -> str:
    """An argument that is the id of an account."""
    if not is_account_id(text):
        raise argparse.ArgumentTypeError(
            "an account name may have a-z, 0-9, - and _, and at most 64 characters"
        )
    return text


def duration(text: str) -> timedelta:
    """An argument such as `30d`."""
    try:
        if length := re.fullmatch(r"(\d+)([hdw])", text):
            return timedelta(**{_UNITS[length[2]]: int(length[1])})
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30d, 12h or 2w")


def date(text: str) -> datetime | timedelta:
    """An argument that is a duration or a date; a date without an offset is UTC."""
    try:
        if re.fullmatch(r"\d+[hdw]", text):
            return duration(text)
        parsed = datetime.fromisoformat(text)
    except (argparse.ArgumentTypeError, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration such as 30d nor a date"
        ) from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def end_of(given: datetime | timedelta | None, now: datetime) -> datetime | None:
    """When a key expires.

    Raises:
        ConfigurationError: It has passed, or the calendar does not reach so far.
    """
    try:
        end = now + given if isinstance(given, timedelta) else given
    except OverflowError:
        raise ConfigurationError("--expires is too far in the future") from None
    if end is not None and end <= now:
        raise ConfigurationError(f"--expires: {end:%Y-%m-%d %H:%M} has passed")
    return end
