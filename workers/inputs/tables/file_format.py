"""What a file is: format, compression, encoding and delimiter, as found or as said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.batches import Kind

Compression = Literal["none", "gzip", "zstd"]

_NAMES = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
    "cp1252": "Windows-1252",
}
_KINDS = {"jsonl": "JSONL", "csv": "CSV", "parquet": "Parquet"}
_DELIMITERS = {"\t": "tab", "\x1f": "unit separator", "\x01": "^A"}


@dataclass(frozen=True, kw_only=True)
class DeclaredFormat:
    """What the caller says of a file; None is for us to find out. It wins over every guess."""

    format: Kind | None = None
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0  # lines above the header of a CSV


@dataclass(frozen=True, kw_only=True)
class Format:
    """How the bytes of a file become rows.

    `encoding` is a name that Python knows, with its byte order; `delimiter` counts for CSV only.
    """

    kind: Kind
    compression: Compression = "none"
    encoding: str = "utf-8"
    bom: bool = False
    delimiter: str = ","
    skip_rows: int = 0

    def describe(self) -> str:
        """What was found, in words for the user.

        >>> Format(kind="csv", delimiter=";", encoding="utf-16-le", bom=True).describe()
        "CSV, delimiter ';', UTF-16LE with BOM"
        >>> Format(kind="parquet", compression="zstd").describe()
        'Parquet, zstd'
        """
        said = [_KINDS[self.kind]]
        if self.kind == "csv":
            said.append(f"delimiter {_DELIMITERS.get(self.delimiter, repr(self.delimiter))}")
        if self.kind != "parquet":
            said.append(encoding_name(self.encoding) + (" with BOM" if self.bom else ""))
        if self.compression != "none":
            said.append(self.compression)
        if self.skip_rows:
            said.append(f"{self.skip_rows} line{'' if self.skip_rows == 1 else 's'} skipped")
        return ", ".join(said)


def encoding_name(encoding: str) -> str:
    """An encoding as people write it.

    >>> encoding_name("utf-16-be"), encoding_name("koi8-r")
    ('UTF-16BE', 'koi8-r')
    """
    return _NAMES.get(encoding, encoding)
