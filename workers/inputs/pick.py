"""What is classified of a row, and its id, by the columns that were named; or why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from shared.normal_form import is_empty
from workers.inputs.header import listed
from workers.inputs.row import Fault, FaultCode

Kind = Literal["text", "image", "file"]

_EMPTY: dict[Kind, FaultCode] = {
    "text": "empty_text",
    "image": "empty_image",
    "file": "empty_file",
}


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """What is worked on: a text, or the address or the bytes in base64 of an image or a file.

    `id` is None where the row has none of its own: one made up might be that of another row.
    """

    id: str | None
    said: str


def pick(
    data: Mapping[str, object],
    number: int,
    *,
    column: str,
    kind: Kind = "text",
    id_column: str | None = None,
) -> Picked | Fault:
    """What is classified of a row, and its id.

    Args:
        data: the row.
        number: its number, which is its id where no column is named.
        column: must hold a text that is not blank.
        kind: of what the column holds.
        id_column: must be there; a whole number becomes its digits, null or a blank text no id.

    >>> pick({"id": 7.0, "text": "hello"}, 1, column="text", id_column="id")
    Picked(id='7', said='hello')
    >>> pick({"text": None}, 1, column="text")
    Fault(code='empty_text', message='is null: there is no text to classify', param='text')
    """
    found = data.get(column)
    if not isinstance(found, str):
        return _no_text(data, column, kind)
    if is_empty(found):
        what = "has no visible characters" if found.strip() else "is empty"
        return Fault(_EMPTY[kind], f"{what}: there is no {kind} to classify", column)
    if id_column is None:
        return Picked(id=str(number), said=found)
    if id_column not in data:
        return _missing(data, id_column)
    name = name_of(data[id_column])
    if name is None:
        return Fault("invalid_id", "must be a text or a whole number", id_column)
    return Picked(id=name or None, said=found)


def own_id(data: Mapping[str, object] | None, number: int, id_column: str | None) -> str | None:
    """The id of a row that may be wrong elsewhere; None where it has none of its own.

    >>> own_id(None, 3, None), own_id({"id": 7.0}, 3, "id"), own_id({"id": []}, 3, "id")
    ('3', '7', None)
    """
    if id_column is None:
        return str(number)
    return name_of((data or {}).get(id_column)) or None


def name_of(value: object) -> str | None:
    """An id or a class as text, empty where there is none; None where the value cannot be one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    # A column of whole numbers in which one is missing is written as doubles by pandas.
    if isinstance(value, float) and (value.is_integer() or math.isnan(value)):
        return "" if math.isnan(value) else str(int(value))
    return None


def _no_text(data: Mapping[str, object], column: str, kind: Kind) -> Fault:
    if column not in data:
        return _missing(data, column)
    value = data[column]
    if value is None:
        return Fault(_EMPTY[kind], f"is null: there is no {kind} to classify", column)
    types = {bool: "true or false", int: "a number", float: "a number", bytes: "binary data"}
    return Fault(
        "invalid_text", f"must be a text, but is {types.get(type(value), 'nested')}", column
    )


def _missing(data: Mapping[str, object], column: str) -> Fault:
    return Fault("missing_column", f"is missing; there are: {listed(list(data))}", column)
