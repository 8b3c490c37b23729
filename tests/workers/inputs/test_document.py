from __future__ import annotations

import io

import pytest
from PIL import Image

from shared.errors import UnreadableInput
from tests.workers.inputs.documents import docx, paragraph, pdf, shown, zipped
from workers.inputs.documents.reader import Document, DocumentBounds, read
from workers.inputs.images.frame import Frame

BOUNDS = DocumentBounds()
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def parsed(data: bytes, *, max_pages: int = 20, bounds: DocumentBounds = BOUNDS) -> Document:
    return read(data, None, max_pages, bounds)


def refused(data: bytes) -> str:
    with pytest.raises(UnreadableInput) as info:
        read(data, Frame(height=32, width=32), 20, BOUNDS)
    return info.value.detail


def drawn(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (pdf(shown(b"Words")), "pdf"),
        (b"\xef\xbb\xbf" + pdf(shown(b"Words")), "pdf"),
        (b"<!-- sent by a portal -->\r\n" + b" " * 900 + pdf(shown(b"Words")), "pdf"),
        (docx(paragraph("Words")), "docx"),
        (b"Words\n", "text"),
        (b"\xef\xbb\xbfWords", "text"),
    ],
)
def test_what_bytes_are_is_told_by_the_bytes(data: bytes, kind: str) -> None:
    found = parsed(data)

    assert found.kind == kind
    assert found.text == "Words"


def test_a_text_that_speaks_of_pdf_is_a_text() -> None:
    assert parsed(b"# Formats\n\nA PDF begins with %PDF-1.7.").kind == "text"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        *((drawn(kind), "is an image: send it as `image`")
          for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is an image: send it as `image`"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an image: send it as `image`"),
        (b"<?xml version='1.0'?>\n<svg/>", "is an image: send it as `image`"),
        (b"\r\n <!DOCTYPE html><p>x</p>", "is an HTML page: save it as PDF, or send its text"),
        (b"<html lang='en'>", "is an HTML page: save it as PDF, or send its text"),
        (b"<?xml version='1.0'?><a/>", "is XML: save it as DOCX or PDF, or send its text"),
        (b"{\\rtf1 x}", "is an RTF file: save it as DOCX or PDF"),
        (b"%!PS-Adobe-3.0", "is PostScript: save it as PDF"),
        (b"\x1f\x8b\x08\0", "is a compressed file: unpack it, and send each document"),
        (b"7z\xbc\xaf\x27\x1c", "is a compressed file: unpack it, and send each document"),
        (zipped({"a.pdf": b"%PDF-1.7"}, method=0),
         "is a zip archive, not a DOCX: unpack it, and send each document"),
        (OLE + "WordDocument".encode("utf-16-le"), "is an old .doc file: save it as DOCX or PDF"),
        (OLE + "EncryptedPackage".encode("utf-16-le"),
         "is an encrypted Office file: send it without a password"),
        (OLE + "Workbook".encode("utf-16-le"),
         "is an old Excel workbook: send its rows as CSV, or save it as PDF"),
        (OLE, "is an old Office file: save it as DOCX or PDF"),
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b"\x00\x01\x02", "is neither PDF nor DOCX, nor plain text in UTF-8"),
        ("Wörter".encode("latin-1"), "is neither PDF nor DOCX, nor plain text in UTF-8"),
        ("Words".encode("utf-16"), "is neither PDF nor DOCX, nor plain text in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_told_by_what_it_is(data: bytes, said: str) -> None:
    assert refused(data) == said


def test_a_text_keeps_its_lines_and_form_feeds_end_its_pages() -> None:
    found = parsed("Grüße\r\n\r\nzwei\x1b[0m \u2028 drei\fvier\f\f".encode())

    assert [page.text for page in found.pages] == ["Grüße\n\nzwei[0m \u2028 drei", "vier"]
    assert not found.scanned


LINES = b"".join(b"%098d\n" % number for number in range(1000))


def test_a_long_text_is_read_whole_and_its_first_pages_one_by_one() -> None:
    found = parsed(LINES, max_pages=3)

    assert [len(page.text) for page in found.pages] == [2969, 2969, 2969]
    assert (found.total_pages, found.pages_read) == (34, 34)
    assert found.text.split() == LINES.decode().split()
    assert found.unread == ()


@pytest.mark.parametrize("max_pages", [3, 20])
def test_what_is_beyond_the_most_characters_is_counted_and_said(max_pages: int) -> None:
    found = parsed(LINES, max_pages=max_pages, bounds=DocumentBounds(max_characters=9_800))

    assert len(found.text.replace("\n\n", "")) == 9_800
    assert (found.total_pages, found.pages_read) == (34, 3)
    assert found.unread == ("The text was read up to the limit of 9800 characters.",)


def test_only_the_first_kilobyte_may_be_junk() -> None:
    assert refused(b"\x00" * 1025 + pdf(shown(b"Words"))).startswith("is neither PDF")
