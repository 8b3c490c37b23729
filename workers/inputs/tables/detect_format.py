"""Format detection: the format from the first bytes, the encoding of a text from the whole file.

The first character that is not ASCII may be far into the file; detection from the beginning alone
would lose its row, or corrupt all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

from shared.errors import InvalidRequest
from workers.inputs.tables.charset import guessed
from workers.inputs.tables.compression import expanded
from workers.inputs.tables.encodings import is_unicode
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.row import TableLimits
from workers.inputs.tables.sniff import HEAD_BYTES, sniff


def format_of(
    opened: Callable[[], BinaryIO],
    *,
    filename: str = "",
    declared: DeclaredFormat | None = None,
    wanted: RequestedColumns | None = None,
    bounds: TableLimits | None = None,
) -> Format:
    """Detect the format of a file.

    Args:
        opened: opens the file at its beginning; called twice if the encoding must be detected.
        filename: decides only if the content does not.
        declared: the declared format.
        wanted: the requested columns.
        bounds: the limits for reading the file.

    Raises:
        InvalidRequest: As `sniff`.
    """
    declared = declared or DeclaredFormat()
    with closing(opened()) as stream:
        head = stream.read(HEAD_BYTES)
    detected = sniff(head, filename=filename, declared=declared, wanted=wanted)
    decided = declared.encoding is not None or detected.bom or detected.kind == "parquet"
    wide = is_unicode(detected.encoding) and detected.encoding != "utf-8"
    whole = detected.compression == "none" and len(head) < HEAD_BYTES
    if decided or wide or whole:
        return detected
    with closing(opened()) as stream:
        chunks = expanded(stream, detected.compression, bounds or TableLimits())
        encoding = guessed(_readable(chunks), whole=True)
    if encoding == detected.encoding:
        return detected
    return sniff(
        head, filename=filename, declared=replace(declared, encoding=encoding), wanted=wanted
    )


def _readable(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes up to the first corruption, which is reported when the rows are read."""
    try:
        yield from chunks
    except InvalidRequest:
        return
