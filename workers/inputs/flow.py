"""Pages for text that has none: a page break ends one, and about 3,000 characters do.

A line stays whole, unless it is longer than a page; then it is cut between two words.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers.inputs.page import plain

PAGE_CHARACTERS = 3000


class Flow:
    """Lines that run from page to page; a page without a word is none.

    Args:
        most_pages: the text of so many is kept; the others are counted.
        max_characters: what is beyond is dropped, and `full` says so.
    """

    def __init__(self, *, most_pages: int, max_characters: int) -> None:
        self.full = False
        self.pages: list[str] = []
        self.total_pages = 0
        self._most_pages = most_pages
        self._left = max_characters
        self._lines: list[str] = []
        self._size = 0

    def add(self, line: str) -> None:
        """One line; a form feed in it is a page break."""
        self.full = self.full or len(line) > self._left
        line = line[: self._left]
        self._left -= len(line)
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
        if text:
            self.total_pages += 1
            if len(self.pages) < self._most_pages:
                self.pages.append(text)


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
