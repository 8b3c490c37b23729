"""The format of a file: kind, compression, encoding and delimiter, declared or detected."""

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
    """The format that a request declares; None is detected. A declared value has precedence."""

    format: Kind | None = None
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0  # lines above the header of a CSV


@dataclass(frozen=True, kw_only=True)
class Format:
    """The resolved format of a file.

    `encoding` is Python's name, with the byte order; `delimiter` is for CSV only.
    """

    kind: Kind
    compression: Compression = "none"
    encoding: str = "utf-8"
    bom: bool = False
    delimiter: str = ","
    skip_rows: int = 0

    def describe(self) -> str:
        """The format as a phrase for users.

        >>> Format(kind="csv", delimiter=";", encoding="utf-16-le", bom=True).describe()
        "CSV, delimiter ';', UTF-16LE with BOM"
        >>> Format(kind="parquet", compression="zstd").describe()
        'Parquet, zstd'
        """
        parts = [_KINDS[self.kind]]
        if self.kind == "csv":
            parts.append(f"delimiter {_DELIMITERS.get(self.delimiter, repr(self.delimiter))}")
        if self.kind != "parquet":
            parts.append(encoding_name(self.encoding) + (" with BOM" if self.bom else ""))
        if self.compression != "none":
            parts.append(self.compression)
        if self.skip_rows:
            parts.append(f"{self.skip_rows} line{'' if self.skip_rows == 1 else 's'} skipped")
        return ", ".join(parts)


def encoding_name(encoding: str) -> str:
    """The usual name of an encoding.

    >>> encoding_name("utf-16-be"), encoding_name("koi8-r")
    ('UTF-16BE', 'koi8-r')
    """
    return _NAMES.get(encoding, encoding)
