"""A multipart form with one file, parsed as a stream: the file is passed on, the fields are kept.

`api.http.form_file` parses forms in memory; this module is for files that are larger. The file may
precede or follow the fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from api.schemas.body_stream import Readable
from shared.errors import BodyTooLarge
from shared.validation import refuse

MULTIPART = "multipart/form-data"
MAX_FORM_BYTES = 1024 * 1024  # of all that is not the file
_MAX_PARTS = 32
_MAX_FIELD_BYTES = 16 * 1024
_CHUNK_BYTES = 64 * 1024
_BUFFER_BYTES = 4 * _CHUNK_BYTES  # the decoder holds what may be the beginning of a boundary


class FormFile:
    """The file of a form, as a stream; `fields` are all there once `finish` was called.

    Args:
        body: The form.
        content_type: The header; names the boundary.
        max_bytes: Most that the file may have.
        part: What the part is called that is the file.

    Raises:
        InvalidRequest: The body is no form.
    """

    def __init__(
        self, body: Readable, *, content_type: str, max_bytes: int, part: str = "file"
    ) -> None:
        media_type, options = parse_options_header(content_type)
        if media_type.lower() != MULTIPART:
            refuse("Content-Type", f"must be {MULTIPART}: send the file as the part `{part}`")
        if not options.get("boundary"):
            refuse("Content-Type", "has no boundary; let your client set this header")
        self._events = _events(body, options["boundary"].encode())
        self._max_bytes = max_bytes
        self._part = part
        self._rest = memoryview(b"")
        self._ended = False
        self._digest = hashlib.sha256()
        self.fields: dict[str, str] = {}
        self.name = ""
        self.size = 0

    @property
    def sha256(self) -> bytes:
        """Of what was read of the file."""
        return self._digest.digest()

    def find(self) -> None:
        """Read up to the file; the fields before it are known then.

        Raises:
            InvalidRequest: There is no file, or what is there is no form.
        """
        for event in self._events:
            if isinstance(event, File) and event.name == self._part:
                self.name = event.filename
                return
            self._take(event)
        hint = "give it a filename" if self._part in self.fields else "send it as this part"
        refuse(self._part, f"is missing: {hint}")

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the file, at most `size`, and none at its end.

        Raises:
            BodyTooLarge: The file has more than `max_bytes`.
            InvalidRequest: The form ended before the file did.
        """
        while not self._rest and not self._ended:
            event = next(self._events)
            assert isinstance(event, Data)
            self._rest, self._ended = memoryview(event.data), not event.more_data
            self.size += len(event.data)
            self._digest.update(event.data)
            if self.size > self._max_bytes:
                too_large(self._max_bytes, self._part)
        end = len(self._rest) if size < 0 else size
        found, self._rest = bytes(self._rest[:end]), self._rest[end:]
        return found

    def finish(self) -> None:
        """Read the fields after the file.

        Raises:
            InvalidRequest: There is a second file, or what is there is no form.
        """
        for event in self._events:
            if isinstance(event, File) and event.name == self._part:
                refuse(self._part, "is given twice; send one file")
            self._take(event)

    def _take(self, event: Event) -> None:
        """Keep a field that begins; other files are passed over."""
        if not isinstance(event, Field | File):
            return
        held = bytearray()
        for data in self._events:
            assert isinstance(data, Data)
            held += data.data
            if len(held) > _MAX_FIELD_BYTES:
                refuse(
                    "body", f"each part except the file may have at most {_MAX_FIELD_BYTES} bytes"
                )
            if not data.more_data:
                break
        if isinstance(event, Field):
            try:
                self.fields[event.name or ""] = held.decode()
            except UnicodeDecodeError:
                refuse("body", "has a field that is not UTF-8")


def too_large(max_bytes: int, part: str = "file") -> None:
    """Refuse a file.

    Raises:
        BodyTooLarge: Always.
    """
    message = (
        f"at most {max_bytes} bytes are allowed; split the file, or ask the operator to "
        "raise the limit"
    )
    refuse(part, message, BodyTooLarge)


def _events(body: Readable, boundary: bytes) -> Iterator[Event]:
    """What the form consists of, to its end."""
    decoder = MultipartDecoder(boundary, _BUFFER_BYTES, max_parts=_MAX_PARTS)
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, NeedData):
                decoder.receive_data(body.read(_CHUNK_BYTES) or None)
            elif isinstance(event, Epilogue):
                return
            else:
                yield event
    except RequestEntityTooLarge:
        refuse("body", f"a form may have at most {_MAX_PARTS} parts, with small headers")
    except ValueError:
        refuse("body", "is not valid multipart/form-data, or ends early")
