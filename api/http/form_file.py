"""A body that is a file or a multipart form with one: parsed in memory, within limits."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from api.schemas import body
from api.schemas.example_file import FILE_TYPES, UploadedFile
from shared.validation import refuse, shown

MULTIPART = "multipart/form-data"
_MAX_PARTS = 32
_MAX_FIELD_BYTES = 64 * 1024
_CHUNK = 16 * 1024  # must be well below: the parser counts what it has not yet taken apart, too


@dataclass(frozen=True, kw_only=True)
class UploadedForm:
    """A file and the fields beside it; a field that was left empty is none."""

    file: UploadedFile
    fields: dict[str, str]

    @property
    def fingerprint(self) -> bytes:
        """What makes two uploads the same, whatever boundary a client drew between the parts."""
        fields = [self.file.name, self.file.media_type, sorted(self.fields.items())]
        return body.dump(fields) + b"\n" + self.file.data


def read(data: bytes, *, content_type: str, query: Mapping[str, str]) -> UploadedForm | None:
    """The upload that a body is; None where the body is no file, but to be read as JSON.

    Args:
        data: The body.
        content_type: The header; says which it is.
        query: Fields in the URL, for a body that is nothing but the file.

    Raises:
        InvalidRequest: The parts cannot be told apart, are too many or too large, hold no file or
            another one; or a field stands twice.
    """
    media_type, options = parse_options_header(content_type)
    media_type = media_type.lower()
    if media_type in FILE_TYPES:
        pairs = query.items(multi=True) if isinstance(query, MultiDict) else query.items()
        return UploadedForm(
            file=UploadedFile(data=data, media_type=media_type), fields=_once(pairs)
        )
    if media_type != MULTIPART:
        return None
    if not options.get("boundary"):
        refuse("Content-Type", "has no boundary; let your client set this header")
    fields, files = _parts(data, options["boundary"])
    file = _the_file(fields, files)
    return UploadedForm(file=file, fields=_once(fields.items(multi=True)))


def _parts(data: bytes, boundary: str) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
    parser = MultiPartParser(
        stream_factory=lambda *_, **__: io.BytesIO(),
        max_form_memory_size=_MAX_FIELD_BYTES,
        buffer_size=_CHUNK,
        max_form_parts=_MAX_PARTS,
    )
    try:
        return parser.parse(io.BytesIO(data), boundary.encode(), len(data))
    except RequestEntityTooLarge:
        most = (
            f"at most {_MAX_PARTS} parts, and {_MAX_FIELD_BYTES} bytes in each part except the file"
        )
        refuse("body", f"{most}, are allowed")
    except ValueError:
        refuse("body", "is not valid multipart/form-data, or ends early")


def _once(fields: Iterable[tuple[str | None, str]]) -> dict[str, str]:
    """The fields that are not empty, by name.

    Raises:
        InvalidRequest: One stands twice: which is meant is not guessed. Or one has no name.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        if not name:
            refuse("body", "has a form field without a name; give each part a name")
        if name in found:
            refuse(shown(name), "is given twice; send it once")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _the_file(fields: MultiDict[str, str], files: MultiDict[str, FileStorage]) -> UploadedFile:
    sent = files.getlist("file")
    if len(sent) > 1:
        refuse("file", "is given twice; send one file")
    if not sent:
        hint = "give the part a filename" if "file" in fields else "send the examples as this part"
        refuse("file", f"is missing: {hint}")
    if other := next((name for name in files if name != "file"), None):
        refuse(shown(other), "must not be a file; only the part 'file', with the examples, is one")
    part = sent[0]
    return UploadedFile(data=part.stream.read(), name=part.filename or "", media_type=part.mimetype)
