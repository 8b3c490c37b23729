"""The encoding of a text: from its byte order mark, declared by the request, or detected.

There are two families: ASCII-compatible encodings, in which a line end is one byte (UTF-8, the
Windows and ISO code pages, the encodings of East Asia); and UTF-16 and UTF-32, which are converted
to UTF-8 before any other step. Other encodings are refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from operator import and_

from shared import batches
from workers.inputs.tables.charset import guessed, is_utf8
from workers.inputs.tables.file_format import encoding_name
from workers.inputs.tables.row import RowFault, unreadable

# The longer first: UTF-32LE begins as UTF-16LE does.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")

_MIN_ASCII = 0.05  # share of ASCII in a UTF-16 table: its delimiters, digits and line ends
_MAX_STRAY = 0.25  # share of NULs in all bytes; in UTF-16 of ASCII it is a half
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1f]")
_IS_ASCII = bytes(byte in b"\t\n\r" or 32 <= byte < 127 for byte in range(256))
_MAX_PAIRS = 0.8  # share of ASCII pairs in all pairs of bytes; UTF-16 of hiragana has 0.6

_MARK = "pigeonhole.inputs.mark"


def encoding_of(head: bytes, declared: str | None) -> tuple[str, bool]:
    """The encoding of a file from its first bytes, and whether a byte order mark gives it.

    Raises:
        InvalidRequest: The declared encoding is not supported.
    """
    marked = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), (b"", None))[1]
    if declared is None:
        return (marked, True) if marked else (_guessed(head), False)
    name = _supported(declared)
    if name in ("utf-16", "utf-32"):  # of either byte order
        detected = marked or _wide(head) or ""
        name = detected if detected.startswith(name) else f"{name}-le"
    return name, marked == name


def utf8(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Convert UTF-16 and UTF-32 to UTF-8, pass others through, and drop the byte order mark.

    Undecodable units become bytes that are invalid UTF-8, so that only their line is a fault.
    """
    first = True
    for chunk in _narrowed(chunks, encoding) if encoding in _WIDE else _of_size(chunks, 3):
        yield chunk.removeprefix(codecs.BOM_UTF8) if first and is_unicode(encoding) else chunk
        first = False


def is_unicode(encoding: str) -> bool:
    """Whether `utf8` yields UTF-8 for this encoding."""
    return encoding == "utf-8" or encoding in _WIDE


def undecodable(raw: bytes, encoding: str) -> RowFault:
    """The fault of a line that is invalid in its encoding."""
    name = encoding_name(encoding)
    try:
        raw.decode("utf-8" if encoding in _WIDE else encoding)
    except UnicodeDecodeError as exc:
        if encoding not in _WIDE:
            return RowFault(
                "undecodable",
                f"is not valid {name}: byte 0x{raw[exc.start]:02X} at position {exc.start + 1} of "
                "its line; if the whole file uses another encoding, set `encoding`",
            )
    return RowFault(
        "undecodable", f"is not valid {name}: it holds a code that encodes no character"
    )


def _supported(declared: str) -> str:
    """Python's name of an encoding; refuses an unsupported one."""
    name = batches.encoding_of(declared)
    if name is None:
        unreadable(
            "unsupported encoding; supported are, for example, utf-8, utf-16, cp1252 and shift_jis",
            field="encoding",
        )
    return name


def _guessed(head: bytes) -> str:
    """Detect the encoding of a text without a byte order mark from its beginning."""
    if b"\0" in head and not _has_stray_nuls(head) and (wide := _wide(head)):
        return wide
    return guessed([head], whole=False)


def _wide(head: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a mark: the one that gives a text with some ASCII."""
    for name in _WIDE:
        width = 4 if name.startswith("utf-32") else 2
        text = head[: len(head) // width * width].decode(name, "replace")
        ascii_chars = len(re.findall(r"[\t\n\r -~]", text))
        if (
            text
            and "\0" not in text
            and text.count("�") <= 1
            and ascii_chars >= _MIN_ASCII * len(text)
        ):
            return name
    return None


def _has_stray_nuls(head: bytes) -> bool:
    """Whether the NULs are stray bytes in a single-byte text, and the text is not UTF-16 or UTF-32.

    Each of three signs is sufficient: without the NULs the text is UTF-8 and has no other control
    characters, which UTF-16 of Cyrillic or Thai has; nearly all pairs of bytes are ASCII; most line
    ends have no NUL beside them, which UTF-16 would have.
    """
    nuls = head.count(0)
    if nuls < _MAX_STRAY * len(head):
        rest = head.translate(None, b"\0")
        if is_utf8(rest, final=False) and not _CONTROL.search(rest):
            return True
    ascii_bytes = head.translate(_IS_ASCII)
    pairs = sum(map(and_, ascii_bytes[::2], ascii_bytes[1::2]))
    if pairs > _MAX_PAIRS * len(head) / 2:
        return True
    # In the right byte order, most NULs are the high bytes of ASCII characters.
    little = 2 * head[1::2].count(0) >= nuls
    low, high = (head[::2], head[1::2]) if little else (head[1::2], head[::2])
    ends = [beside for unit, beside in zip(low, high, strict=False) if unit == ord("\n")]
    return bool(ends) and 2 * ends.count(0) < len(ends)


def _narrowed(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    # Python's codecs take the name of a registered error handler. It inserts an unpaired
    # surrogate, which has no valid UTF-8 encoding.
    codecs.register_error(_MARK, _mark)
    decoder = codecs.getincrementaldecoder(encoding)(_MARK)
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text.encode("utf-8", "surrogatepass")
    if text := decoder.decode(b"", final=True):
        yield text.encode("utf-8", "surrogatepass")


def _mark(exc: UnicodeError) -> tuple[str, int]:
    if not isinstance(exc, UnicodeDecodeError):
        raise exc
    return "\udcff", exc.end


def _of_size(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes; the first chunk has at least `size` bytes if there are as many."""
    first = b""
    rest = iter(chunks)
    while len(first) < size and (more := next(rest, b"")):
        first += more
    if first:
        yield first
    yield from rest
