"""Converts the values of a Parquet column to JSON values: exact, and in one form per column.

Timestamps, dates and times become ISO 8601, in the precision of their column and in UTC; durations
too (`PT1M30S`). Decimals become strings, UUIDs their usual form. Bytes become base64. In a column
that the request names for texts, bytes are decoded as UTF-8, since old writers do not mark string
columns; invalid UTF-8 stays bytes, and the row is refused as one without a text. Values inside
lists and structs are converted the same way.

Floats stay floats: formats with infinities and NaN keep them; in JSON they become null.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

UNREADABLE = object()  # a value that does not match the type of its column

_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
    pa.types.is_large_list_view,
)  # fmt: skip
_BYTES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary,
    pa.types.is_binary_view,
)  # fmt: skip
_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer,
    pa.types.is_floating, pa.types.is_boolean, pa.types.is_null,
)  # fmt: skip


def values_of(column: pa.Array, *, text: bool = False) -> list[object]:
    """Convert the values of a column; a broken value becomes `UNREADABLE`.

    Args:
        column: a column of any Parquet type.
        text: whether bytes are decoded as text.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = column.storage
        return _uuids(stored) if _is_uuid(kind) else values_of(stored, text=text)
    if pa.types.is_dictionary(kind):
        return values_of(column.dictionary_decode(), text=text)
    if pa.types.is_run_end_encoded(kind):
        return values_of(pc.run_end_decode(column), text=text)
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_map(kind):
        return _maps(column)
    if any(of(kind) for of in _LISTS):
        return _lists(column)
    if any(of(kind) for of in _BYTES):
        return [_bytes(value, text=text) for value in column.to_pylist()]
    if pa.types.is_duration(kind):
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if each is None else duration(each, _PER_S[kind.unit]) for each in ticks]
    return _scalars(column)


def without_broken_values(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with null for each value that is broken, such as a text that is no UTF-8.

    Rows with such a value are faults (`UNREADABLE`), so no output has the null; the receiver of the
    batch can refuse it as a whole where it is broken otherwise.
    """
    if _is_valid(batch):
        return batch
    columns = [each if _is_valid(each) else _mended(each) for each in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _mended(column: pa.Array) -> pa.Array:
    """A column with null for each broken value; one with a dictionary as it is.

    Arrow does not read a dictionary of which a value is broken.
    """
    if "dictionary<" in str(column.type):  # each row has the whole, so each would be broken
        return column
    return pa.concat_arrays(list(_mended_pieces(column)))


def _mended_pieces(column: pa.Array) -> Iterator[pa.Array]:
    # A slice of lists has the values of all of them; `take` leaves its own.
    nested = pa.types.is_nested(column.type)
    own = column.take(pa.array(range(len(column)))) if nested else column
    if _is_valid(own):
        yield own
    elif len(column) == 1:
        yield pa.nulls(1, column.type)
    else:
        half = len(column) // 2
        yield from _mended_pieces(column.slice(0, half))
        yield from _mended_pieces(column.slice(half))


def _is_valid(values: pa.Array | pa.RecordBatch) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowException:
        return False
    return True


def duration(ticks: int, per_s: int) -> str:
    """Format a duration as ISO 8601.

    >>> duration(93_784_000_000_005, 10**9), duration(-1500, 10**3), duration(0, 1)
    ('P1DT2H3M4.000000005S', '-PT1.5S', 'PT0S')
    """
    whole, part = divmod(abs(ticks), per_s)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    digits = len(str(per_s)) - 1
    fraction = f".{part:0{digits}d}".rstrip("0") if part else ""
    date = f"{days}D" if days else ""
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    if seconds or fraction or not (date or time):
        time += f"{seconds}{fraction}S"
    return f"{'-' if ticks < 0 else ''}P{date}{'T' if time else ''}{time}"


def _scalars(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Python's datetime would lose nanoseconds and years beyond 9999.
        text = pc.replace_substring(
            column.cast(pa.timestamp(kind.unit)).cast(pa.string()), " ", "T"
        )
        column = text if kind.tz is None else pc.binary_join_element_wise(text, "Z", "")
    elif pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    elif pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    elif pa.types.is_float32(kind):  # a double of the same value is 0.10000000149011612 for 0.1
        column = column.cast(pa.string()).cast(pa.float64())
    try:
        values: list[object] = column.to_pylist()
    except (ValueError, OverflowError):  # bytes that are not UTF-8 among them
        values = [_value(value) for value in column]
    if any(of(column.type) for of in _PLAIN):
        return values
    return [value if value is None or value is UNREADABLE else str(value) for value in values]


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return UNREADABLE


def _bytes(value: bytes | None, *, text: bool) -> object:
    if value is None:
        return None
    if not text:
        return base64.b64encode(value).decode()
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _is_uuid(kind: pa.BaseExtensionType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def _uuids(stored: pa.Array) -> list[object]:
    return [None if value is None else str(uuid.UUID(bytes=value)) for value in stored.to_pylist()]


def _lists(column: pa.Array) -> list[object]:
    items = iter(values_of(column.flatten()))
    converted: list[object] = []
    for length in pc.list_value_length(column).to_pylist():
        if length is None:
            converted.append(None)
            continue
        value = list(islice(items, length))
        converted.append(UNREADABLE if UNREADABLE in value else value)
    return converted


def _maps(column: pa.Array) -> list[object]:
    """Maps become lists of pairs, since their keys may be no strings and may repeat."""
    kind = column.type
    pair = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
    pairs: list[Any] = _lists(column.cast(pa.list_(pair)))
    return [
        [[each["key"], each["value"]] for each in value] if isinstance(value, list) else value
        for value in pairs
    ]


def _structs(column: pa.Array) -> list[object]:
    names = [str(field.name) for field in column.type]
    fields = [values_of(field) for field in column.flatten()]
    rows = zip(*fields, strict=True) if fields else ((),) * len(column)
    converted: list[object] = []
    for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True):
        if not valid:
            converted.append(None)
        else:
            converted.append(
                UNREADABLE if UNREADABLE in row else dict(zip(names, row, strict=True))
            )
    return converted
