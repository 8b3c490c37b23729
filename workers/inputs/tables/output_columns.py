"""Columns of the output, and the text form of values for formats without types."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Literal

import msgspec

Values = dict[str, object]
Scalar = Literal["text", "number", "integer", "boolean"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class ListOf:
    """The type of lists whose values have one type."""

    values: Type


@dataclass(frozen=True)
class Struct:
    """The type of objects: the type of each field, by its name."""

    fields: tuple[tuple[str, Type], ...]


Type = Scalar | ListOf | Struct


@dataclass(frozen=True, kw_only=True)
class OutputColumn:
    """A column of the output. Its type applies to Parquet; other formats write any value.

    A `text` column writes other values as JSON; CSV writes lists and objects as JSON.
    """

    name: str
    type: Type = "text"


def text_of(value: object) -> str | None:
    """The text form of a value; None for null.

    >>> text_of("a"), text_of(1.5), text_of(True), text_of({"a": [1]})
    ('a', '1.5', 'true', '{"a":[1]}')
    >>> text_of(float("nan")), text_of(float("-inf"))
    ('NaN', '-Infinity')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _encode(value).decode()
