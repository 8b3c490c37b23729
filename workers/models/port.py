"""The ports of models: the interface for the microbatcher, the embedder and the scorer of pairs.

Letters: N windows or images, T tokens, D dimensions. A window is a run of content tokens, short
enough for one forward pass. Cutting texts into windows, bringing images into their frame and
choosing batches is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workers.inputs.images.frame import Frame, Pixels

Rows = npt.NDArray[np.float32]
"""Vectors, one a row: (N, D), unit length unless the line says why not."""


class TextEncoder(Protocol):
    """A loaded, warm model. Its vectors depend on the tokens, the name and the revision alone."""

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""

    @property
    def revision(self) -> str:
        """Changes whenever the weights or their configuration do; part of every cache key."""

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""

    @property
    def window(self) -> int:
        """The most content tokens in one window; special tokens come on top."""

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Content token ids of each text: no special tokens, nothing cut off.

        Any thread may call this at any time, also while `encode` runs; the GIL is free during
        the work.

        Returns:
            One list for each text, in order; an empty list for a text without tokens.
        """

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """The vectors of windows of content ids; special tokens and padding are added here.

        One thread at a time may call this. A row may differ by the rounding of the model's
        precision when the batch mates differ; each implementation states how much.

        Args:
            windows: N ≥ 1 windows of 0 to `window` ids.

        Returns:
            (N, D) float32, each row of unit length, in the order given; the caller's own.

        Raises:
            ValueError: when a window is longer than `window`.
        """

    def close(self) -> None:
        """Free the model's memory; nothing but `tokenise` may be called afterwards."""


class ImageEncoder(Protocol):
    """The other tower of a model that reads images: its vectors lie where those of texts do."""

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""

    @property
    def revision(self) -> str:
        """That of the text tower."""

    @property
    def dimensions(self) -> int:
        """D, as that of the text tower."""

    @property
    def frame(self) -> Frame:
        """What images must be brought to."""

    @property
    def image_tokens(self) -> int:
        """What one image costs in a forward pass, in tokens of text: its patches."""

    def encode(self, images: Sequence[Pixels]) -> Rows:
        """The vectors of N ≥ 1 images of the frame's size; normalised here as the model wants.

        One thread at a time may call this.

        Returns:
            (N, D) float32, each row of unit length, in the order given; the caller's own.
        """

    def close(self) -> None:
        """Free the model's memory; nothing may be called afterwards."""


_ID_BYTES = 4
_BETWEEN = 1
"""A pair has one special token more than a single text, which the scheduler counts with two."""
ENTAILMENT, CONTRARY = 0, 1  # columns of the logits of a pair


@dataclass(frozen=True, slots=True)
class TextPair:
    """Premise and hypothesis as content ids, 4 bytes each in the machine's byte order.

    Equal pairs have equal hashes, which bytes remember: a premise is shared by many pairs.
    """

    premise: bytes
    hypothesis: bytes

    def __len__(self) -> int:
        return (len(self.premise) + len(self.hypothesis)) // _ID_BYTES + _BETWEEN


class PairEncoder(Protocol):
    """A loaded, warm NLI model (cross-encoder): tells whether a text entails another one."""

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""

    @property
    def revision(self) -> str:
        """Changes whenever the weights or their configuration do."""

    @property
    def dimensions(self) -> int:
        """2, the logits of a pair."""

    @property
    def window(self) -> int:
        """The most content tokens of a pair, both texts together; special tokens come on top."""

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Content token ids of each text, as `TextEncoder.tokenise`."""

    def encode(self, pairs: Sequence[TextPair]) -> Rows:
        """The logits of N ≥ 1 pairs; special tokens and padding are added here.

        One thread at a time may call this.

        Returns:
            (N, 2) float32 in the order given: entailment, and its contrary, which is contradiction
            or, of models with two classes, everything but entailment. The caller's own.

        Raises:
            ValueError: A pair is longer than `window`.
        """

    def close(self) -> None:
        """Free the model's memory; nothing but `tokenise` may be called afterwards."""
