"""Files in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.schemas.example_file import with_file
from api.schemas.openai.expiry import ExpiresAfter
from shared.batches import StoredFile
from shared.validation import refuse, translated, within

PURPOSE = "batch"
_PURPOSES = (PURPOSE, "user_data", "vision")
_MAX_NAME_CHARS = 255
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_EXPIRY = {"anchor": _ANCHOR, "seconds": _SECONDS}


class FileBody(BaseModel):
    """A form with a file; its fields may precede or follow the file."""

    model_config = ConfigDict(json_schema_extra=with_file("The file."))

    purpose: Literal["batch", "user_data", "vision"] = Field(
        description="`batch` for rows of a batch; `user_data` or `vision` for a document or image "
        "that an item names as its `file` or `image`."
    )
    expires_after_anchor: Literal["created_at"] | None = Field(
        None, alias=_ANCHOR, description="The start of the retention time."
    )
    expires_after_seconds: int | None = Field(
        None, alias=_SECONDS, description="Retention time of the file."
    )


class FileObject(BaseModel):
    """An uploaded file, or an output file of a batch. Times in seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None = Field(description="When the file is deleted.")
    filename: str
    purpose: str = Field(
        description="`batch`, `user_data`, `vision`, or `batch_output` for the output of a batch."
    )
    status: Literal["processed"]
    status_details: None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page.")
    has_more: bool


class FileDeleted(BaseModel):
    """Confirmation of a deletion."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


def check_purpose(fields: Mapping[str, str]) -> None:
    """Refuse a file with an unsupported purpose.

    Raises:
        InvalidRequest: It is, or does not say what it is for.
    """
    if "purpose" not in fields:
        refuse("purpose", f"is missing: send one of {', '.join(_PURPOSES)}")
    if fields["purpose"] not in _PURPOSES:
        refuse("purpose", f"must be one of {', '.join(_PURPOSES)}")


def parse_expiry(fields: Mapping[str, str]) -> ExpiresAfter | None:
    """The requested expiry of a form, if any.

    Raises:
        InvalidRequest: It is not said as it must be.
    """
    body = {key: fields[name] for key, name in _EXPIRY.items() if name in fields}
    if not body:
        return None
    try:
        return ExpiresAfter.model_validate(body, strict=False)
    except ValidationError as exc:
        raise within("expires_after", translated(exc)) from None


def filename(sent: str) -> str:
    """The name of an uploaded file without directories, truncated.

    >>> filename("C:\\\\data\\\\rows.csv"), filename("")
    ('rows.csv', 'file')
    """
    name = sent.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in name if each.isprintable())[-_MAX_NAME_CHARS:] or "file"


def render_file(file: StoredFile) -> dict[str, Any]:
    """The file object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def render_page(
    objects: Sequence[dict[str, Any]], *, has_more: bool, last_id: str | None = None
) -> dict[str, Any]:
    """A page of objects that have an id; `last_id` where the page ends behind the last of them."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": last_id or (objects[-1]["id"] if objects else None),
        "has_more": has_more,
    }


def render_deleted(file_id: str) -> dict[str, Any]:
    """The response to a deletion."""
    return {"id": file_id, "object": "file", "deleted": True}
