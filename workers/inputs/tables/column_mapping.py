"""Column mapping of a row: the text, image or file to classify and the id, or the fault."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from shared.normal_form import is_empty
from workers.inputs.tables.header import listed
from workers.inputs.tables.row import FaultCode, RowFault

Kind = Literal["text", "image", "file"]

_NULL = "%null"  # among several id columns; the % of a value is escaped

_EMPTY: dict[Kind, FaultCode] = {
    "text": "empty_text",
    "image": "empty_image",
    "file": "empty_file",
}


class RowContent(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a row: a text, or the URL or base64 data of an image or a file.

    `id` is None if the row has no id: a generated one could equal that of another row.
    """

    id: str | None
    value: str


def pick(
    data: Mapping[str, object],
    number: int,
    *,
    column: str,
    kind: Kind = "text",
    id_columns: Sequence[str] = (),
) -> RowContent | RowFault:
    """Extract the content and the id of a row.

    Args:
        data: the row.
        number: the number of the row, which is its id if `id_columns` is empty.
        column: the column of the content; it must hold a string that is not blank.
        kind: the kind of content.
        id_columns: the columns of the id, all required; a whole number becomes its digits. If all
            are null or blank, there is no id. Several values are joined by `/`.

    >>> pick({"id": 7.0, "text": "hello"}, 1, column="text", id_columns=["id"])
    RowContent(id='7', value='hello')
    >>> pick({"dt": "24/12", "id": 7, "text": "hello"}, 1, column="text", id_columns=["dt", "id"])
    RowContent(id='24%2F12/7', value='hello')
    >>> pick({"text": None}, 1, column="text")
    RowFault(code='empty_text', message='is null: there is no text to classify', param='text')
    """
    value = data.get(column)
    if not isinstance(value, str):
        return _no_text(data, column, kind)
    if is_empty(value):
        what = "has no visible characters" if value.strip() else "is empty"
        return RowFault(_EMPTY[kind], f"{what}: there is no {kind} to classify", column)
    names: list[str] = []
    for column in id_columns:
        if column not in data:
            return _missing(data, column)
        name = name_of(data[column])
        if name is None:
            return RowFault("invalid_id", "must be a string or a whole number", column)
        names.append(name)
    if not id_columns:
        return RowContent(id=str(number), value=value)
    return RowContent(id=_joined([data[column] for column in id_columns], names), value=value)


def own_id(data: Mapping[str, object] | None, number: int, id_columns: Sequence[str]) -> str | None:
    """The id of a row that may have other faults; None if the row has no id.

    >>> own_id(None, 3, ()), own_id({"id": 7.0}, 3, ["id"]), own_id({"id": []}, 3, ["id"])
    ('3', '7', None)
    >>> own_id({"dt": "2026", "id": 7}, 3, ["dt", "id"]), own_id({"id": 7}, 3, ["dt", "id"])
    ('2026/7', None)
    """
    if not id_columns:
        return str(number)
    if data is None or any(column not in data for column in id_columns):
        return None
    values = [data[column] for column in id_columns]
    names = [name_of(value) for value in values]
    known = [name for name in names if name is not None]
    return _joined(values, known) if len(known) == len(names) else None


def _joined(values: Sequence[object], names: Sequence[str]) -> str | None:
    """Join the values of id columns, whose texts are `names`; different values give different ids.

    >>> _joined(["a", None], ["a", ""]), _joined(["a", " "], ["a", ""])
    ('a/%null', 'a/')
    """
    if not any(names):
        return None
    if len(names) == 1:
        return names[0]
    return "/".join(
        _NULL if _is_null(value) else name.replace("%", "%25").replace("/", "%2F")
        for value, name in zip(values, names, strict=True)
    )


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def name_of(value: object) -> str | None:
    """An id or a label as text; empty for null; None for a value that cannot be one."""
    if _is_null(value):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    # pandas writes a column of whole numbers with a missing one as doubles.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
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
