"""`Content-Encoding` of a request body: gzip and zstd, with a limit on the decoded size.

The limit protects from zip bombs. The header describes the encoding of the transfer; a file that is
itself compressed needs no header. RFC 9110, sections 8.4 and 15.5.16: an unsupported encoding is
415, with the supported ones in `Accept-Encoding`.
"""

from __future__ import annotations

import sys
import zlib
from typing import NoReturn

from shared.errors import BodyTooLarge, ContentEncodingNotSupported
from shared.validation import refuse, shown

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = "Content-Encoding"
DECODED = ("gzip", "zstd")
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_MAX_ZSTD_WINDOW_LOG = 27  # 128 MiB, more than the zstd command takes by itself


def decoded(data: bytes, encoding: str | None, *, max_bytes: int) -> bytes:
    """The decoded body, at most `max_bytes`.

    Args:
        data: As it was sent.
        encoding: The header; None: there was none.
        max_bytes: Most bytes of the decoded body.

    Raises:
        ContentEncodingNotSupported: The encoding is not one of `DECODED`, or there are several.
        BodyTooLarge: The decoded body has more than `max_bytes`.
        InvalidRequest: The body is not encoded so, or ends early.

    >>> decoded(zlib.compress(b"a" * 9, wbits=31), "gzip", max_bytes=9)
    b'aaaaaaaaa'
    """
    name = checked(encoding, allowed=DECODED)
    if name == "identity":
        return data
    found = bytearray()
    try:
        while data:  # both formats may be a row of members
            member = _GzipDecoder() if name == "gzip" else _zstd_member()
            found += member.decompress(data, max_bytes + 1 - len(found))
            if len(found) > max_bytes:
                message = f"has more than {max_bytes} bytes after decoding"
                refuse("body", message, BodyTooLarge)
            if not member.eof:
                _not_encoded(name, "it ends early")
            data = member.unused_data
    except (zlib.error, zstd.ZstdError):
        _not_encoded(name, "its data is invalid")
    return bytes(found)


def checked(encoding: str | None, *, allowed: tuple[str, ...] = ()) -> str:
    """The encoding in lower case; `identity` where the body is not encoded.

    Raises:
        ContentEncodingNotSupported: It is not `identity` and none of `allowed`.
    """
    names = [name.strip().lower().removeprefix("x-") for name in (encoding or "").split(",")]
    name = ", ".join(name for name in names if name not in ("", "identity")) or "identity"
    if name != "identity" and name not in allowed:
        can = f"supported are {' and '.join(allowed)}" if allowed else "send the bytes unencoded"
        refuse(
            HEADER,
            f"{shown(name)!r} is not supported on this path; {can}. A compressed file needs no "
            f"{HEADER} header",
            ContentEncodingNotSupported,
            supported=allowed,
        )
    return name


class _GzipDecoder:
    """One member of gzip, with the interface of `zstd.ZstdDecompressor`."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP_WBITS)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(data, max_length)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data


def _zstd_member() -> zstd.ZstdDecompressor:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


def _not_encoded(name: str, what: str) -> NoReturn:
    refuse("body", f"cannot be decoded as {name}, its {HEADER}: {what}")
