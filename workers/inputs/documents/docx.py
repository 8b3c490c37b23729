"""DOCX reader: the text as pages, followed by the images as pages of their own.

A DOCX has no pages until it is laid out. Here a page ends at an explicit page break, or after about
3,000 characters; all pages are read. The text consists of the headers, each once; the body, with
tables, text boxes and notes in place; and the footers. The images are the PNG and JPEG images of
the body, in order, each once, above a minimum size.

Macros, fields, comments and embedded files are ignored, and no external reference is followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import UnreadableInput
from workers.inputs.documents.model import (
    Document,
    DocumentBounds,
    DocumentPage,
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
    """Read the text of a DOCX (or DOCM, DOTX, DOTM), and its first images.

    Args:
        frame: the frame that each image is fitted into; None: no image is read.
        max_pages: number of text pages that are returned separately (the others follow in one
            piece), and number of images.

    Raises:
        UnreadableInput: The file is broken, encrypted, exceeds a limit, or is another archive.
    """
    package = Package(data, bounds)
    main = _main(package)
    relations = package.relations(main)
    flow = TextFlow(max_pages=max_pages, max_characters=bounds.max_characters)
    content = _text(package, main, relations, flow)
    unread = [cut_off(bounds.max_characters)] if flow.full else []
    if content.aliens:
        unread.append(
            f"Embedded files in place of text (altChunk) were not read: {content.aliens}."
        )
    pages = [
        DocumentPage(number=number, text=text) for number, text in enumerate(flow.pages, start=1)
    ]
    images = [part for part in _images(content, relations) if part in package]
    total, read = flow.total_pages, flow.pages_read
    if frame is not None:
        frames, unusable = _framed(package, images, whole(frame), max_pages, bounds)
        total, read = total + len(images) - unusable, read + len(frames)
        pages += [
            DocumentPage(
                number=number,
                text="",
                pixels=each.pixels,
                width=each.width,
                height=each.height,
            )
            for number, each in enumerate(frames, start=flow.total_pages + 1)
        ]
        if len(frames) + unusable < len(images):
            unread.append(f"Images after the first {len(frames)} were not read.")
        if unusable:
            unread.append(
                f"Images that are tiny, broken or neither PNG nor JPEG were not read: {unusable}."
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
    """The name of the main document entry; an archive without one is not a DOCX."""
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
    """Add all lines to the flow; returns the other content of the body."""

    def parts(kind: str) -> Iterator[str]:
        names = dict.fromkeys(each.part for each in relations.values() if each.kind == kind)
        return (name for name in names if name in package)

    notes: dict[NoteKey, str] = {}
    for part in (*parts("footnotes"), *parts("endnotes")):
        notes |= words(package, part, line=lambda _: None).notes
    _margin(package, parts("header"), flow)
    content = words(package, main, line=flow.add, notes=notes)
    _margin(package, parts("footer"), flow)
    flow.end_page()
    return content


def _margin(package: Package, parts: Iterator[str], flow: TextFlow) -> None:
    """Add headers or footers, deduplicated: first, even and odd pages often have equal ones."""
    added: set[tuple[str, ...]] = set()
    for part in parts:
        lines: list[str] = []
        words(package, part, line=lines.append)
        if tuple(lines) not in added:
            for line in lines:
                flow.add(line)
        added.add(tuple(lines))


def _images(content: WordmlContent, relations: dict[str, Relationship]) -> Iterator[str]:
    """The entry names of the images, in the order of the text, deduplicated."""
    referred = (relations[each] for each in content.images if each in relations)
    return iter(dict.fromkeys(each.part for each in referred if each.kind == "image"))


def _framed(
    package: Package, parts: list[str], frame: Frame, max_images: int, bounds: DocumentBounds
) -> tuple[list[FramedImage], int]:
    """The first usable images, and the number of unusable ones before the last of them."""
    frames: list[FramedImage] = []
    unusable = 0
    for part in parts:
        if len(frames) == max_images:
            break
        try:
            data = package.read(part)
            image = decode.read(data, frame, _IMAGE) if data.startswith(_MAGIC) else None
        except UnreadableInput:
            image = None
        if image is None or min(image.width, image.height) < bounds.min_image_px:
            unusable += 1
        else:
            frames.append(image)
    return frames, unusable
