"""Listing an S3 bucket page by page: all objects, or the next segments only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

#: Asks for one page: `list_objects_v2` arguments to its answer.
Pages = Callable[[dict[str, Any]], dict[str, Any]]


def objects(ask: Pages, prefix: str, *, after: str = "") -> Iterator[dict[str, Any]]:
    """Objects whose `Key` starts with `prefix` and sorts after `after`, in byte order."""
    arguments = {"Prefix": prefix, **({"StartAfter": after} if after else {})}
    for page in _pages(ask, arguments):
        for found in page.get("Contents", []):
            if not found["Key"].endswith("/"):  # consoles store such objects as folders
                yield found


def children(ask: Pages, prefix: str, *, after: str) -> Iterator[str]:
    """Distinct segments after `prefix` that sort after `after`, in byte order.

    S3 orders a group of keys by its name with the slash, so ``a-b`` comes before ``a/``, maybe by
    many pages, while the segment `a` sorts before `a-b`. What a page may lack are therefore
    groups whose name is the beginning of its last key, up to a byte below the slash; they are few,
    and are asked for one by one.
    """
    last = after
    request: set[str] = set()
    start = {"StartAfter": prefix + after} if after else {}
    for page in _pages(ask, {"Prefix": prefix, "Delimiter": "/", **start}):
        keys = [found["Key"] for found in page.get("Contents", [])]
        keys += [found["Prefix"] for found in page.get("CommonPrefixes", [])]
        found = {key[len(prefix) :].removesuffix("/") for key in keys}
        if page["IsTruncated"] and keys:
            tail = max(keys)[len(prefix) :]
            cuts = {tail[:i] for i, letter in enumerate(tail) if i and letter < "/"}
            for early in cuts - found - request:
                group = {"Prefix": f"{prefix}{early}/", "MaxKeys": 1}
                if early > last and ask(group).get("Contents"):
                    found.add(early)
            request |= cuts
        for segment in sorted(found):
            if segment > last:
                yield segment
                last = segment


def _pages(ask: Pages, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    page = ask(arguments)
    yield page
    while page["IsTruncated"]:
        page = ask({**arguments, "ContinuationToken": page["NextContinuationToken"]})
        yield page
