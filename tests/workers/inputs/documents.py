"""Small documents, written by hand so that anything in them can be odd."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
FILE_ID = b"0123456789abcdef"
HELVETICA = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), extra, data)


def shown(text: bytes, *, x: int = 20, y: int = 700, size: int = 12) -> bytes:
    """Content of a page: one line of text in its font F."""
    return b"BT /F %d Tf %d %d Td (%s) Tj ET" % (size, x, y, text)


def written(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Objects 1, 2, … as a file; the first is the catalog."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, each))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer<</Size %d/Root 1 0 R%s>>\n" % (len(objects) + 1, trailer))
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


def pdf(
    *contents: bytes,
    box: bytes = b"0 0 595 842",
    page: bytes = b"",
    catalog: bytes = b"",
    font: bytes = HELVETICA,
    count: int | None = None,
    more: Sequence[bytes] = (),
    resources: bytes = b"",
) -> bytes:
    """A PDF with a page for each content stream.

    Args:
        page, catalog, resources: further entries of these dictionaries.
        more: further objects, from number 4 on.
        count: of pages, as the file states it.
    """
    first = 4 + len(more)
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(contents) if count is None else count),
        font,
        *more,
    ]
    for n, content in enumerate(contents):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents %d 0 R"
            b"/Resources<</Font<</F 3 0 R>>%s>>%s>>" % (box, first + 2 * n + 1, resources, page)
        )
        objects.append(stream(content))
    return written(objects)


def encrypted(text: bytes, *, password: bytes = b"") -> bytes:
    """One page of text under RC4 of 40 bits, which `password` opens."""
    owner_key = hashlib.md5((b"owner" + PADDING)[:32]).digest()[:5]
    owner = _rc4(owner_key, (password + PADDING)[:32])
    rights = struct.pack("<i", -4)
    key = hashlib.md5((password + PADDING)[:32] + owner + rights + FILE_ID).digest()[:5]
    user = _rc4(key, PADDING)

    content = shown(text)
    of_object = hashlib.md5(key + struct.pack("<I", 5)[:3] + b"\0\0").digest()[:10]
    return written(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
            HELVETICA,
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R"
            b"/Resources<</Font<</F 3 0 R>>>>>>",
            stream(_rc4(of_object, content)),
        ],
        b"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>/ID[<%s><%s>]"
        % (*(each.hex().encode() for each in (owner, user, FILE_ID, FILE_ID)),),
    )


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for each in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(each ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def flate(size: int, *, times: int = 1) -> bytes:
    """Mebibytes of spaces, compressed again and again; the checksum is wrong."""
    packer = zlib.compressobj(9)
    blocks = [packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    data = blocks[0] + blocks[1] * (size // 2**20 - 1) + packer.flush()
    for _ in range(times - 1):
        data = zlib.compress(data, 9)
    return data


def body(content: str) -> str:
    names = f'xmlns:w="{W}" xmlns:r="{R}"'
    return f"<w:document {names}><w:body>{content}</w:body></w:document>"


def paragraph(text: str) -> str:
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def relations(*each: tuple[str, str, str], external: bool = False) -> str:
    """Id, kind and target."""
    mode = ' TargetMode="External"' if external else ""
    lines = (
        f'<Relationship Id="{key}" Type="{R}/{kind}" Target="{target}"{mode}/>'
        for key, kind, target in each
    )
    return f'<Relationships xmlns="{PACKAGE}">{"".join(lines)}</Relationships>'


def zipped(parts: Mapping[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()


def docx(content: str = "", parts: Mapping[str, str | bytes] | None = None) -> bytes:
    """A DOCX with this body, and further parts or others in the place of its own."""
    return zipped(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": relations(("rId1", "officeDocument", "word/document.xml")),
            "word/document.xml": body(content),
            **(parts or {}),
        }
    )
