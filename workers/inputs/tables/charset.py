"""Character set detection for a text without a byte order mark, in an ASCII-compatible encoding.

The lines that are not ASCII decide. If at least half of them are valid UTF-8, the text is UTF-8 and
the other lines are faults, since another guess would corrupt the valid ones. Otherwise it is the
encoding in which the lines look most like a natural language.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

import charset_normalizer

from workers.inputs.tables.alphabets import is_latin9, is_western_language, other_encoding

# The encodings that tables use in practice. Among all 97 encodings of the library, rare ones such
# as cp775 win over cp1252 for a line of Spanish.
_CANDIDATES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257",
    "iso8859_2", "iso8859_5", "koi8_r", "cp850", "cp866", "cp874", "mac_roman",
    "cp932", "euc_jp", "gb18030", "big5", "cp949",
]  # fmt: skip
_LATIN = {"cp1250", "cp1257", "iso8859_2", "cp850", "mac_roman"}  # cp1252 is preferred over these
_LIKE_CP1252 = ["cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2"]  # most signs are the same
_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß"
_SECOND = "ßéèçãõ"  # behind another such letter, as in Größe, créée, déçu and informação
_BEHIND_WORDS = "”»…–—®™ªº·²"  # noqa: RUF001  not before a letter that follows one
_BEFORE_WORDS = "«€£§©•¿¡½¼¾±×„‚"  # noqa: RUF001  not after a letter
_QUOTES = "“‘"  # noqa: RUF001  before a word in English, behind it in German; not between two letters
_SIGNS = "’\xa0°" + _BEHIND_WORDS + _BEFORE_WORDS + _QUOTES  # noqa: RUF001
# Implausible in a Western text: other characters, signs within words, two such letters together.
_STRANGE = re.compile(
    rf"[^\x00-\x7f{_LETTERS}{_SIGNS}]|[a-zA-Z](?:[{_BEFORE_WORDS}]|"
    rf"[{_BEHIND_WORDS}{_QUOTES}][a-zA-Z{_LETTERS}])|[{_LETTERS}](?![{_SECOND}])[{_LETTERS}]|(?<![^\s;,\"])™[a-zA-Z]"
)
# The encodings of DOS and of old Macs, in which the letters of Western Europe have other places.
_OLDER = ("cp850", "mac_roman")
_WITHIN = re.compile(rf"[a-z][{_LETTERS[: _LETTERS.index('à')]}]")  # a capital within a word
_FREQUENT = frozenset("äöüßéèàçñáíóúêâ")  # in German, French and Spanish
_RARE = 0.03  # of all bytes: English has fewer, German and French about as many
_FEW = 2  # different bytes
_GUESS_BYTES = 16 * 1024
_UNDECODED = re.compile("[\udc80-\udcff]")
_MAX_LINE_BYTES = 1024 * 1024  # each stretch of this size in a longer line counts as a line


def guessed(chunks: Iterable[bytes], *, whole: bool) -> str:
    """The encoding of a text.

    A gigabyte of ASCII takes 0.1 s, one of UTF-8 with an accent in each line 2 s.

    Args:
        chunks: of any size.
        whole: whether the chunks are the whole text; otherwise the last character may be cut.

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
    """Whether bytes are UTF-8. Unless `final`, the last character may be incomplete."""
    try:
        codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError:
        return False
    return True


def _of_whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of whole lines; the last block may lack its line end."""
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

    In other encodings the same bytes occur in places where such letters and signs do not.
    """
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _STRANGE.search(text)


def _older_encoding(sample: bytes) -> str | None:
    """The encoding of DOS or Mac in which a text is plausible; of both the one in which frequent
    letters are more numerous. None where that does not decide.
    """
    frequent: dict[str, int] = {}
    for name in _OLDER:
        text = sample.decode(name)
        if not (_STRANGE.search(text) or _WITHIN.search(text)):
            frequent[name] = sum(letter in _FREQUENT for letter in text)
    best = max(frequent, key=lambda name: frequent[name], default=None)
    undecided = list(frequent.values()).count(frequent.get(best or "", 0)) > 1
    return None if undecided else best


def _by_letters(sample: bytes) -> str:
    """The likeliest encoding.

    Letter statistics use letters only: they detect "El niño" as Big5, "garçon" as cp850, and a line
    with quotes and dashes of cp1252 as cp850, too. A text that is plausible as cp1252 is therefore
    cp1252 if few of its bytes are not ASCII, and otherwise an encoding with the same signs. One
    that is not plausible as cp1252, but as the text of a DOS or Mac, is that: the library reads
    umlauts of cp850 as cp1252.
    """
    candidates = _CANDIDATES
    odd = [byte for byte in sample if byte >= 0x80]
    if western := _is_western(sample):
        if len(odd) <= _RARE * len(sample) or len(set(odd)) <= _FEW:
            return "cp1252"
        if is_western_language(sample.decode("cp1252"), _SIGNS):
            return "cp1252"
    if len(odd) > _RARE * len(sample) and (encoding := other_encoding(sample, _SIGNS)):
        return encoding
    if western:
        candidates = _LIKE_CP1252
    elif is_latin9(sample) and not _STRANGE.search(sample.decode("iso8859_15")):
        return "iso8859_15"
    elif older := _older_encoding(sample):
        return older
    matches = charset_normalizer.from_bytes(
        sample, cp_isolation=candidates, steps=_GUESS_BYTES // 1024, chunk_size=1024
    )
    best = matches.best()
    if best is None:
        return "cp1252"
    for other in matches if best.encoding in _LATIN else ():
        # Latin encodings that fit about equally differ in few letters; cp1252 is the most frequent.
        as_good = other.chaos < best.chaos + 0.01 and other.coherence > best.coherence - 0.05
        if as_good and "cp1252" in other.could_be_from_charset:
            return "cp1252"
    return codecs.lookup(best.encoding).name
