"""Pagination of text without pages: a page ends at a page break or after about 3,000 characters.

A line is not split unless it is longer than a page; then it is split between words. Since these
pages are artificial, none is dropped: the first pages are kept separately, for requests per page,
and the text of the others in one piece.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from workers.inputs.documents.model import plain

PAGE_CHARACTERS = 3000


class TextFlow:
    """Collects lines into pages; empty pages are dropped.

    Args:
        max_pages: number of pages that are kept separately.
        max_characters: limit of the text; the rest is dropped, but its pages are counted.
    """

    def __init__(self, *, max_pages: int, max_characters: int) -> None:
        self.pages: list[str] = []
        self.total_pages = 0
        self.pages_read = 0  # pages that are kept completely
        self._max_pages = max_pages
        self._left = max_characters
        # Not a list: a text of eight million characters may have four million pages.
        self._rest = io.StringIO()
        self._lines: list[str] = []
        self._size = 0

    @property
    def rest(self) -> str:
        """The text after `pages`, with blank lines between its pages."""
        return self._rest.getvalue().rstrip("\n")

    @property
    def full(self) -> bool:
        """Whether text was dropped."""
        return self.pages_read < self.total_pages

    def add(self, line: str) -> None:
        """Add a line; a form feed in it is a page break."""
        for number, piece in enumerate(line.split("\f")):
            if number:
                self.end_page()
            for words in _pieces(piece):
                if self._size + len(words) > PAGE_CHARACTERS:
                    self.end_page()
                self._lines.append(words)
                self._size += len(words) + 1

    def end_page(self) -> None:
        """End the current page. Call it after the last line, too."""
        text = plain("\n".join(self._lines)).strip()
        self._lines, self._size = [], 0
        if not text:
            return
        self.total_pages += 1
        page = text[: self._left]
        self._left -= len(page)
        if len(page) == len(text):
            self.pages_read += 1
        if page and len(self.pages) < self._max_pages:
            self.pages.append(page)
        elif page:
            self._rest.write(page + "\n\n")


def _pieces(line: str) -> Iterator[str]:
    """Split a line into pieces that fit a page."""
    start = 0
    while len(line) - start > PAGE_CHARACTERS:
        end = line.rfind(" ", start + 1, start + PAGE_CHARACTERS)
        if end < 0:
            end = start + PAGE_CHARACTERS
        yield line[start:end]
        start = end + line.startswith(" ", end)
    yield line[start:]
