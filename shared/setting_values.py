"""The values of settings: how the text of a variable is parsed and checked."""

from __future__ import annotations

import re
from typing import Any, Literal, Self, get_args, get_origin

from shared.errors import ConfigurationError

_MAX_DURATION_S = 36_525 * 86_400  # deadlines are also dates, which end with the year 9999


class Bytes(int):
    """A number of bytes. Its text may have a unit of 1000 (`2GB`) or of 1024 (`1.5GiB`).

    >>> Bytes("1.5GiB"), Bytes("2GB"), Bytes("512")
    (1610612736, 2000000000, 512)
    """

    def __new__(cls, value: int | str) -> Self:
        """Parse a text; ValueError if it is not a size."""
        if isinstance(value, str):
            size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B)?\s*", value, re.I | re.A)
            if size is None:
                raise ValueError(value)
            number, unit, binary = size.groups()
            power = "KMGT".index(unit.upper()) + 1 if unit else 0
            value = int(float(number) * (1024 if binary else 1000) ** power) if unit else int(value)
        return super().__new__(cls, value)


def parse(variable: str, text: str, kind: Any, minimum: float | None) -> Any:
    """The parsed value of one variable.

    Args:
        variable: Its name, for errors; one that ends with `_S` is a time in seconds.
        text: Its text.
        kind: The type of the setting.
        minimum: The least value of a number.

    Raises:
        ConfigurationError: It is not of the kind, or outside its range.
    """
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ConfigurationError(
                f"{variable} is {text!r}; it must be one of {', '.join(get_args(kind))}"
            )
        return text
    if kind is bool:
        if text.lower() not in {"1", "0", "true", "false", "yes", "no"}:
            raise ConfigurationError(f"{variable} is {text!r}; it must be true or false")
        return text.lower() in {"1", "true", "yes"}
    try:
        value = kind(text)
    except ValueError:
        raise ConfigurationError(
            f"{variable} is {text!r}; it must be of type {kind.__name__}"
        ) from None
    if minimum is not None and not value >= minimum:
        raise ConfigurationError(f"{variable} is {text}; it must be at least {minimum:g}")
    if isinstance(value, float) and value == float("inf"):
        raise ConfigurationError(f"{variable} is {text}; it must be finite")
    if variable.endswith("_S") and value > _MAX_DURATION_S:
        raise ConfigurationError(
            f"{variable} is {text}; it must be at most {_MAX_DURATION_S} seconds (100 years)"
        )
    return value
