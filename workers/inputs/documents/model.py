"""The model of a document: its pages, as text and as images, and what was not read.

The limits of reading are here, too. Each format defines what a page is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from shared.errors import UnreadableInput
from workers.inputs.images.frame import Frame, Pixels

DocumentKind = Literal["docx", "pdf", "text"]

_LINE_ENDS = re.compile(r"\r\n?")
# Line ends and tabs stay. Unpaired surrogates are not characters; PDFium writes U+FFFE where it
# joins a hyphenated word.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class DocumentBounds:
    """The limits of reading a document; the sandbox limits time and memory.

    Attributes:
        max_characters: characters of text of all pages together; the rest is not read. Eight for
            each of a million tokens, as words of European languages have four to six.
        max_notes: annotations and form fields of all pages of a PDF; the rest is not read.
        max_fields: fields of the form of a PDF; a larger form is not loaded, and only the values
            stored in the fields themselves are read.
        max_options: options of all choice fields of a PDF; beyond the limit the value of a choice
            is read instead of its label.
        max_objects: drawn objects of all rendered pages of a PDF; pages beyond the limit are not
            rendered, since a million lines take PDFium 20 s.
        max_page_side_px: longer side of a rendered page, in pixels.
        min_image_px: shorter side of an image of a DOCX, in pixels; smaller ones are ornaments.
        max_parts: package entries of a DOCX.
        max_expanded_bytes: decompressed bytes of all entries of a DOCX that are read.
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
class DocumentPage:
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
    """The content of a document that was read.

    Attributes:
        total_pages: number of pages, unread ones included; of a DOCX, the pages of its text and, if
            images were requested, the usable and the unread images.
        pages_read: number of pages that were read completely.
        pages: the first pages, separately.
        rest: the text of the later pages, for formats without pages of their own.
        visible: whether a page has visible content, even if no frame was requested.
        scanned: whether the pages are images with hardly any text.
        unread: a sentence for each kind of content that was not read.
    """

    kind: DocumentKind
    total_pages: int
    pages_read: int
    pages: tuple[DocumentPage, ...]
    rest: str = ""
    visible: bool = False
    scanned: bool = False
    unread: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of all pages, separated by blank lines."""
        return "\n\n".join(text for text in (*(p.text for p in self.pages), self.rest) if text)


def plain(text: str) -> str:
    """Remove control characters from a text and normalise its line ends.

    >>> plain("con\\ufffefirming\\x00\\r\\nits")
    'confirming\\nits'
    """
    return _NO_TEXT.sub("", _LINE_ENDS.sub("\n", text))


def whole(frame: Frame) -> Frame:
    """The frame for document pages: the whole page is fitted, on a white background."""
    return replace(frame, resize="longest", fill=255) if frame.resize == "shortest" else frame


def beyond(read: int, total: int) -> tuple[str, ...]:
    """The sentence for unread pages at the end, if there are any.

    >>> beyond(20, 5000), beyond(3, 3)
    (('Pages 21 to 5000 were not read: the limit is 20 pages.',), ())
    """
    if read >= total:
        return ()
    which = f"Page {total} was" if total == read + 1 else f"Pages {read + 1} to {total} were"
    return (f"{which} not read: the limit is {read} pages.",)


def cut_off(max_characters: int) -> str:
    """The sentence for a truncated text."""
    return f"The text was read up to the limit of {max_characters} characters."


def refuse(message: str, *, cause: BaseException | None = None) -> NoReturn:
    """Refuse a document; the message is a predicate with the reason and the remedy.

    Raises:
        UnreadableInput: Always.
    """
    raise UnreadableInput(message) from cause
