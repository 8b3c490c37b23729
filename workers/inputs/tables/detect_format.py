"""What a file is: its format by the first bytes, the encoding of a text by all of it.

The first letter that is not ASCII may stand far below, and a guess by the beginning would lose its
row, or spoil all others.
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
    said: DeclaredFormat | None = None,
    wanted: RequestedColumns | None = None,
    bounds: TableLimits | None = None,
) -> Format:
    """What a file is.

    Args:
        opened: opens it at its beginning; a text whose encoding nobody says is opened twice.
        filename: decides only where the content does not.
        said: what the caller says.
        wanted: the columns that a table should have.
        bounds: of what is read of it.

    Raises:
        InvalidRequest: As `sniff`.
    """
    said = said or DeclaredFormat()
    with closing(opened()) as stream:
        head = stream.read(HEAD_BYTES)
    found = sniff(head, filename=filename, said=said, wanted=wanted)
    decided = said.encoding is not None or found.bom or found.kind == "parquet"
    wide = is_unicode(found.encoding) and found.encoding != "utf-8"
    whole = found.compression == "none" and len(head) < HEAD_BYTES
    if decided or wide or whole:
        return found
    with closing(opened()) as stream:
        chunks = expanded(stream, found.compression, bounds or TableLimits())
        encoding = guessed(_as_far_as_it_goes(chunks), whole=True)
    if encoding == found.encoding:
        return found
    return sniff(head, filename=filename, said=replace(said, encoding=encoding), wanted=wanted)


def _as_far_as_it_goes(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes up to where they are broken, which is an error when the rows are read."""
    try:
        yield from chunks
    except InvalidRequest:
        return
