"""Multipart uploads in OpenAI's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.schemas.example_file import with_file
from api.schemas.openai.expiry import ExpiresAfter
from api.schemas.openai.file import FileObject, check_purpose, render_file
from shared.batches import MultipartUpload, StoredFile
from shared.schema_base import Schema
from shared.validation import refuse, translated

MAX_PART_BYTES = 64 * 1024 * 1024
MAX_PARTS = 10_000
MAX_URLS = 1000

_Body = TypeVar("_Body", bound=Schema)


class NewUploadBody(Schema):
    """A file that will be uploaded in parts."""

    bytes: int = Field(
        ge=1, description="Size of the whole file; the parts must have the same size together."
    )
    filename: str
    purpose: Literal["batch"] = Field(description="Purpose of the file.")
    mime_type: str | None = Field(
        None, description="Ignored: the file type is detected from the content."
    )
    expires_after: ExpiresAfter | None = Field(None, description="When the file is deleted.")


class UploadPartBody(BaseModel):
    """A form with the bytes of one part."""

    model_config = ConfigDict(
        json_schema_extra=with_file(f"At most {MAX_PART_BYTES} bytes.", part="data")
    )


class PartUrlsBody(Schema):
    """Number of parts to send directly to the object store by presigned URLs."""

    count: int = Field(ge=1, le=MAX_URLS)


class CompleteUploadBody(Schema):
    """The parts of the file, in order."""

    part_ids: list[str] = Field(min_length=1, max_length=MAX_PARTS)
    md5: str | None = Field(
        None,
        description="MD5 of the whole file, in hex; the upload is refused if it does not match.",
    )


class UploadObject(BaseModel):
    """A multipart upload. Times in seconds since 1970."""

    id: str
    object: Literal["upload"]
    bytes: int
    created_at: int
    expires_at: int = Field(description="When the upload and its parts are deleted.")
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled"]
    file: FileObject | None = Field(description="The file, once the upload is completed.")


class UploadPart(BaseModel):
    """An uploaded part."""

    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str


class UploadPartUrl(UploadPart):
    """A part with a presigned URL: send its bytes there by PUT, without a key."""

    url: str
    expires_at: int = Field(description="The PUT must begin before this time.")


class UploadPartUrls(BaseModel):
    """Parts, each with its presigned URL."""

    object: Literal["list"]
    data: list[UploadPartUrl]


def parse_new(body: object, *, max_file_bytes: int) -> NewUploadBody:
    """Parse a new upload.

    Raises:
        InvalidRequest: A shape or value is wrong, or the file would be too large.
    """
    if isinstance(body, dict) and isinstance(body.get("purpose", ""), str):
        check_purpose(body)
    parsed = _parse(NewUploadBody, body)
    if parsed.bytes > max_file_bytes:
        refuse(
            "bytes",
            f"must be at most {max_file_bytes}; split the file, or ask the operator to raise "
            "the limit",
        )
    return parsed


def parse_urls(body: object) -> PartUrlsBody:
    """Parse the number of presigned URLs.

    Raises:
        InvalidRequest: A shape or value is wrong.
    """
    return _parse(PartUrlsBody, body)


def parse_complete(body: object) -> CompleteUploadBody:
    """Parse the parts of a completed upload.

    Raises:
        InvalidRequest: A shape or value is wrong.
    """
    return _parse(CompleteUploadBody, body)


def render_upload(upload: MultipartUpload, file: StoredFile | None = None) -> dict[str, Any]:
    """The upload object."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at),
        "expires_at": int(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": None if file is None else render_file(file),
    }


def render_part(upload: MultipartUpload, part_id: str, *, now: float) -> dict[str, Any]:
    """The object of a part."""
    return {
        "id": part_id,
        "object": "upload.part",
        "created_at": int(now),
        "upload_id": upload.id,
    }


def render_urls(
    upload: MultipartUpload, urls: Sequence[tuple[str, str]], *, now: float, expires_s: int
) -> dict[str, Any]:
    """Parts by their ids, each with its URL."""
    return {
        "object": "list",
        "data": [
            {
                **render_part(upload, part_id, now=now),
                "url": url,
                "expires_at": int(now) + expires_s,
            }
            for part_id, url in urls
        ],
    }


def _parse(shape: type[_Body], body: object) -> _Body:
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        return shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
