"""Texts to token ids by short pieces, so that a long text costs what its ids cost and no more.

Decides where a text may be cut for its tokenizer. A tokenizer keeps about 90 bytes for each
character that it works at, and each id as an object of Python takes 40: 700 MB for a document of
eight million characters, which glibc did not give back. Pieces of 8,192 characters, whose ids are
kept in 4 bytes each, take 14 MB and the same time.

A cut stands before a single blank or line end between two letters or digits: every tokenizer of the
catalogue ends a token there, so the ids are those of the whole text. Only where there is no such
place within 65,536 characters is a run cut inside, which may add a token or two.
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
