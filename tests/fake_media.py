"""Media that are what their data says: "red" a red image, "one|two" a document of two pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from shared.errors import UnreadableInput
from shared.types import Media
from workers.embedding.download_deadline import DownloadDeadline
from workers.futures import done, failed, then
from workers.inputs.documents.model import Document, DocumentPage
from workers.inputs.images.decode import FramedImage
from workers.inputs.images.frame import Frame, Pixels
from workers.models.hashing import DIMENSIONS, HashingEncoder
from workers.models.port import Rows
from workers.work_context import WorkContext

COLOURS = {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
FRAME = Frame(height=4, width=4)
BROKEN = "broken"
SCAN = "scan:"  # before the colours of a document that has no text
CUTS = "cuts:"  # before the pages of a text that has none by itself
NOTHING = "nothing:"  # before what a document has that is not read: a metafile, more pages


def solid(colour: str) -> Pixels:
    return np.full((FRAME.height, FRAME.width, 3), COLOURS[colour], np.uint8)


class FakeMedia:
    """Reads at once."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def image(
        self,
        media: Media,
        frame: Frame,
        context: WorkContext,
        *,
        patience: DownloadDeadline | None,
    ) -> Future[FramedImage]:
        self.read.append(media.data)
        if media.data not in COLOURS:
            return failed(UnreadableInput("is not an image"))
        return done(FramedImage(pixels=solid(media.data), width=300, height=200))

    def document(
        self,
        media: Media,
        frame: Frame | None,
        context: WorkContext,
        *,
        max_pages: int,
        use: Callable[[Document], Future[Any]],
        patience: DownloadDeadline | None,
    ) -> Future[Any]:
        self.read.append(media.data)
        if media.data == BROKEN:
            return failed(UnreadableInput("is no document"))
        if media.data.startswith(NOTHING):
            return then(done(_without_anything(media.data.removeprefix(NOTHING))), use)
        if media.data.startswith(CUTS):
            return then(done(_text(media.data.removeprefix(CUTS).split("|"), max_pages)), use)
        scanned = media.data.startswith(SCAN)
        words = media.data.removeprefix(SCAN).split("|")
        pages = tuple(
            DocumentPage(
                number=number,
                text="" if scanned else word,
                pixels=None if frame is None else solid(word if word in COLOURS else "black"),
                width=0 if frame is None else 200,
                height=0 if frame is None else 200,
            )
            for number, word in enumerate(words[:max_pages], 1)
        )
        found = Document(
            kind="pdf",
            total_pages=len(words),
            pages_read=len(pages),
            pages=pages,
            visible=True,
            scanned=scanned,
        )
        return then(done(found), use)


_UNREAD = {
    "metafile": ("Images that are broken were not read: 1.",),
    "more pages": ("Page 1 was not read: the limit is 0 pages.",),
}


def _without_anything(kind: str) -> Document:
    return Document(
        kind="docx",
        total_pages=int(kind == "more pages"),
        pages_read=0,
        pages=(),
        visible=kind == "metafile",
        unread=_UNREAD.get(kind, ()),
    )


def _text(words: list[str], max_pages: int) -> Document:
    pages = tuple(DocumentPage(number=n, text=word) for n, word in enumerate(words[:max_pages], 1))
    return Document(
        kind="text",
        total_pages=len(words),
        pages_read=len(words),
        pages=pages,
        rest="\n\n".join(words[max_pages:]),
    )


class ColourEncoder:
    """The image tower of the hashing model: a colour lies where its word does."""

    name = "tiny"
    revision = "1"
    dimensions = DIMENSIONS
    frame = FRAME
    image_tokens = 8

    def __init__(self) -> None:
        self.ran = 0
        self._words = HashingEncoder()

    def encode(self, images: Sequence[Pixels]) -> Rows:
        self.ran += len(images)
        names = {rgb: name for name, rgb in COLOURS.items()}
        words = [names[tuple(image[0, 0].tolist())] for image in images]
        return self._words.encode(self._words.tokenise(words))

    def close(self) -> None:
        pass
