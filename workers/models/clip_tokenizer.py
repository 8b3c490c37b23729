"""Texts to content token ids for CLIP models, and windows of them to padded arrays.

Decides how open_clip's own tokenizers become ones that any thread may call, that cut nothing off
and that take no seconds for one long word; and how far a batch is padded. A text tower of fixed
length gets every window at that length, one that looks only back gets the longest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from workers.models.tokenizer import Ids, WindowTokenizer, width

_PIECE_CHARS = 256
Contents = Callable[[Sequence[str]], list[list[int]]]


class ClipTokenizer:
    """Content ids, and the frame of special tokens that a text tower wants around them.

    Args:
        contents: content ids of texts; safe for any thread.
        before: ids in front of a window.
        behind: ids after it.
        pad_id: what fills the rest.
        length: tokens that the tower takes, special ones included.
        shorter: whether it may be given fewer when no window needs them.
    """

    def __init__(
        self,
        contents: Contents,
        *,
        before: Sequence[int],
        behind: Sequence[int],
        pad_id: int,
        length: int,
        shorter: bool,
    ) -> None:
        self._contents = contents
        self._before, self._behind = list(before), list(behind)
        self._pad_id = pad_id
        self._length = length
        self._shorter = shorter
        self.window = length - len(before) - len(behind)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Content ids of each text; safe for any thread."""
        return self._contents(texts)

    def pad(self, windows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """Ids and attention mask of N windows with their special tokens: two (N, T) arrays.

        Raises:
            ValueError: when a window is longer than `window`.
        """
        longest = max(map(len, windows))
        if longest > self.window:
            raise ValueError(f"A window has {longest} tokens; at most {self.window} fit.")
        rows = [[*self._before, *window, *self._behind] for window in windows]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))  # (N,)
        total = self._length
        if self._shorter:
            total = min(total, width(int(lengths.max())))
        mask = np.arange(total) < lengths[:, None]  # (N, T)
        ids = np.full((len(rows), total), self._pad_id, np.int64)
        ids[mask] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        return ids, mask.astype(np.int64)


def byte_pairs(tokenizer: Any) -> Contents:
    """What `open_clip.SimpleTokenizer.encode` gives, its merging of byte pairs compiled.

    open_clip's own is Python: it remembers every word for ever and takes 0.7 s for one word of
    8,000 letters, four times that for twice as many. Cleaning and cutting into words stay its own,
    in Python: they hold the GIL, 0.3 ms for 100 words.
    """
    own = tokenizers.Tokenizer(
        models.BPE(
            vocab=tokenizer.encoder,
            merges=list(tokenizer.bpe_ranks),
            end_of_word_suffix="</w>",
        )
    )
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    own.add_special_tokens([tokenizer.decoder[special] for special in tokenizer.all_special_ids])

    def contents(texts: Sequence[str]) -> list[list[int]]:
        clean = tokenizer.clean_fn
        words = [tokenizer.pat.findall(in_pieces(clean, text)) for text in texts]
        encoded = own.encode_batch_fast(words, is_pretokenized=True, add_special_tokens=False)
        return [e.ids for e in encoded]

    return contents


def cleaned(tokeniser: WindowTokenizer, clean: Callable[[str], str]) -> Contents:
    """A tokenizer of transformers behind a cleaning of texts."""
    return lambda texts: tokeniser([in_pieces(clean, text) for text in texts])


def in_pieces(clean: Callable[[str], str], text: str) -> str:
    """A text cleaned piece by piece, cut where blanks are.

    What mends broken encodings takes the square of a text's length: 12 s for 40,000 characters of
    them. Pieces of 256 take a thousandth of that.

    >>> in_pieces(lambda piece: piece.strip().lower(), "A  b " * 100) == "a  b " * 99 + "a  b"
    True
    """
    if len(text) <= _PIECE_CHARS:
        return clean(text)
    cleaned: list[str] = []
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        blank = text.rfind(" ", start + 1, end) if end < len(text) else -1
        piece = text[start : blank if blank > 0 else end]
        if cleaned and piece[:1].isspace():
            cleaned.append(" ")  # cleaning strips the piece of it
        cleaned.append(clean(piece))
        start += len(piece)
    return "".join(cleaned)


def specials(tokeniser: WindowTokenizer) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer of transformers puts before and behind a text."""
    ids, mask = tokeniser.pad([[_CONTENT]])
    row = ids[0][mask[0] == 1].tolist()
    place = row.index(_CONTENT)
    return row[:place], row[place + 1 :]


_CONTENT = -1  # an id that no vocabulary has
