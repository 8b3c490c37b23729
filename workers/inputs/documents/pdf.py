"""PDF reader: the text and the rendering of pages, by PDFium.

The text is that of PDFium, in its order, followed by the text of form fields, annotations and
signatures (`pdf_form`). No script is run, and no reference is followed. PDFium may crash: the
reader runs in the sandbox.

A page with an image and fewer than 32 characters, whitespace not counted, is a scan; a document is
`scanned` if most of its read pages are scans.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

import pypdfium2 as pdfium
from pypdfium2 import raw

from workers.inputs.documents import pdf_form
from workers.inputs.documents.model import (
    Document,
    DocumentBounds,
    DocumentPage,
    beyond,
    cut_off,
    plain,
    refuse,
    whole,
)
from workers.inputs.images.frame import Frame
from workers.inputs.images.preprocess import framed

_SCAN_CHARACTERS = 32  # a page number and a stamp
_SEEN_OBJECTS = 10_000  # objects of a page that are searched for an image: drawings have a million
_REFUSALS = {
    raw.FPDF_ERR_PASSWORD: "is encrypted: send it without a password",
    raw.FPDF_ERR_SECURITY: "uses unsupported encryption: send it without encryption",
}


def read(data: bytes, frame: Frame | None, max_pages: int, bounds: DocumentBounds) -> Document:
    """Read the first pages of a PDF. A PDF that an empty password opens is read.

    Args:
        frame: the frame that each page is fitted into; None: no page is rendered. Empty pages are
            never rendered.

    Raises:
        UnreadableInput: The PDF is broken, encrypted or without pages.
    """
    pages: list[DocumentPage] = []
    broken: list[int] = []
    crowded: list[int] = []
    scans, read, left, visible = 0, 0, bounds.max_characters, False
    notes, notes_left, objects_left = 0, bounds.max_notes, bounds.max_objects
    with _opened(data) as document, pdf_form.opened(document, data, bounds) as form:
        total, reasons = len(document), pdf_form.reasons(document)
        for number in range(1, min(total, max_pages) + 1):
            try:
                page = document[number - 1]
            except pdfium.PdfiumError:
                broken.append(number)
                continue
            with closing(page):
                text = plain(_text(page))
                if len("".join(text.split(maxsplit=_SCAN_CHARACTERS))) < _SCAN_CHARACTERS:
                    scans += _has_image(page)
                drawn = _is_drawn(page)
                visible = visible or drawn
                objects = raw.FPDFPage_CountObjects(page)
                few = objects <= objects_left
                objects_left -= objects if drawn and (few or frame is None) else 0
                if frame is not None and not few:
                    crowded.append(number)
                    drawn = False
                rendered = _rendered(page, frame if drawn else None, bounds, number=number)
                # After the rendering: reading the form may change the page.
                count = raw.FPDFPage_GetAnnotCount(page)
                annotations = form.read(page, min(count, notes_left), left)
                notes, notes_left = notes + count, max(0, notes_left - count)
                if annotations.silent and few and pdf_form.show(page, annotations.silent):
                    text = plain(_text_again(document, number))
                text = "\n".join([text, *annotations.texts]).strip()
                read += len(text) <= left
                pages.append(replace(rendered, text=text[:left]))
                left -= len(pages[-1].text)
        if pages:
            reasons = pdf_form.unshown(reasons, [page.text for page in pages])
            text = "\n".join(filter(None, [pages[-1].text, *reasons]))
            pages[-1] = replace(pages[-1], text=text[: len(pages[-1].text) + left])
    if not pages:
        refuse("is broken: no page of it can be read" if total else "has no pages")
    return Document(
        kind="pdf",
        total_pages=total,
        pages_read=read,
        pages=tuple(pages),
        visible=visible,
        scanned=2 * scans > len(pages),
        unread=(
            *((f"Broken pages were not read: {', '.join(map(str, broken))}.",) if broken else ()),
            *beyond(min(total, max_pages), total),
            *_crowded(crowded, notes, bounds),
            *((cut_off(bounds.max_characters),) if read < len(pages) else ()),
        ),
    )


def _opened(data: bytes) -> pdfium.PdfDocument:
    # Not by the class itself: for a file without pages it reports the error of the previous file.
    handle = raw.FPDF_LoadMemDocument64(data, len(data), None)
    if not handle:
        refuse(_REFUSALS.get(raw.FPDF_GetLastError(), "is a broken PDF: write it again"))
    return pdfium.PdfDocument(handle)


def _text(page: pdfium.PdfPage) -> str:
    try:
        words = page.get_textpage()
    except pdfium.PdfiumError:
        return ""  # the page may still be rendered
    with closing(words):
        count = words.count_chars()
        # Not by `get_text_range`, which recurses for each character without text. A character may
        # take two units; the last unit is for a NUL.
        buffer = (ctypes.c_ushort * (2 * max(count, 0) + 1))()
        units = raw.FPDFText_GetText(words, 0, count, buffer)
        return bytes(memoryview(buffer)[: max(units - 1, 0)]).decode("utf-16-le", "ignore")


def _text_again(document: pdfium.PdfDocument, number: int) -> str:
    with closing(document[number - 1]) as page:
        return _text(page)


def _crowded(pages: list[int], notes: int, bounds: DocumentBounds) -> Iterator[str]:
    """The sentences for objects and annotations above their limits."""
    if pages:
        numbers = ", ".join(map(str, pages))
        yield (
            f"Pages beyond the limit of {bounds.max_objects} drawn objects were not rendered: "
            f"{numbers}."
        )
    if notes > bounds.max_notes:
        yield (
            f"Of {notes} annotations and form fields, only the first {bounds.max_notes} were read, "
            "the limit."
        )


def _has_image(page: pdfium.PdfPage) -> bool:
    try:
        objects = islice(page.get_objects(max_depth=3), _SEEN_OBJECTS)
        return any(each.type == raw.FPDF_PAGEOBJ_IMAGE for each in objects)
    except pdfium.PdfiumError:
        return False


def _is_drawn(page: pdfium.PdfPage) -> bool:
    """Whether the page has any object or annotation."""
    return bool(raw.FPDFPage_CountObjects(page) > 0 or raw.FPDFPage_GetAnnotCount(page) > 0)


def _rendered(
    page: pdfium.PdfPage, frame: Frame | None, bounds: DocumentBounds, *, number: int
) -> DocumentPage:
    """The rendered page, without its text.

    It is rendered at twice the size of the frame, by the shorter sides, and then scaled down, so
    that the image is antialiased.
    """
    if frame is None:
        return DocumentPage(number=number, text="")
    width, height = (max(side, 1e-3) for side in page.get_size())
    scale = min(
        2 * min(frame.width, frame.height) / min(width, height),
        bounds.max_page_side_px / max(width, height),
    )
    few = raw.FPDFPage_GetAnnotCount(page) <= bounds.max_notes
    bitmap = page.render(scale=scale, rev_byteorder=True, may_draw_forms=few, draw_annots=few)
    with closing(bitmap):
        image = bitmap.to_pil()
        pixels = framed(image, whole(frame))
    return DocumentPage(
        number=number, text="", pixels=pixels, width=image.width, height=image.height
    )
