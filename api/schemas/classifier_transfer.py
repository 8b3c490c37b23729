"""Import and export of classifier files: checks before an import is accepted, and file names.

The file is safetensors: 8 bytes, the size of a JSON header, little-endian; the header; the arrays.
The header's `__metadata__` describes the classifier under `pigeonhole`. A worker checks the arrays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import BinaryIO

from pydantic import ConfigDict, Field, ValidationError

from api.schemas.body_stream import LargeBody
from api.schemas.example_file import with_file
from shared.classifier_record import (
    MAX_DESCRIPTION_CHARS,
    Classifier,
    Version,
    check_description,
    check_name,
)
from shared.dialects.metadata import Metadata
from shared.errors import MessageUndecodable
from shared.schema_base import Schema
from shared.types import Access, NewClassifier
from shared.validation import faults_of, refuse, shown, translated

MEDIA_TYPE = "application/octet-stream"
SCHEMA = 1
_METADATA = "__metadata__"
_ENTRY = "pigeonhole"
_SIZE_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20  # 1,024 labels of 256 letters, each twice, need 8 at the very most
_HOW = (
    "send an exported classifier, its bytes as the body (curl --data-binary @FILE), or as the part "
    "'file' of a form (curl -F file=@FILE)"
)
_NOT_IN_A_FILENAME = re.compile(r"[^A-Za-z0-9._-]+")


class FileHeader(Schema):
    """The header of a classifier file, as far as it matters before a worker reads the file."""

    schema_number: int = Field(alias="schema")
    model: str
    revision: str
    dimensions: int = Field(ge=1)
    labels: list[str]


class ImportFields(Schema):
    """Fields in the query or the form next to the file; all values are strings."""

    model_config = ConfigDict(strict=False, frozen=True, extra="forbid")

    name: str | None = Field(None, description="Name of the classifier, in addition to its id.")
    description: str = Field("", description=f"At most {MAX_DESCRIPTION_CHARS} characters.")
    access: Access = Field(
        "private", description="Accounts that may classify with it; default `private`."
    )
    keep_examples: bool = Field(
        False, description="Store the examples of future train calls; default false."
    )
    model: str | None = Field(
        None,
        description="The model that the file must belong to; a file of another model is refused.",
    )
    metadata: Metadata = None

    @property
    def new(self) -> NewClassifier:
        """The properties of the new classifier."""
        return NewClassifier(
            name=self.name,
            description=self.description,
            access=self.access,
            keep_examples=self.keep_examples,
        )


class ImportFileBody(ImportFields):
    """An exported file in a form, and the properties of the new classifier."""

    model_config = ConfigDict(json_schema_extra=with_file("A file from `GET …/export`."))


def parse_fields(query: Mapping[str, str], form: Mapping[str, str] | None = None) -> ImportFields:
    """The fields of the query, and of the form if there is one; empty fields count as absent.

    Raises:
        InvalidRequest: A field is wrong or not known, or stands in both.
    """
    filled = {name: value for name, value in (form or {}).items() if value}
    if twice := next((name for name in filled if name in query), None):
        refuse(shown(twice), "is given in both the query and the form; send it once")
    try:
        parsed = ImportFields.model_validate({**query, **filled})
    except ValidationError as exc:
        raise translated(exc) from None
    if parsed.name is not None:
        check_name(parsed.name)
    check_description(parsed.description)
    return parsed


def read_header(file: LargeBody) -> FileHeader:
    """The header of a file, before the rest is read.

    Raises:
        InvalidRequest: It is no file of a classifier's weights, or of another schema.
    """
    start = file.peek(_SIZE_BYTES)
    if not start:
        refuse("file", f"is empty: {_HOW}")
    size = int.from_bytes(start, "little")
    if len(start) < _SIZE_BYTES or not 0 < size <= _MAX_HEADER_BYTES:
        refuse("file", f"is not a safetensors file: {_HOW}")
    try:
        fields = json.loads(file.peek(_SIZE_BYTES + size)[_SIZE_BYTES:])
        own = json.loads(fields[_METADATA][_ENTRY])
    except (ValueError, RecursionError):
        refuse("file", "is not a safetensors file: its header is not JSON")
    except (KeyError, TypeError):
        refuse("file", "is not a classifier: only files that Pigeonhole exported can be imported")
    if isinstance(own, dict) and own.get("schema") != SCHEMA:
        refuse("file", f"has an unknown schema; this version supports {SCHEMA}")
    try:
        return FileHeader.model_validate(own)
    except ValidationError as exc:
        fault = faults_of(exc)[0]
        refuse("file", f"has an invalid classifier: {fault.field} {fault.message}")


MAX_HEADER_BYTES = _SIZE_BYTES + _MAX_HEADER_BYTES
"""Maximum bytes that `size_of` reads of a file."""


def size_of(stream: BinaryIO) -> int:
    """Size in bytes of a file on the object store, by its header.

    Raises:
        MessageUndecodable: It is no safetensors file.
    """
    head = stream.read(_SIZE_BYTES)
    head += stream.read(min(int.from_bytes(head, "little"), _MAX_HEADER_BYTES))
    try:
        fields = json.loads(head[_SIZE_BYTES:])
        ends = [each["data_offsets"][1] for name, each in fields.items() if name != _METADATA]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise MessageUndecodable("the stored weights are not a safetensors file") from None
    return len(head) + max(ends, default=0)


def filename(record: Classifier, version: Version) -> str:
    """File name of an exported version, in characters that are valid in headers and on disks."""
    name = _NOT_IN_A_FILENAME.sub("_", record.name or "").strip("._-") or record.id
    return f"{name}-v{version.number}.safetensors"
