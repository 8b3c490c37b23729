"""JSONL: an object on each line. Blank lines are no rows.

Read by msgspec, which is stricter than Python's own `json`: NaN, Infinity, numbers beyond the range
of a double, halves of surrogate pairs and bytes that are not UTF-8 are refused there. It lets a key
come twice, as `json` does, and keeps the last; that is refused here. Integers are exact in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from workers.inputs.tables.encodings import is_unicode, undecodable
from workers.inputs.tables.lines import Line
from workers.inputs.tables.row import Row, RowFault, TableLimits, too_long

# Python's own limit depends on who calls, so that a row could be right in one place and wrong in
# another.
_DEEPEST = 100
_NESTED = frozenset({dict, list})

_decode = msgspec.json.Decoder().decode
_TYPES: dict[type, str] = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false",
}  # fmt: skip


def rows(lines: Iterable[Line], *, encoding: str, skip: int, bounds: TableLimits) -> Iterator[Row]:
    """The rows of JSONL, but for the first `skip`, which are only counted."""
    text_of = None if is_unicode(encoding) else encoding
    number = 0
    for line, raw in lines:
        if raw is None:
            number += 1
            if number > skip:
                yield Row(number=number, line=line, fault=too_long(bounds.max_row_bytes))
        elif not raw.isspace():
            number += 1
            if number > skip:
                yield _row(number, line, raw, text_of, encoding)


def _row(number: int, line: int, raw: bytes, text_of: str | None, encoding: str) -> Row:
    try:
        data = _decode(raw if text_of is None else raw.decode(text_of))
        if type(data) is not dict:
            what = _TYPES.get(type(data), "null")
            fault = RowFault("not_an_object", f"must be a JSON object, not {what}")
        # Each key has a colon. Without further ones no key came twice, which is 9 times quicker to
        # see than by parsing again.
        elif raw.count(b":") == _keys(data) or not _has_twice(raw.decode(text_of or "utf-8")):
            return Row(number=number, line=line, data=data)
        else:
            fault = RowFault("duplicate_key", "has a duplicate key in one object")
    except UnicodeDecodeError:
        fault = undecodable(raw, encoding)
    except msgspec.DecodeError as exc:
        fault = _why(exc, raw.decode(text_of or "utf-8", "replace"))
    except RecursionError:
        fault = RowFault("invalid_json_line", "is nested too deeply")
    return Row(number=number, line=line, fault=fault)


def _keys(value: object, deepest: int = _DEEPEST) -> int:
    """How many keys all objects in a value have."""
    if not deepest:
        raise RecursionError
    if type(value) is dict:
        nested = [each for each in value.values() if type(each) in _NESTED]
        return len(value) + sum(_keys(each, deepest - 1) for each in nested)
    if type(value) is list:
        return sum(_keys(each, deepest - 1) for each in value if type(each) in _NESTED)
    return 0


def _has_twice(text: str) -> bool:
    twice = False

    def once(pairs: list[tuple[str, object]]) -> int:
        nonlocal twice
        twice = twice or len(dict(pairs)) != len(pairs)
        return 0

    # A number of 4,301 digits is an error to int(), and none of our business here.
    json.loads(text, object_pairs_hook=once, parse_int=len, parse_float=len)
    return twice


def _why(error: msgspec.DecodeError, text: str) -> RowFault:
    """What is wrong with a line, in more words where the parser has few."""
    constant = None

    def remember(name: str) -> None:
        nonlocal constant
        constant = name

    try:
        json.loads(text, parse_constant=remember, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        reason = str(error).removeprefix("JSON is malformed: ")
        if reason == "Input data was truncated":
            reason = "it is truncated"
        return RowFault("invalid_json_line", f"is not valid JSON: {reason}")
    if constant is not None:
        return RowFault("invalid_number", f"holds {constant}, which is not valid JSON")
    if "out of range" in str(error):
        return RowFault("invalid_number", "holds a number that is too large")
    return RowFault("invalid_text", r"holds an unpaired surrogate (\ud800 to \udfff)")
