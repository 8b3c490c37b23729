"""Texts to content token ids, and windows of them to padded arrays.

Decides where special tokens go, on which side padding goes, and how far a batch is padded. What a
window is and which windows share a batch is decided elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]


class WindowTokenizer:
    """What a checkpoint's tokenizer does, without its truncation and its shared state.

    Args:
        tokenizer: a tokenizer of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._content_ids = _content_ids(tokenizer)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._pad_left = tokenizer.padding_side == "left"
        self._before, self._behind = _special_ids(tokenizer)
        self.specials = len(self._before) + len(self._behind)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Content ids of each text; safe for any thread."""
        return self._content_ids(texts)

    def pad(self, windows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """Ids and attention mask of N windows with their special tokens: two (N, T) arrays.

        T is the longest, rounded up by `width`. A window that would be empty even with special
        tokens gets one padding token to attend to, so that pooling has something to divide by.
        """
        count = len(windows)
        contents = np.fromiter(map(len, windows), np.int64, count)[:, None]  # (N, 1)
        totals = np.maximum(contents + self.specials, 1)
        total = width(int(totals.max()))
        starts = total - totals if self._pad_left else np.zeros_like(totals)
        places = np.arange(total) - starts  # (N, T): place within the window
        first = len(self._before)

        ids = np.full((count, total), self._pad_id, np.int64)
        inside = (places >= first) & (places < first + contents)
        ids[inside] = np.fromiter(chain.from_iterable(windows), np.int64, int(contents.sum()))
        rows = np.arange(count)[:, None]
        ids[rows, starts + np.arange(first)] = self._before
        ids[rows, starts + first + contents + np.arange(len(self._behind))] = self._behind
        return ids, ((places >= 0) & (places < totals)).astype(np.int64)


def width(tokens: int) -> int:
    """Round a length up: to 4 below 64, to 8 above.

    An engine keeps kernels and buffers for each shape it meets. Over 20,000 texts of random length
    OpenVINO grew by 235 MB with every length its own shape, by 100 MB and levelling off with these
    steps, at no visible cost in speed.

    >>> width(5), width(64), width(65)
    (8, 64, 72)
    """
    step = 4 if tokens <= 64 else 8
    return -(-tokens // step) * step


def _content_ids(tokenizer: Any) -> Callable[[Sequence[str]], list[list[int]]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python: neither thread-safe nor free of the GIL
        lock = threading.Lock()

        def slowly(texts: Sequence[str]) -> list[list[int]]:
            with lock:
                encoded = tokenizer(
                    list(texts), add_special_tokens=False, truncation=False, verbose=False
                )
            return [list(ids) for ids in encoded["input_ids"]]

        return slowly

    own = Tokenizer.from_str(backend.to_str())  # transformers sets truncation on its own per call
    own.no_truncation()
    own.no_padding()

    def fast(texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in own.encode_batch_fast(list(texts), add_special_tokens=False)]

    return fast


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the checkpoint puts before and behind a single text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, mask = list(encoded["input_ids"]), list(encoded["special_tokens_mask"])
    if 0 not in mask:
        return ids, []
    first, last = mask.index(0), len(mask) - mask[::-1].index(0)
    return ids[:first], ids[last:]
