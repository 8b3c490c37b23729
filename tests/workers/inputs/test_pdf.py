from __future__ import annotations

import json
import random
import socket
from pathlib import Path

import numpy as np
import pypdfium2
import pytest

from shared.errors import UnreadableInput
from tests.workers.inputs.document_bombs import annotations, lines
from tests.workers.inputs.documents import (
    HELVETICA,
    encrypted,
    flate,
    pdf,
    shown,
    stream,
    written,
)
from workers.inputs.documents import reader
from workers.inputs.documents.model import Document, DocumentBounds
from workers.inputs.documents.pdf import read
from workers.inputs.images.frame import Frame
from workers.sandbox.pool import Sandbox

FRAME = Frame(height=64, width=64)
BOUNDS = DocumentBounds()
SHARED = Path(__file__).parents[4] / "shared" / "data" / "documents"
JPEG_GREY = b"/Type/XObject/Subtype/Image/Width 8/Height 8/BitsPerComponent 8/ColorSpace/DeviceGray"


def parsed(data: bytes, *, frame: Frame | None = None, max_pages: int = 20) -> Document:
    return read(data, frame, max_pages, BOUNDS)


def refused(data: bytes) -> str:
    with pytest.raises(UnreadableInput) as info:
        parsed(data, frame=FRAME)
    return info.value.detail


def test_each_page_has_its_text_in_the_order_of_the_document() -> None:
    two_lines = shown(b"First line", y=700) + b" " + shown(b"second line", y=680)

    found = parsed(pdf(two_lines, shown(b"Another page")))

    assert found.kind == "pdf"
    assert [(page.number, page.text) for page in found.pages] == [
        (1, "First line\nsecond line"),
        (2, "Another page"),
    ]
    assert found.total_pages == 2
    assert found.text == "First line\nsecond line\n\nAnother page"
    assert found.unread == ()
    assert not found.scanned


def test_a_page_with_nothing_on_it_is_not_rendered() -> None:
    found = parsed(pdf(b"", shown(b"Words"), b"0 0 9 9 re f"), frame=FRAME)

    assert [page.pixels is None for page in found.pages] == [True, False, False]
    assert found.visible


@pytest.mark.parametrize("frame", [None, FRAME])
def test_whether_there_is_anything_to_see_is_known_without_a_frame(frame: Frame | None) -> None:
    assert parsed(pdf(b"0 0 9 9 re f"), frame=frame).visible
    assert not parsed(pdf(b"", b""), frame=frame).visible


def test_without_a_frame_no_page_is_rendered() -> None:
    (page,) = parsed(pdf(shown(b"Words"))).pages

    assert (page.pixels, page.width, page.height) == (None, 0, 0)


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
def test_a_page_is_seen_as_a_whole(resize: str) -> None:
    corners = b"0 0 60 60 re 535 0 60 60 re 0 782 60 60 re 535 782 60 60 re f"
    frame = Frame(height=64, width=64, resize=resize, fill=255)  # type: ignore[arg-type]

    (page,) = parsed(pdf(corners), frame=frame).pages

    assert page.pixels is not None
    assert page.pixels.shape == (64, 64, 3)
    assert page.pixels.dtype == np.uint8
    ink = np.argwhere(page.pixels[:, :, 0] < 64)
    for half in (ink[:, 0] < 8, ink[:, 0] > 55):  # in rows at the top, and at the bottom
        columns = ink[half][:, 1]
        assert columns.min() < 16
        assert columns.max() > 47
    assert page.pixels[32, 32].tolist() == [255, 255, 255]


def test_a_page_is_rendered_with_a_shorter_side_of_twice_the_frame_and_in_its_colours() -> None:
    (page,) = parsed(pdf(b"1 0 0 rg 0 0 595 842 re f"), frame=FRAME).pages

    assert (page.width, page.height) == (128, 182)
    assert page.pixels is not None
    assert page.pixels[32, 32].tolist() == [255, 0, 0]


def test_what_is_filled_around_a_page_is_white_where_the_model_would_have_cut_it() -> None:
    (page,) = parsed(pdf(b"0 0 595 842 re f"), frame=FRAME).pages

    assert page.pixels is not None
    assert page.pixels[32, 0].tolist() == [255, 255, 255]
    assert page.pixels[32, 32].tolist() == [0, 0, 0]


def test_a_turned_page_is_seen_upright() -> None:
    (page,) = parsed(pdf(b"0 0 595 842 re f", page=b"/Rotate 90"), frame=FRAME).pages

    assert (page.width, page.height) == (182, 128)
    assert page.pixels is not None
    assert page.pixels[0, 32].tolist() == [255, 255, 255]
    assert page.pixels[32, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "box",
    [
        b"0 0 0 0", b"0 0 14400 14400", b"0 0 1000000 1000000", b"0 0 1 14400", b"0 0 .0001 14400",
        b"0 0 14400 .0001", b"0 0 1e9 1e9", b"595 842 0 0", b"0 0 -5 -5", b"a b c d", b"",
        b"0 0 99999999999 1", b"0 0 3.4e38 3.4e38", b"-2147483648 -2147483648 2147483647 0",
    ],
)  # fmt: skip
def test_a_page_of_any_size_is_rendered_within_the_bound(box: bytes) -> None:
    (page,) = parsed(pdf(shown(b"Words", x=0, y=0), box=box), frame=FRAME).pages

    assert page.pixels is not None
    assert page.pixels.shape == (64, 64, 3)
    assert 0 < min(page.width, page.height) <= 129
    assert max(page.width, page.height) <= BOUNDS.max_page_side_px + 1


def test_only_the_pages_that_are_read_are_touched() -> None:
    # Were any other page looked at, it would be found broken.
    data = pdf(*(shown(b"Page %d" % number) for number in range(1, 5001)))
    place = data.index(b"44 0 obj")  # the 21st page
    data = data[:place] + b"x" * 8 + data[place + 8 :].replace(b"/Type/Page/", b"/Type/Rage/")

    found = parsed(data, frame=FRAME)

    assert [page.text for page in found.pages] == [f"Page {number}" for number in range(1, 21)]
    assert (found.total_pages, found.pages_read) == (5000, 20)
    assert found.unread == ("Pages 21 to 5000 were not read: the limit is 20 pages.",)


@pytest.mark.parametrize("count", [0, -5, 1_000_000])
def test_a_lying_count_of_pages_changes_nothing_of_those_there_are(count: int) -> None:
    found = parsed(pdf(shown(b"Words"), count=count))

    assert [page.text for page in found.pages] == ["Words"]
    assert found.total_pages == max(count, 1)
    if count > 1:
        assert found.unread == (
            f"Broken pages were not read: {', '.join(map(str, range(2, 21)))}.",
            "Pages 21 to 1000000 were not read: the limit is 20 pages.",
        )


def test_a_broken_page_is_said_and_the_others_keep_their_numbers() -> None:
    data = pdf(shown(b"One"), shown(b"Two")).replace(b"/Kids[4 0 R 6", b"/Kids[9 0 R 6")

    found = parsed(data)

    assert [(page.number, page.text) for page in found.pages] == [(2, "Two")]
    assert found.unread == ("Broken pages were not read: 1.",)


def test_text_is_bounded_over_all_pages_and_the_rest_is_said() -> None:
    data = pdf(shown(b"12345"), shown(b"67890"), shown(b"more"))

    found = read(data, FRAME, 20, DocumentBounds(max_characters=7))

    assert [page.text for page in found.pages] == ["12345", "67", ""]
    assert (found.total_pages, found.pages_read) == (3, 1)
    assert all(page.pixels is not None for page in found.pages)
    assert found.unread == ("The text was read up to the limit of 7 characters.",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encrypted(b"Secret", password=b"word"), "is encrypted: send it without a password"),
        (pdf(), "has no pages"),
        (pdf(shown(b"x"))[:150], "is a broken PDF: write it again"),
        (b"%PDF-1.7\n" + b"garbage " * 100, "is a broken PDF: write it again"),
        (b"%PDF-", "is a broken PDF: write it again"),
        (
            pdf(shown(b"x")).replace(b"/Kids[4", b"/Kids[9"),
            "is broken: no page of it can be read",
        ),
        (
            written(
                [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"],
                b"/Encrypt<</Filter/Strange/V 9>>",
            ),
            "uses unsupported encryption: send it without encryption",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(data: bytes, said: str) -> None:
    refused(encrypted(b"Secret", password=b"word"))  # PDFium remembers the error before

    assert refused(data) == said


def test_an_empty_password_is_none() -> None:
    found = parsed(encrypted(b"For everyone"))

    assert found.text == "For everyone"


@pytest.mark.parametrize("end", [b"%%EOF\n", b"startxref"])
def test_a_file_without_its_end_is_put_together_again(end: bytes) -> None:
    data = pdf(shown(b"Words"))

    assert parsed(data[: data.rindex(end)]).text == "Words"


def test_control_characters_are_no_text_and_characters_beyond_16_bits_are() -> None:
    mapping = (
        b"1 begincodespacerange <00> <ff> endcodespacerange 4 beginbfchar"
        b"<41> <D83DDE00> <42> <0001> <43> <FB01> <44> <0000> endbfchar"
    )
    font = HELVETICA[:-2] + b"/ToUnicode 4 0 R>>"
    many = b"D" * 3000  # pypdfium2 itself recurses once for each

    found = parsed(pdf(shown(many + b"xABC y"), font=font, more=[stream(mapping)]))

    assert found.text == "x\U0001f600fi y"


def test_a_word_that_a_line_end_cuts_is_whole_again() -> None:
    found = parsed(pdf(shown(b"a hyphen-", y=700) + b" " + shown(b"ated word", y=686)))

    assert "\ufffe" not in found.text
    assert "hyphenated word" in found.text


def test_fonts_of_drawings_and_of_chinese_and_japanese_give_their_text() -> None:
    drawn = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 750 750]/FontMatrix[.001 0 0 .001 0 0]"
        b"/CharProcs<</box 4 0 R>>/Encoding<</Type/Encoding/Differences[97/box]>>"
        b"/FirstChar 97/LastChar 97/Widths[1000]/ToUnicode 5 0 R>>"
    )
    mapping = (
        b"1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <61> <00D8> endbfchar"
    )
    glyph = b"1000 0 0 0 750 750 d1 0 0 750 750 re f"
    chinese = (
        b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H/DescendantFonts["
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo"
        b"<</Registry(Adobe)/Ordering(GB1)/Supplement 4>>>>]>>"
    )
    japanese = chinese.replace(b"UniGB-UCS2-H", b"90ms-RKSJ-H").replace(b"GB1", b"Japan1")

    type_3 = parsed(pdf(shown(b"aa"), font=drawn, more=[stream(glyph), stream(mapping)]))
    gb = parsed(pdf(b"BT /F 12 Tf 20 700 Td <4E2D6587> Tj ET", font=chinese))
    jis = parsed(pdf(b"BT /F 12 Tf 20 700 Td <93FA967B> Tj ET", font=japanese))

    assert type_3.text == "\u00d8\u00d8"
    assert gb.text == "\u4e2d\u6587"
    assert jis.text == "\u65e5\u672c"


def test_what_stands_in_form_fields_and_notes_is_text_too() -> None:
    more = [
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Ada Lovelace)/Rect[20 100 200 120]>>",
        b"<</Type/Annot/Subtype/Widget/FT/Btn/T(box)/V/Off/Rect[20 80 40 90]>>",
        b"<</Type/Annot/Subtype/Text/Contents(Please pay)/Rect[20 50 40 70]>>",
        b"<</Type/Annot/Subtype/Link/Contents(a link)/Rect[20 20 40 30]>>",
    ]
    page = b"/Annots[4 0 R 5 0 R 6 0 R 7 0 R 99 0 R null]"
    form = b"/AcroForm<</Fields[4 0 R 5 0 R]>>"

    found = parsed(pdf(shown(b"Invoice"), page=page, catalog=form, more=more), frame=FRAME)

    assert found.text == "Invoice\nAda Lovelace\nPlease pay"


def test_pages_that_are_images_are_a_scan() -> None:
    image = stream(bytes(64), JPEG_GREY)
    scan = b"q 595 0 0 842 0 0 cm /I Do Q"
    many_words = shown(b"a long line of words, as no page that is an image has one")

    def made(*contents: bytes) -> Document:
        return parsed(pdf(*contents, resources=b"/XObject<</I 4 0 R>>", more=[image]))

    assert made(scan, scan).scanned
    assert made(scan + b" " + shown(b"Page 1 of 2"), scan).scanned
    assert not made(scan + b" " + many_words).scanned  # as text recognition leaves it
    assert not made(scan, many_words).scanned
    assert not made(b"", b"").scanned


def test_no_script_is_run_and_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = b"http://127.0.0.1:%d/x" % server.getsockname()[1]
        script = b"<</S/JavaScript/JS(app.launchURL\\('%s'\\);this.getField\\('a'\\).value='ran')>>"
        actions = b"/OpenAction %s/AA<</WC %s>>/AcroForm<</Fields[4 0 R]/XFA 5 0 R>>" % (
            (script % url,) * 2
        )
        more = [
            b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(kept)/Rect[0 0 9 9]/AA<</F %s>>>>"
            % (script % url),
            stream(b"", b"/FS/URL/F(%s)" % url),
            b"<</Type/XObject/Subtype/Image/Width 8/Height 8/BitsPerComponent 8"
            b"/ColorSpace/DeviceGray/F<</FS/URL/F(%s)>>/Length 0>>stream\n\nendstream" % url,
            b"<</Type/Annot/Subtype/Link/Rect[0 0 9 9]/A<</S/URI/URI(%s)>>>>" % url,
        ]
        page = b"/Annots[4 0 R 7 0 R]/AA<</O<</S/Launch/F(%s)>>/C<</S/SubmitForm/F(%s)>>>>" % (
            url, url,
        )  # fmt: skip
        data = pdf(
            shown(b"Words") + b" /I Do",
            page=page,
            catalog=actions,
            more=more,
            resources=b"/XObject<</I 6 0 R>>",
        )

        found = parsed(data, frame=FRAME)

        assert found.text == "Words\nkept"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_pdfium_is_built_without_scripts_and_xfa() -> None:
    assert not {"V8", "XFA"} & set(pypdfium2.PDFIUM_INFO.flags)


@pytest.fixture(scope="module")
def sandbox() -> object:
    with Sandbox([reader.__name__], workers=1, memory_bytes=1_000_000_000) as running:
        yield running


def in_a_child(sandbox: Sandbox, data: bytes, *, limit_s: float = 5.0) -> Document | str:
    """The document, or the sentence of the refusal."""
    try:
        return sandbox.submit(reader.read, data, FRAME, 20, BOUNDS, limit_s=limit_s).result(60)
    except UnreadableInput as exc:
        return exc.detail


def test_a_document_travels_out_of_the_child_as_it_is(sandbox: Sandbox) -> None:
    data = pdf(shown(b"One"), shown(b"Two"))

    found = in_a_child(sandbox, data)

    here = reader.read(data, FRAME, 20, BOUNDS)
    assert isinstance(found, Document)
    assert [page.text for page in found.pages] == [page.text for page in here.pages]
    for there, page in zip(found.pages, here.pages, strict=True):
        np.testing.assert_array_equal(there.pixels, page.pixels)


@pytest.mark.parametrize("times", [1, 3])
def test_a_bomb_is_a_blank_page_or_a_refusal(sandbox: Sandbox, times: int) -> None:
    filters = b"/Filter[%s]" % (b"/FlateDecode" * times)
    content = stream(flate(2**30, times=times), filters)
    bomb = written(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R>>",
            content,
        ]
    )

    found = in_a_child(sandbox, bomb)

    assert isinstance(found, str) or found.text == ""
    assert isinstance(in_a_child(sandbox, pdf(shown(b"Words"))), Document)


def mutated(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(out))
        match chance.randrange(5):
            case 0:
                out[place] = chance.randrange(256)
            case 1:
                del out[place : place + chance.randint(1, 20)]
            case 2:
                out[place:place] = out[place : place + chance.randint(1, 40)]
            case 3:
                out[place : place + 4] = chance.choice(
                    [b"9999", b"-1  ", b"null", b"<</A", b"0 R "]
                )
            case 4:
                out = out[: max(place, 10)]
    return bytes(out)


def test_a_mutated_file_is_a_document_or_a_refusal(sandbox: Sandbox) -> None:
    seed = pdf(
        shown(b"Some words"),
        shown(b"on two pages") + b" q 100 0 0 100 0 0 cm /I Do Q",
        page=b"/Annots[4 0 R 6 0 R 7 0 R 8 0 R]",
        catalog=b"/AcroForm<</Fields[4 0 R 9 0 R 7 0 R 8 0 R]>>",
        more=[
            b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Ada)/Rect[20 100 200 120]>>",
            stream(flate(2**20), JPEG_GREY + b"/Filter/FlateDecode"),
            b"<</Type/Annot/Subtype/Widget/Parent 9 0 R/Rect[20 130 200 150]>>",
            b"<</Type/Annot/Subtype/Widget/FT/Ch/T(c)/V(1)/Opt[[(1)(One)]]/Rect[20 160 200 180]>>",
            b"<</Type/Annot/Subtype/Widget/FT/Sig/T(s)/Rect[20 190 200 210]/AP<</N 10 0 R>>>>",
            b"<</FT/Tx/T(above)/V(Value)/Kids[6 0 R]>>",
            stream(shown(b"Signed", x=2, y=5), b"/Subtype/Form/BBox[0 0 180 20]"),
        ],
        resources=b"/XObject<</I 5 0 R>>",
    )
    chance = random.Random(7)
    read_ones = 0

    for _ in range(300):
        found = in_a_child(sandbox, mutated(seed, chance))
        if isinstance(found, Document):
            read_ones += 1
            assert len(found.pages) <= 20
            drawn = (page.pixels is not None for page in found.pages if page.text)
            assert found.kind == "text" or all(drawn)
        else:
            assert found

    assert read_ones > 30


@pytest.mark.skipif(not SHARED.exists(), reason="the documents are not here")
def test_real_documents_give_the_text_that_another_reader_saw() -> None:
    for line in (SHARED / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["probe"]["kind"] == "pdf":
            found = parsed((SHARED / entry["file"]).read_bytes(), max_pages=30)
            characters = sum(len(page.text) for page in found.pages)
            assert characters == pytest.approx(entry["probe"]["text_chars_first30pages"], rel=0.1)
            assert found.total_pages == entry["probe"]["pages"]
            assert not found.scanned


def test_notes_and_objects_are_bounded_and_the_rest_is_said() -> None:
    bounds = DocumentBounds(max_notes=5, max_objects=50)
    noted = reader.read(annotations(8), FRAME, 3, bounds)
    drawn = reader.read(pdf(lines(40), lines(40), lines(5)), FRAME, 3, bounds)

    assert [f"note {n}" in noted.text for n in range(8)] == [True] * 5 + [False] * 3
    assert noted.unread == (
        "Of 8 annotations and form fields, only the first 5 were read, the limit.",
    )
    assert [page.pixels is None for page in drawn.pages] == [False, True, False]
    assert drawn.unread == ("Pages beyond the limit of 50 drawn objects were not rendered: 2.",)
