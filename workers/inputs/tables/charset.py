"""The encoding of a text without a mark, in which ASCII is ASCII: judged by all lines that are not.

It is UTF-8 where at least half of those lines are; the others are faults then, where a guess would
spoil the right ones. Else it is the encoding in which the others look most like a language.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

import charset_normalizer

# What tables are really written in. Among all 97 that the library tries, rare ones such as cp775
# win over cp1252 for a line of Spanish.
_CANDIDATES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257",
    "iso8859_2", "iso8859_5", "koi8_r", "cp850", "cp866", "cp874", "mac_roman",
    "cp932", "euc_jp", "gb18030", "big5", "cp949",
]  # fmt: skip
_LATIN = {"cp1250", "cp1257", "iso8859_2", "cp850", "mac_roman"}  # those that cp1252 goes before
_LIKE_CP1252 = ["cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2"]  # most signs are the same
_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß"
_BEHIND_WORDS = "”»…–—®™ªº·²"  # noqa: RUF001  not before a letter that follows one
_BEFORE_WORDS = "«€£§©•¿¡½¼¾±×„‚"  # noqa: RUF001  not after a letter
_QUOTES = "“‘"  # noqa: RUF001  before a word in English, behind it in German; not between two letters
_SIGNS = "’\xa0°" + _BEHIND_WORDS + _BEFORE_WORDS + _QUOTES  # noqa: RUF001
# What a Western text does not have: other characters, signs within words, two letters together.
_STRANGE = re.compile(
    rf"[^\x00-\x7f{_LETTERS}{_SIGNS}]|[a-zA-Z](?:[{_BEFORE_WORDS}]|[{_BEHIND_WORDS}{_QUOTES}][a-zA-Z])"
    rf"|[{_LETTERS}]{{2}}"
)
_RARE = 0.03  # of all bytes: English has fewer, German and French about as many
_FEW = 2  # different bytes
_GUESS_BYTES = 16 * 1024
_UNDECODED = re.compile("[\udc80-\udcff]")
_MAX_LINE_BYTES = 1024 * 1024  # of a longer line each stretch counts as one


def guessed(chunks: Iterable[bytes], *, whole: bool) -> str:
    """The encoding of a text.

    A gigabyte of ASCII takes 0.1 s, one of UTF-8 with an accent in each line 2 s.

    Args:
        chunks: of any size.
        whole: they are all of it; else the last line may end within a character.

    >>> guessed([b"a" * 100_000, "\\n\u00e9".encode("cp1252")], whole=True)
    'cp1252'
    """
    odd = right = 0
    sample = bytearray()
    rest = b""
    for block in _of_whole_lines(chunks):
        rest = b"" if block.endswith((b"\n", b"\r")) else block
        if rest or block.isascii():
            continue
        lines = [line for line in block.splitlines() if not line.isascii()]
        odd += len(lines)
        if is_utf8(block):
            right += len(lines)
            continue
        for line in lines:
            # An exception for each line of another encoding would take five times as long.
            if not _UNDECODED.search(line.decode("utf-8", "surrogateescape")):
                right += 1
            elif len(sample) < _GUESS_BYTES:
                sample += line + b"\n"
    if not rest.isascii():
        odd += 1
        if is_utf8(rest, final=whole):
            right += 1
        else:
            sample += rest
    return "utf-8" if 2 * right >= odd else _by_letters(bytes(sample[:_GUESS_BYTES]))


def is_utf8(data: bytes, *, final: bool = True) -> bool:
    """Whether bytes are UTF-8; or may be, where their end is not `final`."""
    try:
        codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError:
        return False
    return True


def _of_whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end with a line, but for the last."""
    rest = b""
    for chunk in chunks:
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > _MAX_LINE_BYTES:
            try:
                _, place = codecs.utf_8_decode(rest, "strict", False)
            except UnicodeDecodeError:
                place = len(rest)
            yield rest[:place] + b"\n"
            rest = rest[place:]
    if rest:
        yield rest


def _is_western(sample: bytes) -> bool:
    """Whether a text is plausible as cp1252: letters and signs of Western Europe, in their places.

    In other encodings the same bytes stand where such letters and signs do not.
    """
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _STRANGE.search(text)


def _by_letters(sample: bytes) -> str:
    """The likeliest encoding.

    The statistics of letters see no more than letters: of "El niño" they make Big5, of "garçon"
    cp850, and cp850 of a line with quotes and dashes of cp1252 too. So a text that is plausible as
    cp1252 is that if it has few other bytes than ASCII, else one that has its signs in common.
    """
    candidates = _CANDIDATES
    if _is_western(sample):
        odd = [byte for byte in sample if byte >= 0x80]
        if len(odd) <= _RARE * len(sample) or len(set(odd)) <= _FEW:
            return "cp1252"
        candidates = _LIKE_CP1252
    found = charset_normalizer.from_bytes(
        sample, cp_isolation=candidates, steps=_GUESS_BYTES // 1024, chunk_size=1024
    )
    best = found.best()
    if best is None:
        return "cp1252"
    for other in found if best.encoding in _LATIN else ():
        # Latin encodings that fit about as well differ in a few letters; cp1252 is the usual one.
        as_good = other.chaos < best.chaos + 0.01 and other.coherence > best.coherence - 0.05
        if as_good and "cp1252" in other.could_be_from_charset:
            return "cp1252"
    return codecs.lookup(best.encoding).name
