"""Documents and images that are small and take long, or much memory: each is made here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from tests.workers.inputs.documents import (
    body,
    paragraph,
    pdf,
    relations,
    shown,
    stream,
    written,
    zipped,
)

_TYPES = "[Content_Types].xml"
_MAIN = {"_rels/.rels": relations(("r1", "officeDocument", "word/document.xml"))}


def repeated(block: bytes, times: int) -> bytes:
    """A block again and again, compressed once; the checksum is wrong."""
    packer = zlib.compressobj(9)
    first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (times - 1) + packer.flush()


def annotations(count: int = 100_000) -> bytes:
    """A page with notes."""
    listed = b" ".join(b"%d 0 R" % (4 + number) for number in range(count))
    notes = [
        b"<</Type/Annot/Subtype/Text/Rect[%d %d 20 20]/Contents(note %d)>>"
        % (number % 500, number % 700, number)
        for number in range(count)
    ]
    return pdf(shown(b"hello world"), page=b"/Annots[%s]" % listed, more=notes)


def lines(count: int = 1_000_000) -> bytes:
    """Content of a page: so many lines."""
    return b"".join(
        b"%d %d m %d %d l S\n" % (n % 595, n % 842, n * 7 % 595, n * 3 % 842) for n in range(count)
    )


def paths(count: int = 1_000_000) -> bytes:
    """A page of lines."""
    return pdf(lines(count))


def hidden_paths(count: int = 3_000_000) -> bytes:
    """The same in a form of the page, where they are one object, and compressed."""
    content = repeated(b"0 0 m 595 842 l 300 7 l S\n" * 10_000, count // 10_000)
    extra = b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]/Filter/FlateDecode"
    return pdf(b"/X Do", resources=b"/XObject<</X 4 0 R>>", more=[stream(content, extra)])


def forms_in_forms(depth: int = 8, times: int = 10) -> bytes:
    """A form that shows the next ten times, and so on: 10^8 lines in 2 KB."""
    forms = []
    for level in range(depth):
        inside = b"/X Do " * times if level < depth - 1 else b"0 0 m 595 842 l S"
        extra = b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]"
        if level < depth - 1:
            extra += b"/Resources<</XObject<</X %d 0 R>>>>" % (5 + level)
        forms.append(stream(inside, extra))
    return pdf(b"/X Do", resources=b"/XObject<</X 4 0 R>>", more=forms)


def deep_pages(depth: int = 50_000) -> bytes:
    """A tree of pages in which each node has one child."""
    nodes = [
        b"<</Type/Pages/Parent %d 0 R/Kids[%d 0 R]/Count 1>>" % (number, number + 2)
        for number in range(1, depth)
    ]
    return written([b"<</Type/Catalog/Pages 2 0 R>>", *nodes, b"<</Type/Page/Parent 2 0 R>>"])


def endless_pages() -> bytes:
    """A tree of pages that is in itself."""
    return written(
        [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000>>"]
    )


def huge_image_in_pdf(side: int = 30_000) -> bytes:
    """A page with an image of 900 megapixels, nearly all of it missing."""
    extra = (
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8"
        b"/ColorSpace/DeviceRGB/Filter/FlateDecode" % (side, side)
    )
    image = stream(zlib.compress(bytes(20 * 2**20), 9), extra)
    content = b"595 0 0 842 0 0 cm /X Do"
    return pdf(content, resources=b"/XObject<</X 4 0 R>>", more=[image])


def huge_png(side: int = 9_900) -> bytes:
    """98 megapixels of one colour, just below what is refused by its head."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    )


def zip_bomb(size: int = 300_000_000) -> bytes:
    """A DOCX of one letter."""
    return zipped({**_MAIN, "word/document.xml": body(paragraph("a" * size))})


def many_paragraphs(count: int = 2_500_000) -> bytes:
    """A DOCX within its bound of bytes, each of which is worked on."""
    return zipped(
        {**_MAIN, "word/document.xml": body("<w:p><w:r><w:t>a</w:t></w:r></w:p>" * count)}
    )


def nested_tables(depth: int = 100_000) -> bytes:
    """Tables in tables."""
    content = "<w:tbl><w:tr><w:tc>" * depth + "</w:tc></w:tr></w:tbl>" * depth
    return zipped({**_MAIN, "word/document.xml": body(content)})


def deep_xml(depth: int = 2_000_000) -> bytes:
    """Elements in elements that no document has."""
    return zipped({**_MAIN, "word/document.xml": body("<w:x>" * depth + "</w:x>" * depth)})


def entities() -> bytes:
    """A billion laughs."""
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    declared = f'<!DOCTYPE d [<!ENTITY e0 "ha">{lines}]>'
    return zipped({**_MAIN, "word/document.xml": declared + body(paragraph("&e9;"))})


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    made.__name__: made
    for made in (
        annotations, paths, hidden_paths, forms_in_forms, deep_pages, endless_pages,
        huge_image_in_pdf, zip_bomb, many_paragraphs, nested_tables, deep_xml, entities,
    )
}  # fmt: skip
