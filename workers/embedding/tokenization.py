"""Tokenises a text in short pieces, so that the memory of a long text is that of its token ids.

Decides where a text may be cut. A tokenizer keeps about 90 bytes for each character of a piece, and
a token id as a Python object takes 40 bytes: 700 MB for a document of eight million characters,
which glibc did not return. Pieces of 8,192 characters, with ids of 4 bytes, take 14 MB and the same
time.

A cut is made before a single blank or line end between two letters or digits. Every tokenizer of
the catalogue ends a token there, so the ids equal those of the whole text. If 65,536 characters
contain no such place, a run is cut inside, which may add a token or two.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Sequence

_PIECE_CHARS = 8_192
_MAX_PIECE_CHARS = 65_536
_AT_ONCE_CHARS = 262_144  # that one call of the tokenizer gets: enough to keep all cores at work

Tokenise = Callable[[Sequence[str]], list[list[int]]]


def token_ids(
    tokenise: Tokenise, texts: Sequence[str], *, most: int | None = None
) -> list[Sequence[int]]:
    """Content ids of each text.

    Args:
        tokenise: content ids of short texts.
        texts: of any length.
        most: stop as soon as one text has more ids. Its ids are then cut off, but still more than
            `most`, and those of the texts behind it are missing or cut off.
    """
    steps = token_steps(tokenise, texts, most=most, step_chars=_AT_ONCE_CHARS)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            ids: list[Sequence[int]] = end.value
            return ids


def token_steps(
    tokenise: Tokenise, texts: Sequence[str], *, most: int | None, step_chars: int
) -> Generator[int, None, list[Sequence[int]]]:
    """As `token_ids`, a few pieces at a time: yields the characters that each step took."""
    if sum(map(len, texts)) <= step_chars and max(map(len, texts), default=0) <= _PIECE_CHARS:
        return [*tokenise(texts)]
    found: list[Sequence[int]] = [array("i") for _ in texts]
    for group in _groups(texts, step_chars):
        ids = tokenise([piece for _, piece in group])
        for (place, _), more in zip(group, ids, strict=True):
            found[place] = _joined(found[place], more)
        if most is not None and max(len(found[place]) for place, _ in group) > most:
            break
        yield sum(len(piece) for _, piece in group)
    return found


def _joined(ids: Sequence[int], more: Sequence[int]) -> Sequence[int]:
    try:
        joined = ids if isinstance(ids, array) else array("i", ids)
        joined.extend(array("i", more))
    except OverflowError:  # the hashing model's are whole words
        return [*ids, *more]
    return joined


def _groups(texts: Sequence[str], max_chars: int) -> Iterator[list[tuple[int, str]]]:
    """Pieces of the texts in order, each with the place of its text, in groups for one call."""
    group: list[tuple[int, str]] = []
    size = 0
    for place, text in enumerate(texts):
        for piece in pieces(text):
            if group and size + len(piece) > max_chars:
                yield group
                group, size = [], 0
            group.append((place, piece))
            size += len(piece)
    if group:
        yield group


def pieces(text: str) -> Iterator[str]:
    """A text in pieces, cut where the tokens on both sides are those of the whole text.

    >>> [len(piece) for piece in pieces("blue sky " * 2000)]
    [8189, 8190, 1621]
    >>> [len(piece) for piece in pieces("x" * 100_000)]
    [65536, 34464]
    """
    start = 0
    while len(text) - start > _PIECE_CHARS:
        end = _cut(text, start)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _cut(text: str, start: int) -> int:
    """Where the piece ends that begins at a place from which more than one piece is left."""
    soon = start + _PIECE_CHARS
    for end in range(soon, start + _PIECE_CHARS // 2, -1):
        if _is_safe(text, end):
            return end
    latest = min(start + _MAX_PIECE_CHARS, len(text))
    for end in range(soon + 1, latest - 1):
        if _is_safe(text, end):
            return end
    return latest


def _is_safe(text: str, at: int) -> bool:
    return text[at] in " \n" and text[at - 1].isalnum() and text[at + 1 : at + 2].isalnum()
