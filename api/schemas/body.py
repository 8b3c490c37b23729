"""JSON bodies: bytes to a JSON value and back, bounded in size, and strict about JSON.

The Content-Type is ignored: a body is JSON, or is refused because it is not.
"""

from __future__ import annotations

import json
import re
import time
from typing import BinaryIO

import msgspec
from pydantic import BaseModel

from shared.errors import BodyTooLarge
from shared.validation import refuse, refuse_lone_surrogates, shown

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MAX_OPENED = 1_000_000  # each becomes an object of 64 bytes and more
_CHUNK = 64 * 1024
# A client that writes its whole body before it reads would see a closed connection instead of the
# error response. Draining the body costs no memory, and stops after this many bytes.
_DRAIN_BYTES = 128 * 2**20
_DRAIN_S = 2.0
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read(
    stream: BinaryIO, *, length: int | None, max_bytes: int, awaits_continue: bool = False
) -> bytes:
    """The whole body.

    Args:
        stream: Ends with the body, also where its length is not announced.
        length: `Content-Length`, None for a chunked body.
        max_bytes: Most that is accepted.
        awaits_continue: The client sends nothing until it is told to (`Expect: 100-continue`).

    Raises:
        BodyTooLarge: By its announced length, before it is read; else as soon as it is.
        InvalidRequest: The connection ended before the body did.
    """
    if length is not None and length > max_bytes:
        if not awaits_continue:
            drain(stream)
        _too_large(max_bytes)
    chunks, size = [], 0
    while chunk := stream.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            chunks.clear()
            drain(stream)
            _too_large(max_bytes)
    if length is not None and size < length:
        refuse("body", f"ended after {size} of {length} bytes")
    return b"".join(chunks)


def parse(data: bytes, *, schema_checks: str | None = None) -> object:
    """The JSON value that the bytes stand for.

    Args:
        data: The body.
        schema_checks: The field whose strings the schema checks for unpaired surrogates, so that it
            can tell which item is wrong.

    Raises:
        InvalidRequest: They are empty or not JSON by RFC 8259; the message names the place. Also
            for input on which JSON readers disagree: a duplicate key, an unpaired surrogate.
    """
    if not data.strip():
        refuse("body", "is empty; send a JSON object")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        encoding = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
        remedy = f"; if it is {encoding}, send Content-Encoding: {encoding}" if encoding else ""
        refuse("body", f"is not UTF-8 at byte {exc.start}{remedy}")
    if text.count("{") + text.count("[") > _MAX_OPENED:
        refuse("body", f"at most {_MAX_OPENED} objects and lists are allowed; split the request")
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        line = f"line {exc.lineno}, " if "\n" in text else ""
        refuse("body", f"is not JSON at {line}column {exc.colno}: {exc.msg}")
    except RecursionError:
        refuse("body", "is nested too deeply")
    except ValueError:
        refuse("body", "has a number with too many digits")
    if _SURROGATE.search(text):
        refuse_lone_surrogates(value, schema_checks=schema_checks)
    return value


def dump(value: object) -> bytes:
    """The JSON bytes of a value; times as RFC 3339."""
    return _JSON.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_JSON = msgspec.json.Encoder(enc_hook=_plain)


def _too_large(max_bytes: int) -> None:
    refuse("body", f"at most {max_bytes} bytes are allowed; split the request", BodyTooLarge)


def drain(stream: BinaryIO, *, max_bytes: int | None = None) -> None:
    """Read the rest of a refused body, within bounds."""
    left, until = max_bytes or _DRAIN_BYTES, time.monotonic() + _DRAIN_S
    while left > 0 and time.monotonic() < until and (chunk := stream.read(_CHUNK)):
        left -= len(chunk)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                refuse("body", f"the key {shown(key)!r} occurs twice in one object")
            seen.add(key)
    return value


def _no_constant(name: str) -> None:
    refuse("body", f"{name} is not valid JSON; omit the field or send null")
