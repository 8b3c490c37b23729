"""The parts of an Office file: a zip archive, and the relations that say which part is what.

Nothing is written to a disk, and names are only looked up: a name with tricks names no other file.
Relations that lead out of the archive are left out, so that nobody can follow them. XML is read as
a stream and may not declare a document type, as no part of an Office file does: without one there
are no entities.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from xml.parsers import expat

from workers.inputs.documents.model import DocumentBounds, refuse

_CHUNK_BYTES = 2**20
_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships Relationship"


@dataclass(frozen=True, kw_only=True)
class Relationship:
    """A part that another one refers to.

    Attributes:
        kind: the last word of the relation's type: ``image``, ``header``, ``officeDocument``.
        part: its name in the archive, where it need not be.
    """

    kind: str
    part: str


class Package:
    """An archive, opened; its parts are read one after another.

    Raises:
        UnreadableInput: It is broken or has too many parts; later: a part is broken or encrypted,
            or all that were read are too large together.
    """

    def __init__(self, data: bytes, bounds: DocumentBounds) -> None:
        # Counted before Python makes an object of each.
        if data.count(_ENTRY) > bounds.max_parts:
            refuse(f"has more than {bounds.max_parts} package entries, the limit")
        with _translated("archive"):
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._infos = {info.filename: info for info in self._archive.infolist()}
        self._bounds = bounds
        self._left_bytes = bounds.max_expanded_bytes

    def __contains__(self, part: str) -> bool:
        return part in self._infos

    def read(self, part: str) -> bytes:
        """The bytes of a part that there is."""
        return b"".join(self.chunks(part))

    def chunks(self, part: str) -> Iterator[bytes]:
        """The same, a mebibyte at a time."""
        info = self._infos[part]
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
            refuse(
                "is encrypted, or uses a compression that Office does not use: "
                "send it as Office saved it"
            )
        with _translated(part), self._archive.open(info) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                self._left_bytes -= len(chunk)
                if self._left_bytes < 0:
                    most = self._bounds.max_expanded_bytes
                    refuse(f"decompresses to more than {most} bytes, the limit: split it")
                yield chunk

    def relations(self, part: str = "") -> dict[str, Relationship]:
        """What a part refers to, by id; without a name, what the package itself refers to."""
        folder, name = posixpath.split(part)
        listing = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, Relationship] = {}

        def start(name: str, attributes: Mapping[str, str]) -> None:
            inside = attributes.get("TargetMode") != "External"
            target = attributes.get("Target", "")
            if name == _RELATIONS and inside and target:
                found[attributes.get("Id", "")] = Relationship(
                    kind=attributes.get("Type", "").rpartition("/")[2],
                    part=posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"),
                )

        if listing in self:
            self.parse(listing, start=start)
        return found

    def parse(
        self,
        part: str,
        *,
        start: Callable[[str, Mapping[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        """Read a part as XML; names come as ``namespace name``.

        Raises:
            UnreadableInput: It is no XML, or declares a document type.
        """

        def no_types(*_: object) -> None:
            refuse(f"holds a DOCTYPE in {part}, which Office files do not have: save it again")

        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = no_types
        try:
            for chunk in self.chunks(part):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, LookupError, ValueError) as exc:
            refuse(f"is broken: its entry {part} is not valid XML", cause=exc)


@contextmanager
def _translated(part: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as exc:
        refuse(f"is broken: its {part} cannot be read", cause=exc)
