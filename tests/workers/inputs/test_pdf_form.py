from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from tests.workers.inputs.documents import pdf, shown, stream
from workers.inputs.documents import reader
from workers.inputs.documents.model import Document, DocumentBounds
from workers.inputs.images.frame import Frame

FRAME = Frame(height=64, width=64)
WIDGET = b"/Type/Annot/Subtype/Widget/Rect[20 100 400 120]"
OPTIONS = b"/Opt[[(1)(One)][(2)(Two)](Three)]"


def appearance(text: bytes) -> bytes:
    extra = b"/Type/XObject/Subtype/Form/BBox[0 0 380 20]/Resources<</Font<</F 3 0 R>>>>"
    return stream(b"BT /F 10 Tf 2 5 Td (%s) Tj ET" % text, extra)


def form(
    *widgets: bytes,
    more: Sequence[bytes] = (),
    fields: bytes | None = None,
    catalog: bytes = b"",
    frame: Frame | None = None,
    bounds: DocumentBounds | None = None,
) -> Document:
    """A page "Page" with these widgets, objects from number 4 on, and `more` after them."""
    listed = b" ".join(b"%d 0 R" % number for number in range(4, 4 + len(widgets)))
    data = pdf(
        shown(b"Page"),
        page=b"/Annots[%s]" % listed,
        catalog=b"/AcroForm<</NeedAppearances true/Fields[%s]>>%s"
        % (listed if fields is None else fields, catalog),
        more=[b"<<%s%s>>" % (WIDGET, each) for each in widgets] + list(more),
    )
    return reader.read(data, frame, 20, bounds or DocumentBounds())


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"/FT/Tx/T(a)/V(Ada)", "Ada"),
        (b"/FT/Tx/T(a)/Ff 4096/V(First\\nsecond)", "First\nsecond"),
        (b"/FT/Tx/T(a)/V<FEFF00410161>", "A\u0161"),
        (b"/FT/Tx/T(a)/V 5 0 R", "By reference"),
        (b"/FT/Tx/T(a)/V 6 0 R", "By stream"),
        (b"/FT/Tx/V(no name)", "no name"),
        (b"/FT/Tx/T(a)/RV(<p>Tom &amp; <b>Jerry</b></p><p>too</p>)", "Tom & Jerry\ntoo"),
        (b"/FT/Tx/T(a)/V(plain)/RV(<p>rich</p>)", "plain"),
        (b"/FT/Tx/T(a)", ""),
        (b"/FT/Ch/T(a)/V(2)" + OPTIONS, "Two"),
        (b"/FT/Ch/T(a)/Ff 2097152/V[(1)(Three)]" + OPTIONS, "One\nThree"),
        (b"/FT/Ch/T(a)/Ff 2097152/I[0 1]" + OPTIONS, "One\nTwo"),
        (b"/FT/Ch/T(a)/Ff 131072/V(2)" + OPTIONS, "Two"),
        (b"/FT/Ch/T(a)/Ff 393216/V(My own)" + OPTIONS, "My own"),
        (b"/FT/Ch/T(a)" + OPTIONS, ""),
        (b"/FT/Btn/T(a)/TU(I agree)/V/Yes/AS/Yes/AP<</N<</Yes 7 0 R>>>>", "I agree: Yes"),
        (b"/FT/Btn/T(a)/V/Yes/AS/Yes", "Yes"),
        (b"/FT/Btn/T(a)/V/Yes", "Yes"),
        (b"/FT/Btn/T(a)/V/0/AS/0/Opt[(Member)]/AP<</N<</0 7 0 R>>>>", "Member"),
        (b"/FT/Btn/T(a)/V/Off/AS/Off/AP<</N<</Yes 7 0 R/Off 7 0 R>>>>", ""),
        (b"/FT/Btn/T(a)/V/Off", ""),
        (b"/FT/Btn/T(a)/Ff 65536/V(value)/AP<</N 7 0 R>>", "Shown"),
        (b"/FT/Tx/T(a)/AP<</N 7 0 R>>", "Shown"),
        (b"/FT/Tx/T(a)/V(Shown)/AP<</N 7 0 R>>", "Shown"),
        (b"/FT/Tx/T(a)/F 2/AP<</N 7 0 R>>", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", [None, FRAME])
def test_a_field_gives_what_the_page_shows_of_it(
    field: bytes, text: str, frame: Frame | None
) -> None:
    more = [b"(By reference)", stream(b"By stream"), appearance(b"Shown")]

    found = form(field, more=more, frame=frame)

    assert found.text == f"Page\n{text}".strip()


@pytest.mark.parametrize("fields", [b"6 0 R", b"", b"4 0 R 5 0 R"])
@pytest.mark.parametrize("kind", [b"/FT/Tx/V(Above)", b"/FT/Ch/V(a)/Opt[[(a)(Above)][(b)(Other)]]"])
def test_a_value_of_a_field_above_is_read_once_for_each_page(kind: bytes, fields: bytes) -> None:
    above = b"<</T(a)%s/Kids[4 0 R 5 0 R]>>" % kind

    found = form(b"/Parent 6 0 R", b"/Parent 6 0 R", more=[above], fields=fields)

    assert found.text == "Page\nAbove"


def test_values_come_down_from_any_level() -> None:
    levels = [
        b"<</T(a)/FT/Tx/V(Top)/Kids[6 0 R]>>",
        b"<</T(b)/Parent 5 0 R/Kids[4 0 R]>>",
    ]

    assert form(b"/T(c)/FT/Tx/Parent 6 0 R", more=levels, fields=b"5 0 R").text == "Page\nTop"


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        ((b"Card", b"Cash"), b"", "Pay by: Cash"),
        ((b"0", b"1"), b"/Opt[(By card)(In cash)]", "Pay by: In cash"),
    ],
)
def test_of_radio_buttons_the_one_that_is_checked_is_text(
    names: tuple[bytes, bytes], options: bytes, text: str
) -> None:
    group = b"<</FT/Btn/Ff 49152/T(r)/TU(Pay by)/V/%s/Kids[4 0 R 5 0 R]%s>>" % (names[1], options)
    buttons = [
        b"/Parent 6 0 R/AS/%s/AP<</N<</%s 7 0 R/Off 7 0 R>>>>" % (state, name)
        for state, name in zip((b"Off", names[1]), names, strict=True)
    ]

    found = form(*buttons, more=[group, appearance(b"4")], fields=b"6 0 R")

    assert found.text == f"Page\n{text}"


SIGNATURE = (
    b"<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached/ByteRange[0 1 2 3]"
    b"/Contents<00>/Name(Ada)/Reason(I approve)/Location(Paris)/ContactInfo(ada@example.org)>>"
)


def test_a_signature_gives_its_appearance_and_its_reason() -> None:
    looks = b"Signed by Ada, Paris"
    fields = b"/FT/Sig/T(s)/V 5 0 R/F 132"

    unseen = form(fields, more=[SIGNATURE])
    seen = form(fields + b"/AP<</N 6 0 R>>", more=[SIGNATURE, appearance(looks)], frame=FRAME)
    with_reason = form(
        fields + b"/AP<</N 6 0 R>>",
        more=[SIGNATURE, appearance(looks + b". Reason: I  approve")],
    )

    assert unseen.text == "Page\nI approve"
    assert seen.text.splitlines() == ["Page", "Signed by Ada, Paris", "I approve"]
    assert with_reason.text.count("approve") == 1


def test_an_appearance_is_read_within_others_and_beside_fields_that_have_values() -> None:
    inner = appearance(b"Signed by Ada")
    outer = stream(
        b"q /X Do Q",
        b"/Type/XObject/Subtype/Form/BBox[0 0 380 20]/Resources<</XObject<</X 7 0 R>>>>",
    )

    found = form(
        b"/FT/Sig/T(s)/AP<</N 6 0 R>>",
        b"/FT/Tx/T(t)/V(Value)/AP<</N 8 0 R>>",
        more=[outer, inner, appearance(b"Value")],
    )

    assert sorted(found.text.splitlines()) == ["Page", "Signed by Ada", "Value"]


def test_notes_and_stamps_give_their_text_once() -> None:
    annotations = [
        b"<</Type/Annot/Subtype/Text/Rect[0 0 9 9]/Contents 8 0 R>>",
        b"<</Type/Annot/Subtype/FreeText/Rect[20 40 400 60]/RC(<p>Rich note</p>)/AP<</N 9 0 R>>>>",
        b"<</Type/Annot/Subtype/Stamp/Rect[20 10 400 30]/AP<</N 7 0 R>>>>",
    ]
    more = [*annotations, appearance(b"PAID"), b"(By reference)", appearance(b"Rich note")]

    found = reader.read(
        pdf(shown(b"Page"), page=b"/Annots[4 0 R 5 0 R 6 0 R]", more=more),
        FRAME, 20, DocumentBounds(),
    )  # fmt: skip

    assert found.text == "Page\nPAID\nBy reference\nRich note"


def test_a_page_looks_the_same_whatever_is_read_of_its_form() -> None:
    looks = [appearance(b"Shown")]
    several = form(
        b"/FT/Sig/T(s)/AP<</N 6 0 R>>", b"/FT/Tx/T(t)/Parent 99 0 R/AP<</N 6 0 R>>",
        more=looks, frame=FRAME,
    )  # fmt: skip
    unread = form(
        b"/FT/Sig/T(s)/AP<</N 6 0 R>>", b"/FT/Tx/T(t)/Parent 99 0 R/AP<</N 6 0 R>>",
        more=looks, frame=FRAME, bounds=DocumentBounds(max_fields=0, max_characters=0),
    )  # fmt: skip

    np.testing.assert_array_equal(several.pages[0].pixels, unread.pages[0].pixels)


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ((b"/FT/Tx/T(a)/Parent 5 0 R", b"/T(b)/Parent 4 0 R/Kids[4 0 R]"), ()),
        ((b"/T(a)/Parent 4 0 R/Kids[4 0 R]", b"/FT/Sig/Parent 5 0 R/V 5 0 R"), ()),
        ((b"/FT/Tx/T(a)/Parent 5 0 R",), (b"<</T(b)/Kids[5 0 R 4 0 R]/Parent 5 0 R>>",)),
        ((b"/FT/Ch/T(a)/V 5 0 R/Opt 5 0 R",), (b"[5 0 R [5 0 R 5 0 R] 4 0 R]",)),
        ((b"/FT/Btn/T(a)/Ff 99999999999999999999/V/Yes",), ()),
        ((b"/FT/Sig/T(a)/AP<</N 5 0 R>>",), (stream(
            b"/X Do",
            b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>",
        ),)),
    ],
)  # fmt: skip
def test_circles_come_to_an_end(fields: tuple[bytes, ...], more: tuple[bytes, ...]) -> None:
    assert form(*fields, more=more, frame=FRAME).text.startswith("Page")


def test_one_large_value_of_many_fields_is_read_up_to_the_bound() -> None:
    value = b"(%s)" % (b"word " * 50_000)

    found = form(*[b"/FT/Tx/V 2004 0 R"] * 2_000, more=[value])

    assert len(found.text) == 8_000_000
    assert found.unread == ("The text was read up to the limit of 8000000 characters.",)


def test_a_form_with_very_many_fields_is_not_loaded_and_its_own_values_are_read() -> None:
    # 100,000 take PDFium more than a minute.
    widgets = [b"/FT/Tx/T(n%d)" % number for number in range(30_000)]
    start = time.process_time()

    found = form(b"/FT/Tx/T(own)/V(Value)", b"/FT/Btn/T(box)/AS/Yes", *widgets)

    assert time.process_time() - start < 2
    assert found.text == "Page\nValue\nYes"


def test_options_beyond_the_bound_leave_the_value() -> None:
    bounds = DocumentBounds(max_options=4)
    choice = b"/FT/Ch/V(2)" + OPTIONS

    assert form(choice + b"/T(a)", choice + b"/T(b)", bounds=bounds).text == "Page\nTwo\n2"


def test_no_script_of_a_form_is_run() -> None:
    script = b"<</S/JavaScript/JS(this.getField\\('a'\\).value='ran')>>"
    actions = b"/AA<</F %s/K %s/V %s/C %s>>" % ((script,) * 4)
    above = b"<</T(a)/FT/Tx/V(kept)%s/Kids[4 0 R]>>" % actions

    found = form(
        b"/Parent 5 0 R" + actions,
        more=[above],
        fields=b"",
        catalog=b"/OpenAction %s/AA<</WC %s>>/Names<</JavaScript<</Names[(x) %s]>>>>"
        % ((script,) * 3),
        frame=FRAME,
    )

    assert found.text == "Page\nkept"
