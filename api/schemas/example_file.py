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


class StoredExamplesFields(FileFields):
    """A file that the service or a bucket holds already, instead of examples in the body."""

    input_file_id: str | None = Field(
        None, description="Instead of `input`: the id of an uploaded file of examples."
    )
    input_url: str | None = Field(
        None,
        description="Instead of `input`: `s3://bucket/key` of a file of examples. The operator "
        "allows the locations.",
    )


def names_stored(body: object) -> bool:
    """Whether a body names a stored file of examples."""
    fields = ("input_file_id", "input_url")
    return isinstance(body, dict) and any(body.get(field) is not None for field in fields)


def stored_example_file(fields: StoredExamplesFields) -> ExampleFile:
    """The file for a worker; `object` is the id of a stored file until the file is looked up.

    Raises:
        InvalidRequest: Both a file id and an address are given, or a field is wrong.
    """
    if fields.input_file_id is not None and fields.input_url is not None:
        refuse("input_url", "conflicts with `input_file_id`: send only one of them")
    sent = UploadedFile(data=b"", name=(fields.input_url or "").rpartition("/")[2])
    file = example_file(fields, sent, place=fields.input_file_id or "")
    return file.model_copy(update={"url": fields.input_url or "", "kept": True})


def example_file(fields: FileFields, sent: UploadedFile, *, place: str) -> ExampleFile:
    """The file for a worker, stored under `place`.

    Raises:
        InvalidRequest: The delimiter or the encoding is none.
    """
    if fields.delimiter is not None and delimiter_of(fields.delimiter) is None:
        refuse("delimiter", "must be one character, or 'tab'; a quote or line end is not allowed")
    if fields.encoding is not None and encoding_of(fields.encoding) is None:
        refuse("encoding", "unsupported encoding; use one such as utf-8, utf-16 or cp1252")
    return ExampleFile(
        object=place,
        filename=sent.name,
        format=fields.input_format,
        delimiter=fields.delimiter,
        encoding=fields.encoding,
        skip_rows=fields.skip_rows or 0,
        text_column=fields.text_column or "text",
        label_column=fields.label_column or "label",
    )


def with_file(about: str, *, part: str = "file") -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra`: adds the file part of a form to its fields."""

    def add(schema: dict[str, Any]) -> None:
        file = {"type": "string", "format": "binary", "description": about}
        schema["properties"] = {part: file, **schema.get("properties", {})}
        schema["required"] = [part, *schema.get("required", [])]

    return add
