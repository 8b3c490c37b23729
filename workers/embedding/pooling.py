"""Pooling: the vectors of texts, images and pages become the views of items.

A view is one vector by which an item is scored, with a flag that says whether it is of images.

Letters: N items, V views, M images of an item, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shared.errors import DeadlineExceeded, PigeonholeError
from shared.types import FileBy
from workers.futures import without_variables
from workers.models.port import Rows

View = tuple[Rows, int | None]
"""A vector (D,), and the tokens of its text; None: it is of images."""


@dataclass(frozen=True, kw_only=True)
class FileViews:
    """What was read of a document. `pages` has the views of each page, if they were asked for."""

    index: int
    kind: str
    total_pages: int
    pages_read: int
    by: FileBy
    scanned: bool
    pages: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewBatch:
    """N items as V views. `items` says which views are of which item; None: one each, in order."""

    x: Rows  # (V, D)
    of_images: npt.NDArray[np.bool_]  # (V,)
    text_tokens: npt.NDArray[np.intp]  # (V,), 0 of images
    items: tuple[tuple[int, ...], ...] | None
    tokens: tuple[int, ...]  # of each item
    visual_tokens: tuple[int, ...] = ()  # of these, those of images; empty: all are texts
    windowed: tuple[int, ...] = ()
    files: tuple[FileViews, ...] = ()
    failed: dict[int, PigeonholeError] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ItemViews:
    """What was seen of an item. `file` says how a document was read; its text is not kept."""

    views: tuple[View, ...]
    tokens: int
    visual_tokens: int = 0  # of these, those of images
    windowed: bool = False
    file: FileViews | None = None
    pages: tuple[tuple[View, ...], ...] = ()


def mean(x: Rows) -> Rows:
    """The direction of the mean of unit rows, (M, D) to (D,); the first row where it is nil."""
    total = x.sum(axis=0)
    norm = float(np.linalg.norm(total))
    direction: Rows = x[0] if norm < 1e-6 else (total / norm).astype(np.float32)
    return direction


def pages_of(
    sides: Sequence[tuple[bool, bool]], x: Rows | None, y: Rows | None, counts: Sequence[int]
) -> tuple[tuple[View, ...], ...]:
    """The views of each page: of its text, and of its image, where `sides` says it has them.

    Rows of `x`, and the tokens in `counts`, are of the document and then of its pages.
    """
    drawn = [i for i, (_, has_image) in enumerate(sides) if has_image]
    place = {page: row for row, page in enumerate(drawn)}
    pages: list[tuple[View, ...]] = []
    for i, (has_text, _) in enumerate(sides):
        views: list[View] = []
        if x is not None and has_text:
            views.append((x[1 + i], counts[1 + i]))
        if y is not None and i in place:
            views.append((y[place[i]], None))
        pages.append(tuple(views))
    return tuple(pages)


def of_texts(rows: Rows, *, counts: tuple[int, ...], windowed: tuple[int, ...]) -> ViewBatch:
    """N items that are texts and nothing else."""
    return ViewBatch(
        x=rows,
        of_images=np.zeros(len(rows), np.bool_),
        text_tokens=np.array(counts, np.intp),
        items=None,
        tokens=counts,
        windowed=windowed,
    )


def put_together(
    count: int,
    texts: Sequence[int],
    rows: Future[Rows],
    others: dict[int, Future[ItemViews]],
    counts: tuple[int, ...],
    windowed: tuple[int, ...],
    aside: Mapping[int, PigeonholeError],
) -> ViewBatch:
    """All items, once each has been looked at or has failed; those `aside` had failed before.

    Raises:
        PigeonholeError: The model has stopped, or time is over: that is no single item's fault.
    """
    views: list[View] = [(row, counts[i]) for row, i in zip(rows.result(), texts, strict=True)]
    items: list[tuple[int, ...]] = [()] * count
    tokens = list(counts)
    visual_tokens = [0] * count
    long = set(windowed)
    failed = dict(aside)
    files: list[FileViews] = []
    for row, index in enumerate(texts):
        items[index] = (row,)
    for index, future in others.items():
        try:
            seen = future.result()
        except PigeonholeError as exc:
            if exc.outage or isinstance(exc, DeadlineExceeded):
                raise
            failed[index] = without_variables(exc)
            items[index], tokens[index] = (), 0  # a text beside it does not stand alone
            continue
        items[index] += _added(views, seen.views)
        tokens[index] += seen.tokens
        visual_tokens[index] = seen.visual_tokens
        if seen.windowed:
            long.add(index)
        if seen.file is not None:
            pages = tuple(_added(views, page) for page in seen.pages)
            files.append(replace(seen.file, index=index, pages=pages))
    width = max((len(row) for row, _ in views), default=rows.result().shape[1])
    x = np.zeros((len(views), width), np.float32)  # a shorter row is of another model
    for place, (vector, _) in enumerate(views):
        x[place, : len(vector)] = vector
    return ViewBatch(
        x=x,
        of_images=np.array([length is None for _, length in views], np.bool_),
        text_tokens=np.array([length or 0 for _, length in views], np.intp),
        items=tuple(items),
        tokens=tuple(tokens),
        visual_tokens=tuple(visual_tokens),
        windowed=tuple(sorted(long)),
        files=tuple(files),
        failed=failed,
    )


def _added(views: list[View], more: Sequence[View]) -> tuple[int, ...]:
    """Put views behind the others; their places."""
    first = len(views)
    views += more
    return tuple(range(first, len(views)))
