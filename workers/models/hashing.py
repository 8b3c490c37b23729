"""A tiny model for tests without weights: words and character trigrams, hashed to signed buckets.

Texts that share words or parts of words come out near each other; nothing is learned, nothing is
loaded, and every process on every machine gives the same vectors. Not for production.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from workers.models.port import Rows

DIMENSIONS = 64
MAX_WORD_BYTES = 32
_WORD_WEIGHT = 2.0


class HashingEncoder:
    """A `TextEncoder` without weights; rows do not depend on batch mates at all."""

    def __init__(self, *, name: str = "hashing", revision: str = "1", window: int = 32) -> None:
        self.name = name
        self.revision = revision
        self.dimensions = DIMENSIONS
        self.window = window

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """One id for each word between blanks, lower-cased; the id is the word itself.

        >>> HashingEncoder().tokenise(["Hello hello", ""]) == [[_id("hello")] * 2, []]
        True
        """
        return [[_id(word) for word in text.lower().split()] for text in texts]

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """The normalised sum of the words' vectors: (N, D); exactly equal for any batch mates."""
        rows = np.zeros((len(windows), DIMENSIONS), np.float32)
        for row, window in zip(rows, windows, strict=True):
            if len(window) > self.window:
                raise ValueError(f"A window has {len(window)} tokens; at most {self.window} fit.")
            for token in window:
                row += _word_vector(token)
        rows[~rows.any(axis=1), 0] = 1.0  # no words, or words that cancel out
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # (N, D) / (N, 1)
        return rows

    def close(self) -> None:
        """Nothing is held."""


def _id(word: str) -> int:
    """The word's bytes as a number, so that `encode` can spell it without a vocabulary."""
    return int.from_bytes(word.encode()[:MAX_WORD_BYTES], "big")


@lru_cache(maxsize=65_536)
def _word_vector(token: int) -> Rows:
    word = b"<" + token.to_bytes((token.bit_length() + 7) // 8, "big") + b">"
    vector = np.zeros(DIMENSIONS, np.float32)  # (D,)
    _add(vector, word, _WORD_WEIGHT)
    for start in range(len(word) - 2):
        _add(vector, word[start : start + 3], 1.0)
    vector.flags.writeable = False
    return vector


def _add(vector: Rows, feature: bytes, weight: float) -> None:
    digest = int.from_bytes(blake2b(feature, digest_size=4).digest(), "big")
    vector[digest % DIMENSIONS] += weight if digest >> 31 else -weight
