"""Pairs of texts to padded arrays, with the special tokens that a checkpoint puts around both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.models.port import TextPair
from workers.models.tokenizer import Ids, WindowTokenizer, width


class PairTokenizer:
    """What a checkpoint's tokenizer does with two texts, without its truncation.

    Args:
        tokenizer: a tokenizer of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._texts = WindowTokenizer(tokenizer)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._pad_left = tokenizer.padding_side == "left"
        encoded = tokenizer(
            "a", "a", return_special_tokens_mask=True, return_token_type_ids=True, verbose=False
        )
        ids, types = np.array(encoded["input_ids"]), np.array(encoded["token_type_ids"])
        content = np.flatnonzero(np.array(encoded["special_tokens_mask"]) == 0)
        first_end = content[0] + len(content) // 2  # both texts have the same ids
        second = content[len(content) // 2]
        self._frame = [ids[: content[0]], ids[first_end:second], ids[content[-1] + 1 :]]
        self._types = [types[: content[0]], types[first_end:second], types[content[-1] + 1 :]]
        self._text_types = [types[content[0]], types[second]]
        self.specials = sum(map(len, self._frame))

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Content ids of each text; safe for any thread."""
        return self._texts(texts)

    def pad(self, pairs: Sequence[TextPair]) -> tuple[Ids, Ids, Ids]:
        """Ids, attention mask and token types of N pairs: three (N, T) arrays.

        T is the longest pair, rounded up by `width`.
        """
        contents = [
            [np.frombuffer(text, np.int32) for text in (pair.premise, pair.hypothesis)]
            for pair in pairs
        ]
        sizes = [sum(map(len, texts)) + self.specials for texts in contents]
        total = width(max(sizes))
        ids = np.full((len(pairs), total), self._pad_id, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        before, between, behind = self._frame
        for row, ((first, second), size) in enumerate(zip(contents, sizes, strict=True)):
            place = slice(total - size, total) if self._pad_left else slice(0, size)
            ids[row, place] = np.concatenate([before, first, between, second, behind])
            mask[row, place] = 1
            of_texts = [
                np.full(len(text), kind)
                for text, kind in zip((first, second), self._text_types, strict=True)
            ]
            types[row, place] = np.concatenate(
                [self._types[0], of_texts[0], self._types[1], of_texts[1], self._types[2]]
            )
        return ids, mask, types
