"""Normal form of labels: when two labels are equal, and when a text is empty.

Labels are compared by their normal form: Unicode NFC, without invisible characters, each run of
spaces as one space, none at the ends. Case and compatibility characters count: `Joy` and `joy` are
two labels. Responses have the first spelling. The form is for comparison only; no text is changed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

_JOINERS = "\u200c\u200d"  # zero-width joiners change how neighbours are drawn, as in emoji
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
# Letters and symbols by category that are drawn as nothing: Hangul fillers, blank Braille.
_DRAWN_AS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_NEVER_DRAWN = range(0xE0000, 0xE1000)  # reserved by Unicode for invisible characters
_LOST = "\ufffd"  # stands for a character that was lost; tokenizers drop it


def normal_form(label: str) -> str:
    r"""The form by which labels are compared.

    >>> normal_form(" late\u00a0 delivery\u200b") == normal_form("late delivery")
    True
    >>> normal_form("cafe\u0301") == normal_form("caf\u00e9")
    True
    >>> normal_form("Joy") == normal_form("joy")
    False
    """
    if not label.isascii() or not label.isprintable():
        kept = (char for char in unicodedata.normalize("NFC", label) if not _invisible(char))
        label = "".join(kept)
    return " ".join(label.split()).strip(_JOINERS)


def is_empty(text: str) -> bool:
    r"""Whether a text has no visible character: the tokenizer would return no token.

    >>> is_empty(" \u200b\ufeff\x00\u0301\ufffd"), is_empty("?")
    (True, False)
    """
    return not any(map(_visible, text))


class LabelSpellings:
    """Maps each spelling of a label to the first spelling.

    >>> spellings = LabelSpellings(["billing"])
    >>> spellings.add("billing "), spellings.add("delivery"), spellings.get("other")
    ('billing', 'delivery', None)
    >>> list(spellings)
    ['billing', 'delivery']
    """

    def __init__(self, labels: Iterable[str] = ()) -> None:
        """Start with labels that are known to be distinct, whatever their normal forms."""
        self._labels = dict.fromkeys(labels)
        self._spelling: dict[str, str] = {}
        for label in self._labels:
            self._spelling.setdefault(normal_form(label), label)

    def add(self, label: str) -> str:
        """The first spelling of a label; this spelling, if the label is new."""
        known = self.get(label)
        if known is None:
            self._labels[label] = None
            self._spelling[normal_form(label)] = known = label
        return known

    def get(self, label: str) -> str | None:
        """The first spelling of a label; None if the label is unknown."""
        return label if label in self._labels else self._spelling.get(normal_form(label))

    def __iter__(self) -> Iterator[str]:
        """The labels in their first spelling, in order of insertion."""
        return iter(self._labels)


def distinct_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels without further spellings of earlier ones: vendors' examples send some twice.

    >>> distinct_labels(["billing", "delivery", "billing "])
    ('billing', 'delivery')
    """
    spellings = LabelSpellings()
    for label in labels:
        spellings.add(label)
    return tuple(spellings)


def _visible(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cn":  # a character of a later Unicode than Python's, such as a new emoji
        return not (_is_noncharacter(ord(char)) or ord(char) in _NEVER_DRAWN)
    return category[0] not in "CMZ" and char not in _DRAWN_AS_NOTHING and char != _LOST


def _is_noncharacter(code: int) -> bool:
    return code in range(0xFDD0, 0xFDF0) or code & 0xFFFE == 0xFFFE


def _invisible(char: str) -> bool:
    """Whether the normal form drops the character; spaces stay, because they separate words."""
    if char in _JOINERS or char.isspace():
        return False
    return (
        unicodedata.category(char) in {"Cc", "Cf"}
        or ord(char) in _VARIATION_SELECTORS
        or char in _DRAWN_AS_NOTHING
    )
