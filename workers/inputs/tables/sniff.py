"""Format detection from the first bytes of a file; a declared format has precedence."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from shared.batches import Kind
from workers.inputs.tables.compression import compression_of, expanded_head
from workers.inputs.tables.csv_dialect import delimiter_of, parse_delimiter, sep_delimiter
from workers.inputs.tables.encodings import encoding_of, is_unicode, utf8
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.row import unreadable

HEAD_BYTES = 64 * 1024

_PARQUET = b"PAR1"
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"%PDF-", "a PDF document: send a table, JSONL, CSV or Parquet"),
    (b"BZh", "compressed by bzip2: use gzip or zstd"),
    (b"\xfd7zXZ\x00", "compressed by xz: use gzip or zstd"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: use gzip or zstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"ARROW1", "an Arrow or Feather file: write it as Parquet"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"Obj\x01", "an Avro file: write it as Parquet or JSONL"),
    (b"SQLite format 3\x00", "a SQLite database: export the table as CSV"),
    (b"\x89PNG", "an image: send a table, JSONL, CSV or Parquet"),
    (b"\xff\xd8\xff", "an image: send a table, JSONL, CSV or Parquet"),
    (b"\x1f\x8b", "compressed twice: compress it once"),
    (b"\x28\xb5\x2f\xfd", "compressed twice: compress it once"),
)
_TAR = (257, b"ustar")
_SUFFIXES: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet",
}  # fmt: skip
_SHOWN_LINES = 20
_LINE_END = re.compile(r"\r\n?|\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_OBJECT = re.compile(r"""\s*\{\s*["}]""")
_ARRAY = re.compile(r"""\s*\[\s*(\{\s*["}]|"[^"]*"\s*[,\]]|\[)""")


def sniff(
    head: bytes,
    *,
    filename: str = "",
    declared: DeclaredFormat | None = None,
    wanted: RequestedColumns | None = None,
) -> Format:
    """Detect the format of a file.

    Args:
        head: the first `HEAD_BYTES` bytes, or the whole file.
        filename: decides only if the content does not.
        declared: the declared format; compression is always detected.
        wanted: the requested columns.

    Raises:
        InvalidRequest: The format is not supported or differs from the declared one, or a declared
            encoding or delimiter is invalid.
    """
    declared = declared or DeclaredFormat()
    compression = compression_of(head)
    inside = expanded_head(head, compression, size=HEAD_BYTES)
    if inside.startswith(_PARQUET):
        if declared.format not in (None, "parquet"):
            unreadable(f"is a Parquet file, but its format was given as {declared.format}")
        _check_skip(declared, "Parquet")
        return Format(kind="parquet", compression=compression)
    if declared.format == "parquet":
        unreadable("is not a Parquet file: it does not begin with PAR1")
    _refuse_foreign(inside)
    encoding, bom = encoding_of(inside, declared.encoding)
    text = _text(inside, encoding)
    below = _below(text, declared.skip_rows)
    kind = declared.format or _kind(below, filename)
    delimiter = ","
    if declared.delimiter is not None:
        delimiter = parse_delimiter(declared.delimiter)
    elif kind == "csv" and below:
        delimiter = sep_delimiter(text) or delimiter_of(below, wanted)
    if kind == "jsonl":
        _check_skip(declared, "JSONL")
    return Format(
        kind=kind,
        compression=compression,
        encoding=encoding,
        bom=bom,
        delimiter=delimiter,
        skip_rows=declared.skip_rows,
    )


def _check_skip(declared: DeclaredFormat, what: str) -> None:
    if declared.skip_rows:
        unreadable(f"is allowed for CSV only, but the file is {what}", field="skip_rows")


def _below(text: str, count: int) -> str:
    """The text below the first `count` lines."""
    for _ in range(count):
        end = _LINE_END.search(text)
        if end is None:
            return ""
        text = text[end.end() :]
    return text


def _refuse_foreign(head: bytes) -> None:
    for magic, what in _FOREIGN:
        # A header may begin with the same letters, but a table has no control characters.
        if head.startswith(magic) and _CONTROL.search(head):
            unreadable(f"is {what}")
    place, magic = _TAR
    if head[place : place + len(magic)] == magic:
        unreadable("is a tar archive: unpack it, and send one file of rows")


def _text(head: bytes, encoding: str) -> str:
    """Decode the head; undecodable bytes are replaced."""
    codec = "utf-8" if is_unicode(encoding) else encoding
    return b"".join(utf8([head], encoding)).decode(codec, "replace")


def _kind(text: str, filename: str) -> Kind:
    suffix = _suffix(filename)
    shown = [line.strip() for line in text.splitlines() if line.strip()][:_SHOWN_LINES]
    if not shown:
        # An empty file has no rows in either format.
        return "csv" if suffix == "csv" else "jsonl"
    mostly_objects = 2 * sum(line.startswith("{") for line in shown) >= len(shown)
    if _ARRAY.match(text) and not (mostly_objects and shown[0].endswith("]")):
        unreadable("is a JSON array: put each object on a line of its own, without the brackets")
    if mostly_objects or _OBJECT.match(text):
        return "jsonl"
    return "jsonl" if suffix == "jsonl" else "csv"


def _suffix(filename: str) -> Kind | None:
    """The format that a file name implies, without its compression suffix."""
    suffixes = [each.lower() for each in PurePosixPath(filename).suffixes]
    return next((_SUFFIXES[each] for each in reversed(suffixes) if each in _SUFFIXES), None)
