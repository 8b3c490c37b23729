"""The package of an Office file (OPC): a zip archive and the relationships between its entries.

Nothing is written to disk, and entry names are only looked up, so path traversal is impossible.
External relationships are ignored, so none can be followed (SSRF). XML is parsed as a stream, and a
DOCTYPE is refused, since Office files have none: without it there are no entities (XXE, billion
laughs). Decompressed bytes are limited against zip bombs.
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
    """A reference from one package entry to another.

    Attributes:
        kind: the last segment of the relationship type: ``image``, ``header``, ``officeDocument``.
        part: the name of the target entry, which may not exist.
    """

    kind: str
    part: str


class Package:
    """An open archive, whose entries are read one after another.

    Raises:
        UnreadableInput: The archive is broken or has too many entries; when reading: an entry is
            broken or encrypted, or the entries exceed the limit of decompressed bytes.
    """

    def __init__(self, data: bytes, bounds: DocumentBounds) -> None:
        # Counted before zipfile creates an object per entry.
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
        """The bytes of an existing entry."""
        return b"".join(self.chunks(part))

    def chunks(self, part: str) -> Iterator[bytes]:
        """The bytes of an existing entry, in chunks of a mebibyte."""
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
                    limit = self._bounds.max_expanded_bytes
                    refuse(f"decompresses to more than {limit} bytes, the limit: split it")
                yield chunk

    def relations(self, part: str = "") -> dict[str, Relationship]:
        """The relationships of an entry by id; without a name, those of the package itself."""
        folder, name = posixpath.split(part)
        listing = posixpath.join(folder, "_rels", f"{name}.rels")
        relationships: dict[str, Relationship] = {}

        def start(name: str, attributes: Mapping[str, str]) -> None:
            inside = attributes.get("TargetMode") != "External"
            target = attributes.get("Target", "")
            if name == _RELATIONS and inside and target:
                relationships[attributes.get("Id", "")] = Relationship(
                    kind=attributes.get("Type", "").rpartition("/")[2],
                    part=posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"),
                )

        if listing in self:
            self.parse(listing, start=start)
        return relationships

    def parse(
        self,
        part: str,
        *,
        start: Callable[[str, Mapping[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        """Parse an entry as XML; element names have the form ``namespace name``.

        Raises:
            UnreadableInput: The entry is not valid XML, or has a DOCTYPE.
        """

        def refuse_doctype(*_: object) -> None:
            refuse(f"holds a DOCTYPE in {part}, which Office files do not have: save it again")

        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = refuse_doctype
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
