"""JSONL: one object per line. Blank lines are skipped.

msgspec parses the lines and is stricter than Python's `json`: it refuses NaN, Infinity, numbers
beyond the range of a double, unpaired surrogates and invalid UTF-8. Like `json` it accepts
duplicate keys and keeps the last value; this module refuses them. Integers are exact in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from workers.inputs.tables.encodings import is_unicode, undecodable
from workers.inputs.tables.lines import Line
from workers.inputs.tables.row import Row, RowFault, TableLimits, too_long

# Python's own limit depends on the call stack, so that the same row could pass in one place and
# fail in another.
_DEEPEST = 100
_NESTED = frozenset({dict, list})

_UNPAIRED = RowFault("invalid_text", r"holds an unpaired surrogate (\ud800 to \udfff)")

_decode = msgspec.json.Decoder().decode
_TYPES: dict[type, str] = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false",
}  # fmt: skip


def rows(lines: Iterable[Line], *, encoding: str, skip: int, bounds: TableLimits) -> Iterator[Row]:
    """The rows of a JSONL file after the first `skip`, which are only counted."""
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
        # Each key has a colon. Without further colons there is no duplicate key; this check is 9
        # times faster than parsing again.
        elif raw.count(b":") == _keys(data) or not _has_duplicate_key(
            raw.decode(text_of or "utf-8")
        ):
            return Row(number=number, line=line, data=data)
        else:
            fault = RowFault("duplicate_key", "has a duplicate key in one object")
    except UnicodeDecodeError:
        fault = undecodable(raw, encoding)
    except msgspec.DecodeError as exc:
        text = raw.decode(text_of or "utf-8", "replace")
        fault = _why(exc, text)
        if fault is _UNPAIRED:
            return Row(number=number, line=line, fault=fault, unpaired=_unpaired(text))
    except RecursionError:
        fault = RowFault("invalid_json_line", "is nested too deeply")
    return Row(number=number, line=line, fault=fault)


def _keys(value: object, deepest: int = _DEEPEST) -> int:
    """The number of keys of all objects in a value, nested ones included."""
    if not deepest:
        raise RecursionError
    if type(value) is dict:
        nested = [each for each in value.values() if type(each) in _NESTED]
        return len(value) + sum(_keys(each, deepest - 1) for each in nested)
    if type(value) is list:
        return sum(_keys(each, deepest - 1) for each in value if type(each) in _NESTED)
    return 0


def _has_duplicate_key(text: str) -> bool:
    duplicate = False

    def check(pairs: list[tuple[str, object]]) -> int:
        nonlocal duplicate
        duplicate = duplicate or len(dict(pairs)) != len(pairs)
        return 0

    # int() refuses a number of 4,301 digits, which does not matter here.
    json.loads(text, object_pairs_hook=check, parse_int=len, parse_float=len)
    return duplicate


def _unpaired(text: str) -> dict[str, object] | None:
    """The values of a line with an unpaired surrogate, if it has no other fault."""
    try:
        data = json.loads(text)
        _keys(data)
    except (ValueError, RecursionError):  # too many digits, or nested too deeply
        return None
    return data if type(data) is dict and not _has_duplicate_key(text) else None


def _why(error: msgspec.DecodeError, text: str) -> RowFault:
    """The fault of a line, with more detail than the parser gives."""
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
    return _UNPAIRED
