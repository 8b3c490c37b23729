"""A row of a file, its faults, and the limits of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

import msgspec

from shared.errors import FieldError, InvalidRequest

MAX_COLUMNS = 16_384  # per table, as in Excel
FREE_BYTES = 16 * 1024 * 1024  # allowed at any ratio: a small file of spaces is not a zip bomb

FaultCode = Literal[
    "duplicate_key",
    "empty_file",
    "empty_image",
    "empty_text",
    "field_count",
    "invalid_id",
    "invalid_json_line",
    "invalid_number",
    "invalid_text",
    "missing_column",
    "not_an_object",
    "nul_byte",
    "row_too_long",
    "stray_quote",
    "unclosed_quote",
    "undecodable",
    "unreadable_value",
]


@dataclass(frozen=True)
class RowFault:
    """Why a row cannot be used; `message` is a predicate about the row and never quotes it."""

    code: FaultCode
    message: str
    param: str | None = None  # the column, if the fault is in one


# A Struct, since a file may have a million rows: 0.1 µs each, where a dataclass takes 1.5 µs.
class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a file: its values by column, or its fault.

    Attributes:
        number: counts rows from 1, invalid ones included; blank lines and the header do not count.
        line: the line number where it begins; equals `number` in a format without lines.
        data: JSON values; Parquet also has infinities, NaN and bytes.
        fault: set if and only if `data` is None.
        unpaired: the values of a line of JSONL whose one fault is an unpaired surrogate.
    """

    number: int
    line: int
    data: dict[str, object] | None = None
    fault: RowFault | None = None
    unpaired: dict[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class TableLimits:
    """The limits for reading a file, against zip bombs and oversized rows.

    Attributes:
        max_row_bytes: limit of a row as text; a longer row is a fault and is not buffered.
        max_expanded_bytes: limit of the whole file after decompression.
        max_ratio: limit of decompressed bytes per sent byte, beyond the first `FREE_BYTES`.
    """

    max_row_bytes: int = 4 * 1024 * 1024
    max_expanded_bytes: int = 16 * 1024**3
    max_ratio: float = 200.0

    def check_expanded(self, expanded_bytes: int, *, sent_bytes: int) -> None:
        """Refuse a zip bomb.

        Raises:
            InvalidRequest: The decompressed size or the ratio exceeds its limit.
        """
        if expanded_bytes > self.max_expanded_bytes:
            unreadable(
                f"decompresses to more than {self.max_expanded_bytes} bytes, the limit: split it"
            )
        if expanded_bytes > FREE_BYTES and expanded_bytes > self.max_ratio * sent_bytes:
            unreadable(
                f"decompresses to more than {self.max_ratio:g} times its size, the limit against "
                "zip bombs: send it uncompressed, or with less compression"
            )


def too_long(bounds_bytes: int) -> RowFault:
    """The fault of a row above `max_row_bytes`."""
    return RowFault("row_too_long", f"is longer than {bounds_bytes} bytes, the limit for one row")


def unreadable(message: str, *, field: str = "file") -> NoReturn:
    """Refuse the whole file, or a field of its declared format.

    Raises:
        InvalidRequest: Always.
    """
    raise InvalidRequest(f"{field}: {message}", fields=(FieldError(field=field, message=message),))
