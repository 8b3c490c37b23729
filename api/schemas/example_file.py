"""A file of examples and its options; a worker reads the content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from shared.batches import MAX_SKIPPED_LINES, Kind, delimiter_of, encoding_of
from shared.schema_base import Schema
from shared.types import ExampleFile
from shared.validation import refuse

ABOUT = "CSV, JSONL or Parquet, plain or as gzip or zstd."
# Bodies of these types are files; what is in one is told by its content alone.
TYPES = (
    "application/jsonl",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.parquet",
    "application/gzip",
    "application/zstd",
)
_OTHER_TYPES = (
    "application/jsonlines",
    "application/ndjson",
    "application/x-gzip",
    "application/x-jsonlines",
    "application/x-parquet",
    "text/tab-separated-values",
)
FILE_TYPES = frozenset({*TYPES, *_OTHER_TYPES})


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """An uploaded file; its name and media type may be empty."""

    data: bytes
    name: str = ""
    media_type: str = ""


class FileFields(Schema):
    """Columns of the examples in a file, and how to read it."""

    text_column: str | None = Field(
        None, description="Column of a table, or key of JSONL, with the text; default `text`."
    )
    label_column: str | None = Field(
        None, description="Column of a table, or key of JSONL, with the label; default `label`."
    )
    input_format: Kind | None = Field(
        None, description="Detected if absent, as are `delimiter` and `encoding`."
    )
    delimiter: str | None = Field(None, description="Delimiter of a CSV: one character, or `tab`.")
    encoding: str | None = Field(
        None, description="Character encoding, such as `utf-8`, `utf-16` or `cp1252`."
    )
    skip_rows: int | None = Field(
        None,
        ge=0,
        le=MAX_SKIPPED_LINES,
        description="Number of lines above the header of a CSV, such as a title; default 0.",
    )


def example_file(said: FileFields, sent: UploadedFile, *, place: str) -> ExampleFile:
    """The file for a worker, stored under `place`.

    Raises:
        InvalidRequest: The delimiter or the encoding is none.
    """
    if said.delimiter is not None and delimiter_of(said.delimiter) is None:
        refuse("delimiter", "must be one character, or 'tab'; a quote or line end is not allowed")
    if said.encoding is not None and encoding_of(said.encoding) is None:
        refuse("encoding", "unsupported encoding; use one such as utf-8, utf-16 or cp1252")
    return ExampleFile(
        object=place,
        filename=sent.name,
        format=said.input_format,
        delimiter=said.delimiter,
        encoding=said.encoding,
        skip_rows=said.skip_rows or 0,
        text_column=said.text_column or "text",
        label_column=said.label_column or "label",
    )


def with_file(about: str, *, part: str = "file") -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra`: adds the file part of a form to its fields."""

    def add(schema: dict[str, Any]) -> None:
        file = {"type": "string", "format": "binary", "description": about}
        schema["properties"] = {part: file, **schema.get("properties", {})}
        schema["required"] = [part, *schema.get("required", [])]

    return add
