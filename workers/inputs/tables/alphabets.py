"""Encodings of Europe, told apart by the alphabets of languages.

The Windows and ISO encodings of Western Europe, Central Europe, the Baltic and Turkey have letters
at the same bytes: the `ř` of a Czech file is the `ø` of a Danish one. A text in the right encoding
has the letters of one language. In a wrong encoding it has letters that no language has together.
"""

from __future__ import annotations

import re

_WESTERN = (
    "äöüßé", "àâæçèéêëîïôœùûüÿñ", "áéíñóúüç", "áâãàçéêíóôõúü", "àèéìíîòóùú", "äåöéüàø", "æøåéèêòóô",
    "áéëèïíóöüêû", "áðéíóúýþæö", "àçèéíïòóúü", "äöõüšž",
)  # fmt: skip  # German, French, Spanish, Portuguese, Italian, Swedish, Danish, Dutch, …
_CENTRAL = (
    "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîşţ", "čćđšž",
)  # fmt: skip  # Czech, Slovak, Polish, Hungarian, Romanian, Croatian and Slovenian
_BALTIC = ("āčēģīķļņšūž", "ąčęėįšųūž")  # Latvian, Lithuanian
_TURKISH = ("âçğıîöşüû",)
_OTHERS = (
    ("cp1250", _CENTRAL), ("cp1257", _BALTIC), ("cp1254", _TURKISH), ("iso8859_2", _CENTRAL),
    ("cp852", _CENTRAL), ("cp857", _TURKISH),
)  # fmt: skip
_MIN_LETTERS = 4  # different ones: fewer also occur in foreign names of a Western text
# A sign within a word, where no language has one.
_WITHIN_WORD = re.compile(r"[^\W\d_][^\w\s\x00-\x7f’–—…][^\W\d_]")  # noqa: RUF001
_EURO = re.compile(r"\d ?€|€ ?\d")


def is_western_language(text: str, signs: str) -> bool:
    """Whether the letters of a text are those of one language of Western Europe."""
    return _is_of(text, _WESTERN, signs)


def other_encoding(sample: bytes, signs: str) -> str | None:
    """The encoding in which a text has the letters of one language outside Western Europe.

    Args:
        sample: The lines of the text that are not ASCII.
        signs: Characters that every language has.

    >>> other_encoding("Příliš žluťoučký kůň úpěl".encode("cp1250"), "")
    'cp1250'
    >>> other_encoding("Çok güzel değil, şükür".encode("cp1254"), "")
    'cp1254'
    """
    for encoding, alphabets in _OTHERS:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(_letters(text, signs)) >= _MIN_LETTERS and _is_of(text, alphabets, signs):
            return encoding
    return None


def is_latin9(sample: bytes) -> bool:
    """Whether a text has prices in euros where ISO 8859-15 has the sign, and no control characters.

    >>> is_latin9("15 € für Müller".encode("iso8859_15"))
    True
    """
    text = sample.decode("iso8859_15")
    return bool(_EURO.search(text)) and not any("\x80" <= char < "\xa0" for char in text)


def _is_of(text: str, alphabets: tuple[str, ...], signs: str) -> bool:
    if _WITHIN_WORD.search(text):
        return False
    letters = _letters(text, signs)
    return any(letters.issubset(alphabet) for alphabet in alphabets)


def _letters(text: str, signs: str) -> set[str]:
    return {char for char in text.replace("İ", "i").lower() if not char.isascii()} - set(signs)
