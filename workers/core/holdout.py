"""The holdout: which examples are judged by and never learnt, by a hash of their content.

An example belongs to the holdout for ever, whatever night it comes again and in whatever case or
spacing it is written.
"""

from __future__ import annotations

import hashlib
import unicodedata

from shared.normal_form import normal_form
from shared.types import Item

DIGEST_BYTES = 16


def content_digest(item: Item) -> bytes:
    """The digest of what an item says: other case, spacing or width is the same content.

    >>> content_digest(Item(text="Late  Delivery ")) == content_digest(Item(text="late delivery"))
    True
    >>> content_digest(Item(text="late")) == content_digest(Item(text="early"))
    False
    """
    if item.media:
        content = "\0".join(f"{m.data}|{m.url}|{m.file_id or m.object}" for m in item.media)
    else:
        content = normal_form(unicodedata.normalize("NFKC", item.text)).casefold()
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


def row_digest(content: bytes, label: str) -> bytes:
    """The digest of a content with its label: the same row twice has the same."""
    row = content + normal_form(label).encode("utf-8", "surrogatepass")
    return hashlib.sha256(row).digest()[:DIGEST_BYTES]


def key_digest(*words: str) -> bytes:
    """The digest of what names a source object, a file or an item of feedback.

    >>> key_digest("a", "bc") == key_digest("ab", "c")
    False
    """
    return hashlib.sha256("\0".join(words).encode()).digest()[:DIGEST_BYTES]


def is_held_out(content: bytes, share: float) -> bool:
    """Whether a content belongs to a holdout of a share of all examples, 0 to 1.

    A larger share holds all of a smaller one.

    >>> half = [is_held_out(content_digest(Item(text=str(i))), 0.5) for i in range(1000)]
    >>> 450 < sum(half) < 550
    True
    """
    return int.from_bytes(content[:8], "big") < share * 2.0**64
