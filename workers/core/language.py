"""Which of two models a text is for, by what their tokenizers make of it: no model runs for that.

The English tokenizer has one piece for nearly every English word, and many for the words of other
languages. The multilingual one needs few pieces for the languages that its model was trained on.

The thresholds are measured on the tickets of `ops/bench/tickets.toml` and on four English sets: 1.4
pieces a word leave 99 to 100 % of banking questions and news to the English model, 98 % of tweets
and 91 % of short messages, and every ticket that is not English to the multilingual one but 3 of
36 in French, Italian and Dutch.
"""

from __future__ import annotations

import re

SAMPLE_CHARS = 1000
"""Of the start of a text, which decide; so a long text costs no more than a short one."""
_ENGLISH_PIECES_PER_WORD = 1.4
_FOREIGN_LETTERS = 0.25  # of the letters: more of them outside ASCII are not English

_UNKNOWN_PIECES_PER_WORD = 1.8
_UNKNOWN_RATIO = 0.95
_UNKNOWN_LETTERS_PER_PIECE = 1.4
_WORD = re.compile(r"\w+|[^\w\s]")
_DENSE = re.compile(
    r"[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af]"
)
"""Thai, Hangul, kana, Han: known scripts, of which a piece has few letters."""


def is_english(text: str, pieces: int) -> bool:
    """Whether a text is for the English model.

    Args:
        text: or its sample.
        pieces: of it, by the English tokenizer.

    >>> is_english("Where is my parcel?", 5), is_english("Wo bleibt mein Paket?", 9)
    (True, False)
    """
    foreign = _foreign_letters(text)
    evidence = _pieces_per_word(text, pieces) + foreign
    return foreign < _FOREIGN_LETTERS and evidence <= _ENGLISH_PIECES_PER_WORD


def is_known(text: str, english_pieces: int, multilingual_pieces: int) -> bool:
    """Whether the multilingual model knows the language of a text that is not English.

    It does not where a piece has hardly more than a letter, as of Hebrew, Hindi and Vietnamese, or
    where its tokenizer does no better than the English one, as with Swahili.

    >>> is_known("Wo bleibt mein Paket?", 9, 6), is_known("Nimetozwa mara mbili", 8, 8)
    (True, False)
    """
    letters = sum(map(str.isalpha, text))
    if not letters or 2 * len(_DENSE.findall(text)) >= letters:
        return True
    if letters < _UNKNOWN_LETTERS_PER_PIECE * multilingual_pieces:
        return text.isascii()  # codes and numbers
    strange = _pieces_per_word(text, english_pieces) + _foreign_letters(text)
    no_better = multilingual_pieces >= _UNKNOWN_RATIO * english_pieces
    return not (no_better and strange > _UNKNOWN_PIECES_PER_WORD)


def _pieces_per_word(text: str, pieces: int) -> float:
    return pieces / max(1, len(_WORD.findall(text)))


def _foreign_letters(text: str) -> float:
    """The share of letters outside ASCII."""
    if text.isascii():
        return 0.0
    letters = [character for character in text if character.isalpha()]
    return sum(not letter.isascii() for letter in letters) / max(1, len(letters))
