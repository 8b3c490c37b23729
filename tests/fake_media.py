"""Media that are what their data says: "red" a red picture, "one|two" a document of two pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from shared.errors import UnreadableInput
from shared.types import Media, Priority
from workers.futures import done, failed, then
from workers.inputs.frame import Frame, Pixels
from workers.inputs.page import Document, Page
from workers.inputs.pictures import Picture
from workers.models.hashing import DIMENSIONS, HashingEncoder
from workers.models.port import Rows

COLOURS = {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
FRAME = Frame(height=4, width=4)
BROKEN = "broken"
SCAN = "scan:"  # before the colours of a document that has no text


def solid(colour: str) -> Pixels:
    return np.full((FRAME.height, FRAME.width, 3), COLOURS[colour], np.uint8)


class FakeMedia:
    """Reads at once."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def picture(
        self,
        media: Media,
        frame: Frame,
        *,
        priority: Priority,
        deadline: float | None,
        rank: int,
    ) -> Future[Picture]:
        self.read.append(media.data)
        if media.data not in COLOURS:
            return failed(UnreadableInput("is not a picture"))
        return done(Picture(pixels=solid(media.data), width=300, height=200))

    def document(
        self,
        media: Media,
        frame: Frame | None,
        *,
        most_pages: int,
        use: Callable[[Document], Future[Any]],
        priority: Priority,
        deadline: float | None,
        rank: int,
    ) -> Future[Any]:
        self.read.append(media.data)
        if media.data == BROKEN:
            return failed(UnreadableInput("is no document"))
        scanned = media.data.startswith(SCAN)
        words = media.data.removeprefix(SCAN).split("|")
        pages = tuple(
            Page(
                number=number,
                text="" if scanned else word,
                pixels=None if frame is None else solid(word if word in COLOURS else "black"),
                width=0 if frame is None else 200,
                height=0 if frame is None else 200,
            )
            for number, word in enumerate(words[:most_pages], 1)
        )
        found = Document(kind="pdf", total_pages=len(words), pages=pages, scanned=scanned)
        return then(done(found), use)


class ColourEncoder:
    """The picture tower of the hashing model: a colour lies where its word does."""

    name = "tiny"
    revision = "1"
    dimensions = DIMENSIONS
    frame = FRAME
    picture_tokens = 8

    def __init__(self) -> None:
        self.ran = 0
        self._words = HashingEncoder()

    def encode(self, pictures: Sequence[Pixels]) -> Rows:
        self.ran += len(pictures)
        names = {rgb: name for name, rgb in COLOURS.items()}
        words = [names[tuple(picture[0, 0].tolist())] for picture in pictures]
        return self._words.encode(self._words.tokenise(words))

    def close(self) -> None:
        pass
