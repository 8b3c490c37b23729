"""Encoders of models that were trained with a prefix before every text, such as `query:`.

The prefix stands before each window like a special token: it is not charged, and a long text
has it in each of its windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from workers.models.port import Rows, TextEncoder


class PromptPrefixEncoder:
    """An encoder with the same prefix before all that it encodes.

    Args:
        encoder: the model.
        prefix: at most a few words; part of the revision, for it changes every vector.
    """

    def __init__(self, encoder: TextEncoder, prefix: str) -> None:
        self._encoder = encoder
        self._before = encoder.tokenise([prefix])[0]
        self.name = encoder.name
        self.revision = f"{encoder.revision}-{blake2b(prefix.encode(), digest_size=4).hexdigest()}"
        self.dimensions = encoder.dimensions
        self.window = encoder.window - len(self._before)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Content ids, without the prefix."""
        return self._encoder.tokenise(texts)

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """(N, D) unit rows of the windows behind their prefix."""
        if any(len(window) > self.window for window in windows):
            raise ValueError(f"A window is longer than {self.window} tokens.")
        return self._encoder.encode([[*self._before, *window] for window in windows])

    def close(self) -> None:
        """Free the model's memory."""
        self._encoder.close()
