"""How object names become paths below a directory, and how paths are listed as names again.

Letters that every file system keeps stay as they are; any other byte is percent-encoded: upper
case (some file systems ignore case), all beyond ASCII (some normalise it), `%`, a leading dot (the
store's own files have one). A directory's name ends in ``.d``, so `a` and `a/b` can both be
objects. A segment of 80 bytes or more is cut into directories ending in ``.m`` ("more"), because
a file system ends a name at 255 bytes and one byte may take three.

    jobs/j1/job.json  ->  jobs.d/j1.d/job.json          Größe.d  ->  %47r%c3%b6%c3%9fe%2ed
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_CUT_BYTES = 80
_NESTED, _MORE = ".d", ".m"
_PLAIN = re.compile(rb"[a-z0-9_-][a-z0-9._-]*(?<!\.d)(?<!\.m)")
_ENCODED = re.compile(r"(?!\.)(?:[a-z0-9._-]|%[0-9a-f]{2})+")
_BYTE = [chr(b) if chr(b) in "abcdefghijklmnopqrstuvwxyz0123456789._-" else f"%{b:02x}"
         for b in range(256)]  # fmt: skip


def path_of(root: str, name: str) -> str:
    """Where the object lies."""
    head, _, last = name.rpartition("/")
    return f"{directory_of(root, head)}/{_encoded(last, '')}"


def directory_of(root: str, name: str) -> str:
    """Where everything below ``name + "/"`` lies; the root for an empty name."""
    if not name:
        return root
    return "/".join([root, *(_encoded(segment, _NESTED) for segment in name.split("/"))])


def names(directory: str, base: bytes, *, prefix: bytes, after: bytes) -> Iterator[bytes]:
    """Object names below a directory in byte order, one directory in memory at a time.

    Args:
        directory: A path made by `directory_of`; if it does not exist there are no names.
        base: The name of that directory, ending in ``/``, or nothing for the root.
        prefix: Only names that start with this.
        after: Only names that sort after this.
    """
    # `a/` sorts between `a-b` and `a0`, as on S3: a directory is ordered by its name with the
    # slash. Ranges never interleave: a cut segment has 80 bytes or more, its neighbours fewer.
    stack = _page(directory, base, prefix, after)
    while stack:
        key, inside = stack.pop()
        if inside is None:
            yield key
        else:
            stack.extend(_page(inside, key, prefix, after))


def segments(directory: str, base: bytes, *, after: bytes) -> Iterator[bytes]:
    """Distinct next segments below a directory in byte order; empty directories do not count.

    Args:
        directory: A path made by `directory_of`.
        base: Nothing; the part of a cut segment that leads here when called for its rest.
        after: Only segments that sort after this.
    """
    last = after
    for raw, kind, path in sorted(_entries(directory, base)):
        if kind == _MORE:
            yield from segments(path, raw, after=after)
        elif raw > last and (not kind or any(names(path, b"", prefix=b"", after=b""))):
            yield raw
            last = raw


class _Entry(NamedTuple):
    raw: bytes
    kind: str
    path: str


def _page(
    directory: str, base: bytes, prefix: bytes, after: bytes
) -> list[tuple[bytes, str | None]]:
    """What a directory adds to the listing, last first: objects, and directories to look into."""
    page: list[tuple[bytes, str | None]] = []
    for raw, kind, path in _entries(directory, base):
        key = raw + b"/" if kind == _NESTED else raw
        if not kind:
            if key > after and key.startswith(prefix):
                page.append((key, None))
        elif (key.startswith(prefix) or prefix.startswith(key)) and after[: len(key)] <= key:
            page.append((key, path))
    page.sort(key=itemgetter(0), reverse=True)
    return page


def _entries(directory: str, base: bytes) -> Iterator[_Entry]:
    """The entries that are ours, unordered; foreign files and `lost+found` are not."""
    try:
        scan = os.scandir(directory)
    except FileNotFoundError:
        return
    with scan:
        for entry in scan:
            suffix = entry.name[-2:]
            kind = suffix if suffix in (_NESTED, _MORE) else ""
            if entry.is_dir() is not bool(kind):
                continue
            stem = entry.name.removesuffix(kind)
            if stem == "%":
                yield _Entry(base, kind, entry.path)
            elif _ENCODED.fullmatch(stem):
                yield _Entry(base + unquote_to_bytes(stem), kind, entry.path)


def _encoded(segment: str, suffix: str) -> str:
    raw = segment.encode()
    cuts = []
    while len(raw) >= _CUT_BYTES:
        cuts.append(_encoded_bytes(raw[:_CUT_BYTES]) + _MORE)
        raw = raw[_CUT_BYTES:]
    return "/".join([*cuts, _encoded_bytes(raw) + suffix])


def _encoded_bytes(raw: bytes) -> str:
    if _PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    if not raw:
        return "%"  # the rest of a segment cut exactly at its end
    text = "".join([_BYTE[byte] for byte in raw])
    if text.startswith("."):
        text = "%2e" + text[1:]
    if text.endswith((_NESTED, _MORE)):
        text = f"{text[:-2]}%2e{text[-1]}"
    return text
