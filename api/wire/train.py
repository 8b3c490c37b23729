"""POST /v1/train with its examples in a file: the fields beside it, and where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from api.wire import file
from api.wire.file import File
from shared.dialects.refusal import translated
from shared.dialects.shape import Shape
from shared.dialects.train import TrainFields, Training, training


class FileFields(Shape):
    """Where a file has its examples."""

    text_column: str | None = Field(
        None, description="Column of a CSV, or key of JSONL, with the text; `text` if absent."
    )
    label_column: str | None = Field(
        None, description="Column of a CSV, or key of JSONL, with the label; `label` if absent."
    )
    delimiter: str | None = Field(
        None, description="Of a CSV: one character, or `tab`; found out if absent."
    )


_FILE: dict[str, Any] = {"type": "string", "format": "binary", "description": "JSONL or CSV."}


class TrainFileBody(TrainFields, FileFields):
    """A train request whose examples are in a file; its fields are words."""

    model_config = ConfigDict(
        strict=False, json_schema_extra={"properties": {"file": _FILE}, "required": ["file"]}
    )


def parse_file(fields: Mapping[str, str], sent: File) -> Training:
    """What a file and the fields beside it say.

    Raises:
        InvalidRequest: A field is wrong, or the file is; names each line.
    """
    try:
        said = TrainFileBody.model_validate(dict(fields))
    except ValidationError as exc:
        raise translated(exc, keyed=frozenset()) from None
    where = file.columns(said.text_column, said.label_column, said.delimiter)
    found = file.read(sent, where)
    return training(said, found.examples, found.place)
