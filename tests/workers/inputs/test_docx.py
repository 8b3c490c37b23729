from __future__ import annotations

import io
import json
import random
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from shared.errors import UnreadableInput
from tests.workers.inputs.documents import R, W, body, docx, paragraph, relations, zipped
from workers.inputs.documents import reader
from workers.inputs.documents.docx import read
from workers.inputs.documents.model import Document, DocumentBounds
from workers.inputs.images.frame import Frame
from workers.sandbox.pool import Sandbox

FRAME = Frame(height=64, width=64)
BOUNDS = DocumentBounds()
SHARED = Path(__file__).parents[4] / "shared" / "data" / "documents"
RELATIONS = "word/_rels/document.xml.rels"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
PAGE_BREAK = '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'


def parsed(
    data: bytes,
    *,
    frame: Frame | None = None,
    max_pages: int = 20,
    bounds: DocumentBounds = BOUNDS,
) -> Document:
    return read(data, frame, max_pages, bounds)


def refused(data: bytes, *, bounds: DocumentBounds = BOUNDS) -> str:
    with pytest.raises(UnreadableInput) as info:
        parsed(data, frame=FRAME, bounds=bounds)
    return info.value.detail


def text_of(content: str) -> str:
    return parsed(docx(content)).text


def image(width: int = 100, height: int = 80, *, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind)
    return out.getvalue()


def blip(key: str) -> str:
    return f'<w:p><w:r><w:drawing><a:blip xmlns:a="{A}" r:embed="{key}"/></w:drawing></w:r></w:p>'


def pointing_at(main: str) -> str:
    return relations(("r", "officeDocument", main))


def illustrated(*images: bytes, text: str = "Words") -> bytes:
    names = [f"media/image{number}" for number in range(len(images))]
    content = paragraph(text) + "".join(blip(f"p{number}") for number in range(len(images)))
    listed = relations(*((f"p{number}", "image", name) for number, name in enumerate(names)))
    media = {f"word/{name}": data for name, data in zip(names, images, strict=True)}
    return docx(content, {RELATIONS: listed, **media})


def test_paragraphs_are_lines() -> None:
    found = parsed(docx(paragraph("One &amp; only") + "<w:p/>" + paragraph("Two")))

    assert found.kind == "docx"
    assert [(page.number, page.text, page.pixels) for page in found.pages] == [
        (1, "One & only\nTwo", None)
    ]
    assert found.total_pages == 1
    assert found.unread == ()


def test_runs_of_a_paragraph_are_one_line_with_its_tabs_breaks_and_hyphens() -> None:
    content = (
        '<w:p><w:pPr><w:tabs><w:tab w:val="left" w:pos="9"/></w:tabs></w:pPr>'
        "<w:r><w:t>in</w:t></w:r><w:ins><w:r><w:t>serted</w:t></w:r></w:ins>"
        "<w:r><w:tab/><w:t>a</w:t><w:noBreakHyphen/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>"
        "<w:sdt><w:sdtContent><w:r><w:t> control</w:t></w:r></w:sdtContent></w:sdt>"
        "<w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink></w:p>"
    )

    assert text_of(content) == "inserted\ta-b\nc control link"


def test_what_was_deleted_or_moved_away_is_no_text_and_neither_are_fields() -> None:
    content = (
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:moveTo><w:r><w:t>moved</w:t></w:r></w:moveTo>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
    )

    assert text_of(content) == "moved"


def test_tables_are_rows_of_cells_in_order_and_tables_in_them_too() -> None:
    def cell(*content: str) -> str:
        return f"<w:tc>{''.join(content)}</w:tc>"

    inner = f"<w:tbl><w:tr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr></w:tbl>"
    content = (
        f"<w:tbl><w:tr>{cell(paragraph('a'), paragraph('aa'))}{cell(paragraph('b'))}</w:tr>"
        f"<w:tr>{cell('<w:p/>')}{cell(paragraph('d'), inner, '<w:p/>')}</w:tr></w:tbl>"
    )

    assert text_of(paragraph("before") + content + paragraph("after")) == (
        "before\na aa\tb\n\td x\ty\nafter"
    )


def test_a_text_box_is_read_once_where_it_is_anchored() -> None:
    box = f"<w:txbxContent>{paragraph('boxed')}</w:txbxContent>"
    content = (
        f'<w:p><w:r><w:t>anchor</w:t><mc:AlternateContent xmlns:mc="{MC}">'
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
        "</w:r><w:r><w:t>rest</w:t></w:r></w:p>"
    )

    assert text_of(content) == "anchor\nboxed\nrest"


def test_headers_notes_and_footers_stand_where_they_are_read() -> None:
    def notes(kind: str, text: str) -> str:
        return (
            f'<w:{kind}s xmlns:w="{W}"><w:{kind} w:type="separator" w:id="0"><w:p/></w:{kind}>'
            f'<w:{kind} w:id="2">{paragraph(text)}</w:{kind}></w:{kind}s>'
        )

    def margin(kind: str, text: str) -> str:
        return f'<w:{kind} xmlns:w="{W}">{paragraph(text)}</w:{kind}>'

    content = (
        '<w:p><w:r><w:t>claim</w:t><w:footnoteReference w:id="2"/></w:r><w:r><w:t>ed</w:t></w:r>'
        '<w:r><w:endnoteReference w:id="2"/><w:footnoteReference w:id="77"/></w:r></w:p>'
    )
    listed = relations(
        ("f1", "footer", "footer1.xml"),
        ("h1", "header", "header1.xml"),
        ("h2", "header", "/word/header2.xml"),
        ("h3", "header", "missing.xml"),
        ("n1", "footnotes", "footnotes.xml"),
        ("n2", "endnotes", "endnotes.xml"),
    )
    parts = {
        RELATIONS: listed,
        "word/header1.xml": margin("hdr", "Head"),
        "word/header2.xml": margin("hdr", "Head"),
        "word/footer1.xml": margin("ftr", "Foot"),
        "word/footnotes.xml": notes("footnote", "proof"),
        "word/endnotes.xml": notes("endnote", "source"),
    }

    found = parsed(docx(content + paragraph("end"), parts))

    assert found.text == "Head\nclaimed\nproof\nsource\nend\nFoot"


@pytest.mark.parametrize(
    "lone",
    [
        '<w:p><w:r><w:footnoteReference w:id="2"/></w:r></w:p>',
        '<w:tbl><w:tr><w:tc><w:p><w:r><w:footnoteReference w:id="2"/></w:r></w:p></w:tc>'
        "</w:tr></w:tbl>",
        '<w:sdt><w:sdtContent><w:p><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
        "</w:sdtContent></w:sdt>",
    ],
)
@pytest.mark.parametrize("after", ["", "<w:p/>", paragraph("end")])
def test_a_note_whose_reference_stands_alone_is_read(lone: str, after: str) -> None:
    parts = {
        RELATIONS: relations(("n1", "footnotes", "footnotes.xml")),
        "word/footnotes.xml": f'<w:footnotes xmlns:w="{W}"><w:footnote w:id="2">'
        f"{paragraph('proof')}</w:footnote></w:footnotes>",
    }

    found = parsed(docx(paragraph("claim") + lone + after, parts))

    assert found.text.split() == ["claim", "proof", *(["end"] if "end" in after else [])]


def test_strict_documents_and_mathematics_are_read() -> None:
    strict = "http://purl.oclc.org/ooxml"
    formula = f'<m:oMath xmlns:m="{strict}/officeDocument/math"><m:r><m:t>x+1</m:t></m:r></m:oMath>'
    main = body(f"<w:p><w:r><w:t>f = </w:t></w:r>{formula}</w:p>").replace(
        W, f"{strict}/wordprocessingml/main"
    )
    root = relations(("r", "officeDocument", "word/document.xml")).replace(
        R, f"{strict}/officeDocument/relationships"
    )

    assert parsed(docx("", {"word/document.xml": main, "_rels/.rels": root})).text == "f = x+1"


def test_a_page_ends_at_an_explicit_break() -> None:
    before = "<w:p><w:pPr><w:pageBreakBefore/></w:pPr><w:r><w:t>three</w:t></w:r></w:p>"
    not_before = before.replace("Before/>", 'Before w:val="0"/>').replace("three", "still three")

    found = parsed(
        docx(paragraph("one") + PAGE_BREAK + PAGE_BREAK + paragraph("two") + before + not_before)
    )

    assert [page.text for page in found.pages] == ["one", "two", "three\nstill three"]


def test_a_page_has_at_most_about_3000_characters_and_lines_stay_whole() -> None:
    lines = [f"{number:02} " + "word " * 199 for number in range(10)]  # 998 characters each

    found = parsed(docx("".join(map(paragraph, lines))))

    assert [page.text.count("\n") + 1 for page in found.pages] == [3, 3, 3, 1]
    assert found.text.split() == " ".join(lines).split()


def test_a_line_longer_than_a_page_is_cut_between_words() -> None:
    found = parsed(docx(paragraph("word " * 2000) + paragraph("x" * 7000)))

    assert [len(page.text) for page in found.pages] == [2999, 2999, 2999, 999, 3000, 3000, 1000]
    assert set(found.text.replace("x", "").split()) == {"word"}


def test_text_is_read_whole_and_the_first_pages_one_by_one() -> None:
    found = parsed(docx(PAGE_BREAK.join(paragraph(f"page {n}") for n in range(1, 8))), max_pages=3)

    assert [page.text for page in found.pages] == ["page 1", "page 2", "page 3"]
    assert found.text == "\n\n".join(f"page {n}" for n in range(1, 8))
    assert (found.total_pages, found.pages_read) == (7, 7)
    assert found.unread == ()


def test_text_is_bounded_and_the_rest_is_said() -> None:
    found = parsed(docx(paragraph("x" * 50) * 10), bounds=DocumentBounds(max_characters=120))

    assert len(found.text) == 120
    assert (found.total_pages, found.pages_read) == (1, 0)
    assert found.unread == ("The text was read up to the limit of 120 characters.",)


def test_images_follow_as_pages_without_text_in_the_order_of_the_body() -> None:
    found = parsed(illustrated(image(100, 80), image(300, 90, kind="JPEG")), frame=FRAME)

    assert [(page.number, page.text, page.width, page.height) for page in found.pages] == [
        (1, "Words", 0, 0),
        (2, "", 100, 80),
        (3, "", 300, 90),
    ]
    assert found.total_pages == 3
    assert found.pages[2].pixels is not None
    assert found.pages[2].pixels.shape == (64, 64, 3)
    assert found.pages[2].pixels[32, 32].tolist()[0] > 250
    assert found.pages[2].pixels[2, 32].tolist() == [255, 255, 255]  # nothing of it is cut off
    assert not found.scanned


def test_images_that_are_of_no_use_are_said() -> None:
    images = [image(20, 20), image()[:60], b"\x01\0\0\0emf", image(kind="GIF"), image()]

    found = parsed(illustrated(*images), frame=FRAME)

    assert [page.width for page in found.pages] == [0, 100]
    assert found.unread == (
        "Images that are tiny, broken or neither PNG nor JPEG were not read: 4.",
    )


def test_images_are_bounded_and_the_rest_is_said() -> None:
    data = illustrated(*(image(64 + n, 64) for n in range(5)))

    found = parsed(data, frame=FRAME, max_pages=2)

    assert [page.width for page in found.pages] == [0, 64, 65]
    assert (found.total_pages, found.pages_read) == (6, 3)
    assert found.unread == ("Images after the first 2 were not read.",)


def test_a_image_that_is_shown_twice_is_read_once_and_without_a_frame_never() -> None:
    data = docx(
        blip("p") + blip("p") + blip("q"),
        {
            RELATIONS: relations(
                ("p", "image", "media/a.png"), ("q", "image", "../word/media/a.png")
            ),
            "word/media/a.png": image(),
        },
    )

    assert len(parsed(data, frame=FRAME).pages) == 1
    assert parsed(data).pages == ()


def test_images_without_a_text_are_a_scan() -> None:
    assert parsed(illustrated(image(), text="")).scanned
    assert not parsed(illustrated(image())).scanned
    assert not parsed(docx()).scanned


@pytest.mark.parametrize("frame", [None, FRAME])
def test_whether_there_are_images_is_known_without_a_frame(frame: Frame | None) -> None:
    assert parsed(illustrated(b"\x01\0\0\0emf", text=""), frame=frame).visible
    assert not parsed(docx(), frame=frame).visible


def test_embedded_files_that_stand_for_text_are_said() -> None:
    data = docx(paragraph("Words") + '<w:altChunk r:id="c"/>', {
        RELATIONS: relations(("c", "aFChunk", "chunk.html")), "word/chunk.html": "<p>Alien</p>",
    })  # fmt: skip

    found = parsed(data)

    assert found.text == "Words"
    assert found.unread == ("Embedded files in place of text (altChunk) were not read: 1.",)


def test_macros_are_not_looked_at() -> None:
    listed = relations(("m", "vbaProject", "vbaProject.bin"))
    data = docx(paragraph("Words"), {RELATIONS: listed, "word/vbaProject.bin": b"\xd0\xcf"})

    assert parsed(data).text == "Words"


def test_relations_that_lead_outside_are_not_followed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        targets = (
            ("p", "image", url), ("h", "header", url), ("n", "footnotes", f"{url}.xml"),
            ("t", "attachedTemplate", "file:///etc/passwd"), ("q", "image", "file:///etc/passwd"),
        )  # fmt: skip
        for external in (True, False):
            listed = relations(*targets, external=external)

            found = parsed(
                docx(paragraph("Words") + blip("p") + blip("q"), {RELATIONS: listed}), frame=FRAME
            )

            assert [page.text for page in found.pages] == ["Words"]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "target",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\secret",
        "C:\\secret",
        "//host/share",
        "~/x",
        "\x00",
    ],
)
def test_names_with_tricks_name_no_file(tmp_path: Path, target: str) -> None:
    listed = relations(("h", "header", target.replace("\x00", "%00")))
    parts = {RELATIONS: listed, "../../outside.xml": "x", "/absolute.xml": "x"}

    assert parsed(docx(paragraph("Words"), parts), frame=FRAME).text == "Words"


BOMB = '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>'
OUTSIDE = '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
REMOTE = '<!DOCTYPE w SYSTEM "http://127.0.0.1:9/x.dtd">'


@pytest.mark.parametrize("declared", [BOMB, OUTSIDE, REMOTE, "<!DOCTYPE w>"])
@pytest.mark.parametrize("part", ["word/document.xml", RELATIONS, "_rels/.rels"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_and_with_them_entities(
    declared: str, part: str, encoding: str
) -> None:
    whole = {
        "word/document.xml": body(paragraph("&c;&x;")),
        RELATIONS: relations(),
        "_rels/.rels": relations(("rId1", "officeDocument", "word/document.xml")),
    }
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{declared}{whole[part]}'

    said = refused(docx(paragraph("Words"), {part: xml.encode(encoding)}))

    assert said == f"holds a DOCTYPE in {part}, which Office files do not have: save it again"


def test_a_document_in_utf_16_is_read() -> None:
    xml = f'<?xml version="1.0" encoding="UTF-16"?>{body(paragraph("Wörter"))}'.encode("utf-16")

    assert parsed(docx("", {"word/document.xml": xml})).text == "Wörter"


def test_text_that_is_too_deep_is_refused_and_other_depth_is_none() -> None:
    deep = "<w:p>" * 5000 + "</w:p>" * 5000

    assert refused(docx(deep)) == "nests text more than 300 levels deep, the limit"
    assert parsed(docx("<w:x>" * 500_000 + paragraph("y") + "</w:x>" * 500_000)).text == "y"


@pytest.mark.parametrize(
    "xml", ["", "<a>", "no XML", "<a></b>", "<?xml version='1.0' encoding='x'?><a/>"]
)
def test_a_part_that_is_no_xml_is_refused(xml: str) -> None:
    said = refused(docx("", {"word/document.xml": xml}))

    assert said == "is broken: its entry word/document.xml is not valid XML"


def test_a_part_that_expands_to_too_much_is_refused() -> None:
    small = DocumentBounds(max_expanded_bytes=5_000_000)

    said = refused(docx("<!--" + " " * 6_000_000 + "-->"), bounds=small)

    assert said == "decompresses to more than 5000000 bytes, the limit: split it"


def test_parts_that_expand_to_too_much_together_are_refused() -> None:
    heads = {
        f"word/h{n}.xml": f'<w:hdr xmlns:w="{W}"><!--{" " * 10**6}--></w:hdr>' for n in range(6)
    }
    listed = relations(*((name, "header", name.removeprefix("word/")) for name in heads))
    small = DocumentBounds(max_expanded_bytes=5_000_000)

    assert refused(docx("", {RELATIONS: listed, **heads}), bounds=small).startswith(
        "decompresses to more"
    )


def test_parts_that_nobody_refers_to_are_never_expanded() -> None:
    data = docx(paragraph("Words"), {"word/embeddings/bomb.zip": bytes(20_000_000)})

    assert parsed(data, bounds=DocumentBounds(max_expanded_bytes=1_000_000)).text == "Words"


def test_too_many_parts_are_refused_before_they_are_listed() -> None:
    data = docx("", {f"word/{n}": "" for n in range(300)})

    said = refused(data, bounds=DocumentBounds(max_parts=200))

    assert said == "has more than 200 package entries, the limit"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"a.txt": "x", "b/c.pdf": "y"}, "is a zip archive, not a DOCX"),
        ({}, "is a zip archive, not a DOCX"),
        ({"_rels/.rels": pointing_at("xl/workbook.xml")}, "is an Excel workbook"),
        ({"_rels/.rels": pointing_at("/ppt/presentation.xml")}, "is a PowerPoint presentation"),
        ({"mimetype": "application/vnd.oasis…", "content.xml": "<a/>"}, "is an OpenDocument file"),
        ({"mimetype": "…", "META-INF/container.xml": "<a/>"}, "is an EPUB book"),
        (
            {"_rels/.rels": pointing_at("word/document.xml")},
            "is broken: its entry word/document.xml is missing",
        ),
    ],
)
def test_other_archives_are_told_by_what_they_are(parts: dict[str, str], said: str) -> None:
    assert refused(zipped(parts)).startswith(said)


def test_a_document_without_a_list_of_relations_is_found_by_its_usual_name() -> None:
    assert parsed(zipped({"word/document.xml": body(paragraph("Words"))})).text == "Words"


def test_broken_encrypted_and_strangely_compressed_archives_are_refused() -> None:
    good = docx(paragraph("Words " * 500))
    locked = bytearray(good)
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := locked.find(sign, start + 1)) >= 0:
            locked[start + place] |= 1
    spoilt = bytearray(good)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        place = archive.getinfo("word/document.xml").header_offset
    spoilt[place + 60 : place + 70] = b"\xff" * 10

    assert refused(good[:-30]) == "is broken: its archive cannot be read"
    assert refused(bytes(spoilt)) == "is broken: its word/document.xml cannot be read"
    for odd in (bytes(locked), zipped({"word/document.xml": body("")}, method=zipfile.ZIP_BZIP2)):
        assert refused(odd).startswith(
            "is encrypted, or uses a compression that Office does not use"
        )


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox([reader.__name__], workers=1, memory_bytes=1_000_000_000) as running:
        yield running


def in_a_child(sandbox: Sandbox, data: bytes) -> Document | str:
    """The document, or the sentence of the refusal."""
    try:
        return sandbox.submit(reader.read, data, FRAME, 20, BOUNDS, limit_s=2.0).result(60)
    except UnreadableInput as exc:
        return exc.detail


@pytest.mark.parametrize(
    "content",
    [
        "<w:p><w:r><w:t>" + "x" * 50_000_000 + "</w:t></w:r></w:p>",
        "<w:p/>" * 10_000_000,
        f'<w:p a="{"x" * 50_000_000}"/>',
    ],
    ids=["one text", "many elements", "one attribute"],
)
def test_a_bomb_is_a_document_or_a_refusal_within_the_bounds_of_a_child(
    sandbox: Sandbox, content: str
) -> None:
    found = in_a_child(sandbox, docx(content))

    assert isinstance(found, str) or len(found.text.replace("\n", "")) <= BOUNDS.max_characters
    assert isinstance(in_a_child(sandbox, docx(paragraph("Words"))), Document)


def test_a_mutated_file_is_a_document_or_a_refusal(sandbox: Sandbox) -> None:
    parts = {
        "_rels/.rels": relations(("rId1", "officeDocument", "word/document.xml")),
        RELATIONS: relations(("p", "image", "media/a.png"), ("h", "header", "header1.xml")),
        "word/header1.xml": f'<w:hdr xmlns:w="{W}">{paragraph("Head")}</w:hdr>',
        "word/document.xml": body(
            paragraph("Some words") + f"<w:tbl><w:tr><w:tc>{paragraph('a')}</w:tc></w:tr></w:tbl>"
            + blip("p")
        ),
        "word/media/a.png": image(),
    }  # fmt: skip
    chance = random.Random(7)
    read_ones = 0

    for number in range(300):
        # Every other one within its parts, where no checksum finds it.
        if number % 2:
            name = chance.choice(list(parts))
            data = zipped({**parts, name: _mutated(parts[name], chance)})
        else:
            data = _mutated(zipped(parts, method=chance.choice((0, 8))), chance)
        found = in_a_child(sandbox, data)
        if isinstance(found, Document):
            read_ones += 1
            assert len(found.pages) <= 40
        else:
            assert found
            assert found != "is broken: it cannot be read"  # an error that nobody translated

    assert read_ones > 30


def _mutated(part: str | bytes, chance: random.Random) -> bytes:
    out = bytearray(part if isinstance(part, bytes) else part.encode())
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(out))
        match chance.randrange(4):
            case 0:
                out[place] = chance.randrange(256)
            case 1:
                del out[place : place + chance.randint(1, 9)]
            case 2:
                out[place:place] = out[place : place + chance.randint(1, 40)]
            case 3:
                out[place : place + 2] = chance.choice([b"\xff\xff", b"\0\0", b"<w", b"/>", b"&#"])
        out = out or bytearray(b"x")
    return bytes(out)


@pytest.mark.skipif(not SHARED.exists(), reason="the documents are not here")
def test_real_documents_give_the_text_that_another_reader_saw_and_more() -> None:
    # That reader saw the paragraphs of the body alone.
    further = {
        "footnotes.docx": ["snoska"],
        "tbl-having-tables.docx": [],
        "test.docx": ["13\t14\t49e168b7-d2ae-407f-a055-2167576f39a1", "Test Image:"],
        "testWORD_various.docx": [
            "This is the header text.", "Here is a text box", "This is a footnote.",
            "Row 2 Col 2\tRow 2 Col 3", "This is the footer text.",
        ],
    }  # fmt: skip
    for line in (SHARED / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["probe"]["kind"] == "docx":
            found = parsed((SHARED / entry["file"]).read_bytes(), frame=FRAME)
            assert len(found.text) >= 0.9 * entry["probe"]["text_chars"]
            assert len(found.text) <= 1.1 * entry["probe"]["text_chars"] + 250
            images = [page for page in found.pages if page.pixels is not None]
            assert len(images) == entry["probe"]["inline_images"]
            for words in further[entry["file"]]:
                assert words in found.text
