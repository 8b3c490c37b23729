"""Pages for text that has none: a page break ends one, and about 3,000 characters do.

A line stays whole, unless it is longer than a page; then it is cut between two words. As these
pages are made up here, none is left out: the text of the first is kept page by page, for who asks
about each, and that of the others in one piece.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from workers.inputs.documents.model import plain

PAGE_CHARACTERS = 3000


class TextFlow:
    """Lines that run from page to page; a page without a word is none.

    Args:
        max_pages: so many are kept one by one.
        max_characters: what is beyond is dropped; the pages that it would have been are counted.
    """

    def __init__(self, *, max_pages: int, max_characters: int) -> None:
        self.pages: list[str] = []
        self.total_pages = 0
        self.pages_read = 0  # those that are kept whole
        self._max_pages = max_pages
        self._left = max_characters
        # Not a list: a text of eight million characters may have four million pages.
        self._rest = io.StringIO()
        self._lines: list[str] = []
        self._size = 0

    @property
    def rest(self) -> str:
        """The text after `pages`, a blank line between two of its pages."""
        return self._rest.getvalue().rstrip("\n")

    @property
    def full(self) -> bool:
        """Whether something was dropped."""
        return self.pages_read < self.total_pages

    def add(self, line: str) -> None:
        """One line; a form feed in it is a page break."""
        for number, piece in enumerate(line.split("\f")):
            if number:
                self.end_page()
            for words in _pieces(piece):
                if self._size + len(words) > PAGE_CHARACTERS:
                    self.end_page()
                self._lines.append(words)
                self._size += len(words) + 1

    def end_page(self) -> None:
        """What comes next begins a page; to be called at the end too."""
        text = plain("\n".join(self._lines)).strip()
        self._lines, self._size = [], 0
        if not text:
            return
        self.total_pages += 1
        kept = text[: self._left]
        self._left -= len(kept)
        if len(kept) == len(text):
            self.pages_read += 1
        if kept and len(self.pages) < self._max_pages:
            self.pages.append(kept)
        elif kept:
            self._rest.write(kept + "\n\n")


def _pieces(line: str) -> Iterator[str]:
    """A line in pieces that fit a page."""
    start = 0
    while len(line) - start > PAGE_CHARACTERS:
        end = line.rfind(" ", start + 1, start + PAGE_CHARACTERS)
        if end < 0:
            end = start + PAGE_CHARACTERS
        yield line[start:end]
        start = end + line.startswith(" ", end)
    yield line[start:]
