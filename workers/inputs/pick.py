"""The text and the id of a row, by the columns that the caller named; or why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from workers.inputs.row import Fault

_SHOWN_COLUMNS = 10
_SHOWN_CHARS = 40


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """What is worked on."""

    id: str
    text: str


def pick(
    data: Mapping[str, object], number: int, *, text_column: str, id_column: str | None = None
) -> Picked | Fault:
    """The text and the id of a row.

    Args:
        data: the row.
        number: its number, which is its id where no column is named, or the value is null or empty.
        text_column: must hold a text that is not blank.
        id_column: must be there; a whole number becomes its digits.

    >>> pick({"id": 7.0, "text": "hello"}, 1, text_column="text", id_column="id")
    Picked(id='7', text='hello')
    >>> pick({"text": None}, 1, text_column="text")
    Fault(code='empty_text', message='is null: there is no text to classify', param='text')
    """
    text = data.get(text_column)
    if not isinstance(text, str):
        return _no_text(data, text_column)
    if not text.strip():
        return Fault("empty_text", "is empty: there is no text to classify", text_column)
    name = str(number)
    if id_column is not None:
        if id_column not in data:
            return _missing(data, id_column)
        said = _name(data[id_column])
        if said is None:
            return Fault("invalid_id", "must be a text or a whole number", id_column)
        name = said or name
    return Picked(id=name, text=text)


def _name(value: object) -> str | None:
    """An id as text, empty where there is none; None where the value cannot be one."""
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


def _no_text(data: Mapping[str, object], column: str) -> Fault:
    if column not in data:
        return _missing(data, column)
    value = data[column]
    if value is None:
        return Fault("empty_text", "is null: there is no text to classify", column)
    kinds = {bool: "true or false", int: "a number", float: "a number", bytes: "binary data"}
    kind = kinds.get(type(value), "nested")
    return Fault("invalid_text", f"must be a text, but is {kind}", column)


def _missing(data: Mapping[str, object], column: str) -> Fault:
    shown = ", ".join(_cut(name) for name in list(data)[:_SHOWN_COLUMNS])
    more = ", …" if len(data) > _SHOWN_COLUMNS else ""
    return Fault("missing_column", f"is missing; there are: {shown}{more}", column)


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARS else name[: _SHOWN_CHARS - 1] + "…"
