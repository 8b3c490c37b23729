"""DOCX: its text as pages, and after them its images as pages of their own.

A DOCX knows no pages before somebody lays it out. Here a page ends at an explicit page break, and
where it would be longer than about 3,000 characters; all are read. The text: headers, each once;
the body, with tables, text boxes and notes where they stand; footers. Images: PNG and JPEG of the
body, in its order, each once, of a size that says something.

Macros, fields, comments and embedded files are never looked at, and no reference is followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import UnreadableInput
from workers.inputs.documents.model import (
    Document,
    DocumentBounds,
    Page,
    cut_off,
    refuse,
    whole,
)
from workers.inputs.documents.opc_package import Package, Relationship
from workers.inputs.documents.paginate import TextFlow
from workers.inputs.documents.wordml import NoteKey, WordmlContent, words
from workers.inputs.images import decode
from workers.inputs.images.decode import FramedImage, ImageLimits
from workers.inputs.images.frame import Frame

_MAIN = "word/document.xml"
_FOREIGN = (
    ("xl/", "is an Excel workbook: send its rows as CSV, or save it as PDF"),
    ("ppt/", "is a PowerPoint presentation: save it as PDF"),
    ("content.xml", "is an OpenDocument file: save it as DOCX or PDF"),
    ("META-INF/container.xml", "is an EPUB book: save it as PDF"),
)
_ARCHIVE = "is a zip archive, not a DOCX: unpack it, and send each document"
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_IMAGE = ImageLimits(max_pixels=50_000_000)


def read(data: bytes, frame: Frame | None, max_pages: int, bounds: DocumentBounds) -> Document:
    """The text of a DOCX (or DOCM, DOTX, DOTM), and its first images.

    Args:
        frame: that images are brought into, each as a whole; None: no image is read.
        max_pages: of the text, one by one; the others follow in one piece. And of images.

    Raises:
        UnreadableInput: It is broken, encrypted, beyond a bound, or another kind of archive.
    """
    package = Package(data, bounds)
    main = _main(package)
    relations = package.relations(main)
    flow = TextFlow(max_pages=max_pages, max_characters=bounds.max_characters)
    found = _text(package, main, relations, flow)
    unread = [cut_off(bounds.max_characters)] if flow.full else []
    if found.aliens:
        unread.append(f"Embedded files in place of text (altChunk) were not read: {found.aliens}.")
    pages = [Page(number=number, text=text) for number, text in enumerate(flow.pages, start=1)]
    images = [part for part in _images(found, relations) if part in package]
    total, read = flow.total_pages, flow.pages_read
    if frame is not None:
        seen, useless = _seen(package, images, whole(frame), max_pages, bounds)
        total, read = total + len(images) - useless, read + len(seen)
        pages += [
            Page(
                number=number,
                text="",
                pixels=each.pixels,
                width=each.width,
                height=each.height,
            )
            for number, each in enumerate(seen, start=flow.total_pages + 1)
        ]
        if len(seen) + useless < len(images):
            unread.append(f"Images after the first {len(seen)} were not read.")
        if useless:
            unread.append(
                f"Images that are tiny, broken or neither PNG nor JPEG were not read: {useless}."
            )
    return Document(
        kind="docx",
        total_pages=total,
        pages_read=read,
        pages=tuple(pages),
        rest=flow.rest,
        visible=bool(images),
        scanned=bool(images) and flow.total_pages == 0,
        unread=tuple(unread),
    )


def _main(package: Package) -> str:
    """The part with the body; what has none is not a DOCX."""
    relations = package.relations()
    main = next((each.part for each in relations.values() if each.kind == "officeDocument"), _MAIN)
    for name, what in _FOREIGN:
        if main.startswith(name) or name in package:
            refuse(what)
    if main not in package:
        refuse(f"is broken: its entry {main} is missing" if relations else _ARCHIVE)
    return main


def _text(
    package: Package, main: str, relations: dict[str, Relationship], flow: TextFlow
) -> WordmlContent:
    """Every line into the flow; what else the body holds."""

    def parts(kind: str) -> Iterator[str]:
        names = dict.fromkeys(each.part for each in relations.values() if each.kind == kind)
        return (name for name in names if name in package)

    notes: dict[NoteKey, str] = {}
    for part in (*parts("footnotes"), *parts("endnotes")):
        notes |= words(package, part, line=lambda _: None).notes
    _margin(package, parts("header"), flow)
    found = words(package, main, line=flow.add, notes=notes)
    _margin(package, parts("footer"), flow)
    flow.end_page()
    return found


def _margin(package: Package, parts: Iterator[str], flow: TextFlow) -> None:
    """Headers, or footers: first pages, even and odd ones often have the same."""
    seen: set[tuple[str, ...]] = set()
    for part in parts:
        lines: list[str] = []
        words(package, part, line=lines.append)
        if tuple(lines) not in seen:
            for line in lines:
                flow.add(line)
        seen.add(tuple(lines))


def _images(found: WordmlContent, relations: dict[str, Relationship]) -> Iterator[str]:
    """The parts of the images, in the order of the text, each once."""
    referred = (relations[each] for each in found.images if each in relations)
    return iter(dict.fromkeys(each.part for each in referred if each.kind == "image"))


def _seen(
    package: Package, parts: list[str], frame: Frame, most: int, bounds: DocumentBounds
) -> tuple[list[FramedImage], int]:
    """The first images that are of use, and how many before the last of them are not."""
    seen: list[FramedImage] = []
    useless = 0
    for part in parts:
        if len(seen) == most:
            break
        try:
            data = package.read(part)
            image = decode.read(data, frame, _IMAGE) if data.startswith(_MAGIC) else None
        except UnreadableInput:
            image = None
        if image is None or min(image.width, image.height) < bounds.min_image_px:
            useless += 1
        else:
            seen.append(image)
    return seen, useless
