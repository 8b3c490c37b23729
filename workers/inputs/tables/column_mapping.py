"""What is classified of a row, and its id, by the columns that were named; or why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from shared.normal_form import is_empty
from workers.inputs.tables.header import listed
from workers.inputs.tables.row import FaultCode, RowFault

Kind = Literal["text", "image", "file"]

_EMPTY: dict[Kind, FaultCode] = {
    "text": "empty_text",
    "image": "empty_image",
    "file": "empty_file",
}


class RowContent(msgspec.Struct, frozen=True, kw_only=True):
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
    id_columns: Sequence[str] = (),
) -> RowContent | RowFault:
    """What is classified of a row, and its id.

    Args:
        data: the row.
        number: its number, which is its id where no columns are named.
        column: must hold a text that is not blank.
        kind: of what the column holds.
        id_columns: must be there; a whole number becomes its digits. Where all are null or blank
            texts there is no id. Several are joined by `/`.

    >>> pick({"id": 7.0, "text": "hello"}, 1, column="text", id_columns=["id"])
    RowContent(id='7', said='hello')
    >>> pick({"dt": "24/12", "id": 7, "text": "hello"}, 1, column="text", id_columns=["dt", "id"])
    RowContent(id='24%2F12/7', said='hello')
    >>> pick({"text": None}, 1, column="text")
    RowFault(code='empty_text', message='is null: there is no text to classify', param='text')
    """
    found = data.get(column)
    if not isinstance(found, str):
        return _no_text(data, column, kind)
    if is_empty(found):
        what = "has no visible characters" if found.strip() else "is empty"
        return RowFault(_EMPTY[kind], f"{what}: there is no {kind} to classify", column)
    names: list[str] = []
    for column in id_columns:
        if column not in data:
            return _missing(data, column)
        name = name_of(data[column])
        if name is None:
            return RowFault("invalid_id", "must be a string or a whole number", column)
        names.append(name)
    return RowContent(id=_joined(names) if id_columns else str(number), said=found)


def own_id(data: Mapping[str, object] | None, number: int, id_columns: Sequence[str]) -> str | None:
    """The id of a row that may be wrong elsewhere; None where it has none of its own.

    >>> own_id(None, 3, ()), own_id({"id": 7.0}, 3, ["id"]), own_id({"id": []}, 3, ["id"])
    ('3', '7', None)
    >>> own_id({"dt": "2026", "id": 7}, 3, ["dt", "id"]), own_id({"id": 7}, 3, ["dt", "id"])
    ('2026/7', None)
    """
    if not id_columns:
        return str(number)
    if data is None or any(column not in data for column in id_columns):
        return None
    names = [name_of(data[column]) for column in id_columns]
    known = [name for name in names if name is not None]
    return _joined(known) if len(known) == len(names) else None


def _joined(names: Sequence[str]) -> str | None:
    """The id that the texts of one or several columns make; different texts make different ids."""
    if not any(names):
        return None
    if len(names) == 1:
        return names[0]
    return "/".join(name.replace("%", "%25").replace("/", "%2F") for name in names)


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


def _no_text(data: Mapping[str, object], column: str, kind: Kind) -> RowFault:
    if column not in data:
        return _missing(data, column)
    value = data[column]
    if value is None:
        return RowFault(_EMPTY[kind], f"is null: there is no {kind} to classify", column)
    types = {bool: "true or false", int: "a number", float: "a number", bytes: "binary data"}
    return RowFault(
        "invalid_text", f"must be a string, but is {types.get(type(value), 'nested')}", column
    )


def _missing(data: Mapping[str, object], column: str) -> RowFault:
    return RowFault("missing_column", f"is missing; there are: {listed(list(data))}", column)
