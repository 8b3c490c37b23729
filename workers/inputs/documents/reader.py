"""Document reader: detects the format from the bytes alone, and reads PDF, DOCX and plain text.

Other formats are refused with a message that names them. The reader runs in a child process of the
sandbox, which limits time and memory.
"""

from __future__ import annotations

import re

from workers.inputs.documents import docx, pdf
from workers.inputs.documents.model import (
    Document,
    DocumentBounds,
    DocumentPage,
    cut_off,
    refuse,
)
from workers.inputs.documents.paginate import TextFlow
from workers.inputs.images.frame import Frame

__all__ = ["Document", "DocumentBounds", "DocumentPage", "read"]

_PDF = b"%PDF-"
_JUNK_BYTES = 1024  # allowed before the header of a PDF, as in Acrobat and PDFium
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("EncryptedPackage", "is an encrypted Office file: send it without a password"),
    ("WordDocument", "is an old .doc file: save it as DOCX or PDF"),
    ("Workbook", "is an old Excel workbook: send its rows as CSV, or save it as PDF"),
    ("PowerPoint Document", "is an old PowerPoint presentation: save it as PDF"),
    ("__substg1.0_", "is an Outlook message: save it as PDF, or send its text"),
)
_OLE_OTHER = "is an old Office file: save it as DOCX or PDF"
_IMAGE = "is an image: send it as `image`"
_ARCHIVE = "is a compressed file: unpack it, and send each document"
_FOREIGN = (
    (rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|RIFF....WEBP|BM.{4}\0{4}|\0\0\0.JXL ", _IMAGE),
    (rb".{4}ftyp(?:avif|heic|heix|mif1)|\0\0\0.jP  ", _IMAGE),
    (rb"\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", _ARCHIVE),
    (rb"\{\\rtf", "is an RTF file: save it as DOCX or PDF"),
    (rb"%!PS", "is PostScript: save it as PDF"),
    (rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b",
     "is an HTML page: save it as PDF, or send its text"),
    (rb"(?i)(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<svg\b", _IMAGE),
    (rb"(?:\xef\xbb\xbf)?\s*<\?xml\b", "is XML: save it as DOCX or PDF, or send its text"),
)  # fmt: skip
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NEITHER = "is neither PDF nor DOCX, nor plain text in UTF-8"


def read(data: bytes, frame: Frame | None, max_pages: int, bounds: DocumentBounds) -> Document:
    """Read the first pages of a document, or all of its text if the format has no pages.

    Args:
        frame: the frame that each page is fitted into; None: only text is read.
        max_pages: maximum number of pages, at least 1.

    Raises:
        UnreadableInput: The document is broken, encrypted, exceeds a limit, or is unsupported.
    """
    if data.startswith(_ZIP):
        return docx.read(data, frame, max_pages, bounds)
    if data.startswith(_OLE):
        _refuse_old(data)
    for magic, what in _FOREIGN:
        if re.match(magic, data[:_JUNK_BYTES], re.DOTALL):
            refuse(what)
    # A plain text may mention %PDF- in its first lines.
    if data.startswith(_PDF) or (_PDF in data[:_JUNK_BYTES] and b"startxref" in data):
        return pdf.read(data, frame, max_pages, bounds)
    return _read_text(data, max_pages, bounds)


def _refuse_old(data: bytes) -> None:
    for stream, what in _OLE_STREAMS:
        if stream.encode("utf-16-le") in data:
            refuse(what)
    refuse(_OLE_OTHER)


def _read_text(data: bytes, max_pages: int, bounds: DocumentBounds) -> Document:
    if not data.strip():
        refuse("is empty")
    if _BINARY.search(data):
        refuse(_NEITHER)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        refuse(_NEITHER, cause=exc)
    flow = TextFlow(max_pages=max_pages, max_characters=bounds.max_characters)
    for piece in text.split("\f"):
        for line in piece.split("\n"):
            flow.add(line)
        flow.end_page()
    return Document(
        kind="text",
        total_pages=flow.total_pages,
        pages_read=flow.pages_read,
        pages=tuple(
            DocumentPage(number=n, text=text) for n, text in enumerate(flow.pages, start=1)
        ),
        rest=flow.rest,
        unread=(cut_off(bounds.max_characters),) if flow.full else (),
    )
