"""What is read of a document: its pages, as text and as images, and what was left out.

How much may be read is said here too. What a page is, each format decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from shared.errors import UnreadableInput
from workers.inputs.images.frame import Frame, Pixels

DocumentKind = Literal["docx", "pdf", "text"]

_LINE_ENDS = re.compile(r"\r\n?")
# Line ends and tabs stay. Lone surrogates are none of Unicode's characters; U+FFFE stands where
# PDFium joined a word that a line end had cut.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class DocumentBounds:
    """How much of a document is read; how long it may take is not decided here.

    Attributes:
        max_characters: of text, of all pages together; what is beyond is left out. Eight for each
            of a million tokens, as words of European languages have four to six.
        max_notes: and form fields of a PDF, of all pages together; what is beyond is left out.
        max_fields: of the form of a PDF; a larger form is not loaded, and its fields have their own
            values only.
        max_options: of the choices of a PDF, all together; beyond them the value of a choice is
            read instead of its label.
        max_objects: of the pages of a PDF that are drawn, all together; those beyond are not, since
            a million lines take PDFium 20 s.
        max_page_side_px: the longer side of the rendering of a page.
        min_image_px: the shorter side of an image of a DOCX; a smaller one is a mere ornament.
        max_parts: that a DOCX may be made of.
        max_expanded_bytes: of all parts of a DOCX that are read.
    """

    max_characters: int = 8_000_000
    max_notes: int = 20_000
    max_fields: int = 5_000
    max_options: int = 20_000
    max_objects: int = 200_000
    max_page_side_px: int = 4_000
    min_image_px: int = 64
    max_parts: int = 10_000
    max_expanded_bytes: int = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page, or an image of a document that has no pages.

    Attributes:
        number: counts from 1 in the order of the document.
        text: lines end in ``\\n``; control characters are left out.
        pixels: of the page as a whole; None where no frame was asked for, or it has no image.
        width, height: in pixels, of the image before it was brought into its frame; 0 without.
    """

    number: int
    text: str
    pixels: Pixels | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document as far as it was read.

    Attributes:
        total_pages: as many as it has, those that were not read among them; of a DOCX, the pages
            of its text and, if images were asked for, those that are of use or were not read.
        pages_read: those of them that were read whole.
        pages: the first of them, each by itself.
        rest: the text of the pages after them, which only text without pages of its own has.
        visible: there is something to see in it, whether or not a frame was asked for.
        scanned: its pages are images, with hardly a text.
        unread: a sentence for each kind of thing that was left out.
    """

    kind: DocumentKind
    total_pages: int
    pages_read: int
    pages: tuple[Page, ...]
    rest: str = ""
    visible: bool = False
    scanned: bool = False
    unread: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of all pages, a blank line between two."""
        return "\n\n".join(text for text in (*(p.text for p in self.pages), self.rest) if text)


def plain(text: str) -> str:
    """A text without control characters, its lines ended as ours are.

    >>> plain("con\\ufffefirming\\x00\\r\\nits")
    'confirming\\nits'
    """
    return _NO_TEXT.sub("", _LINE_ENDS.sub("\n", text))


def whole(frame: Frame) -> Frame:
    """The frame for images of documents: nothing of a page is cut off, on paper that is white."""
    return replace(frame, resize="longest", fill=255) if frame.resize == "shortest" else frame


def beyond(read: int, total: int) -> tuple[str, ...]:
    """The sentence for the pages that come after those that were read, if any do.

    >>> beyond(20, 5000), beyond(3, 3)
    (('Pages 21 to 5000 were not read: the limit is 20 pages.',), ())
    """
    if read >= total:
        return ()
    which = f"Page {total} was" if total == read + 1 else f"Pages {read + 1} to {total} were"
    return (f"{which} not read: the limit is {read} pages.",)


def cut_off(max_characters: int) -> str:
    """The sentence for a text that goes on."""
    return f"The text was read up to the limit of {max_characters} characters."


def refuse(message: str, *, cause: BaseException | None = None) -> NoReturn:
    """Read nothing of the document; the message says of it what it is, and what to do.

    Raises:
        UnreadableInput: Always.
    """
    raise UnreadableInput(message) from cause
