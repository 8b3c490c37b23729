"""Frames of pandas and polars in and out. Neither is imported unless the caller has done so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pigeonhole_client.errors import ConfigurationError

Frame = TypeVar("Frame")


def is_frame(value: object) -> bool:
    """Whether a value is a DataFrame of pandas or polars."""
    return _library(value) is not None and type(value).__name__ == "DataFrame"


def is_series(value: object) -> bool:
    """Whether a value is a Series of pandas or polars."""
    return _library(value) is not None and type(value).__name__ == "Series"


def column(frame: Any, name: str) -> list[Any]:
    """The values of a column; missing ones are None.

    Raises:
        ConfigurationError: The frame has no such column.
    """
    if name not in list(frame.columns):
        known = ", ".join(map(str, frame.columns))
        raise ConfigurationError(f"the frame has no column {name!r}; it has {known}")
    return values(frame[name])


def values(series: Any) -> list[Any]:
    """The values of a series; missing ones are None."""
    # NaN, NaT and pandas.NA are the values that do not equal themselves, or cannot tell.
    return [None if _is_missing(value) else value for value in series.to_list()]


def with_columns(frame: Frame, columns: Mapping[str, Sequence[Any]]) -> Frame:
    """A copy of the frame with more columns, row by row; one of the same name is replaced."""
    if _library(frame) == "polars":
        import polars

        made = [polars.Series(name, list(each), strict=False) for name, each in columns.items()]
        return frame.with_columns(made)  # type: ignore[attr-defined,no-any-return]
    return frame.assign(  # type: ignore[attr-defined,no-any-return]
        **{name: list(each) for name, each in columns.items()}
    )


def _library(value: object) -> str | None:
    top = type(value).__module__.partition(".")[0]
    return top if top in {"pandas", "polars"} else None


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA has no truth value
        return True
    except ValueError:  # an array in a cell
        return False
