"""Items to vectors: what a model sees of a text, of pictures, of a document.

A view is one vector that an item is judged by. A text is one view; so are pictures of one thing,
the mean of their vectors. A document is judged by the view of its text, by that of its pages, or by
both, if it has both; and each page by itself, if that is asked for. An item that cannot be read
fails alone.

Letters: N items, V views, P pages, D dimensions.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from shared.dialects.refusal import refuse
from shared.errors import DeadlineExceeded, PigeonholeError, UnreadableInput
from shared.limits import Limits
from shared.types import FileBy, FileReading, Item, Media, Priority
from workers.futures import mapped, settled, then, without_variables
from workers.inputs.fetch import host_of
from workers.inputs.page import Document
from workers.inputs.pictures import Picture, tokens_of
from workers.models.port import Rows
from workers.vectors.embedding import Model
from workers.vectors.media import MediaReader
from workers.vectors.patience import Patience

View = tuple[Rows, bool]
"""A vector (D,), and whether it is of pictures."""


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
class Views:
    """N items as V views. `items` says which views are of which item; None: one each, in order."""

    x: Rows  # (V, D)
    of_pictures: npt.NDArray[np.bool_]  # (V,)
    items: tuple[tuple[int, ...], ...] | None
    tokens: tuple[int, ...]  # of each item
    windowed: tuple[int, ...] = ()
    files: tuple[FileViews, ...] = ()
    failed: dict[int, PigeonholeError] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Looks at items with the models of this process."""

    limits: Limits
    media: MediaReader

    def look(
        self,
        model: Model,
        items: Sequence[Item],
        files: FileReading,
        *,
        priority: Priority,
        deadline: float | None,
        account: str = "",
        job: str = "",
    ) -> Future[Views]:
        """Begin to look at N items of an account, as a part of a `job` of bulk if any.

        Nothing is waited for.

        Returns:
            A future that ends when all views are there, or have failed; where there is a deadline,
            what addresses have not sent a while before it has. Cancelling it takes what still
            waits out of the queues.

        Raises:
            TokenLimitExceeded: A text is too long.
            InvalidRequest: The model reads no pictures, and is to.
            Unavailable: The model has stopped.
        """
        tokens = model.embedder.tokenise([item.text for item in items])
        for index, ids in enumerate(tokens):
            self.limits.check_tokens(index, len(ids))
        counts = tuple(map(len, tokens))
        window = model.embedder.encoder.window
        windowed = tuple(i for i, count in enumerate(counts) if count > window)
        if not any(item.media for item in items):
            rows = model.embedder.embed(
                tokens, priority=priority, deadline=deadline, account=account, job=job
            )
            seen = partial(_of_texts, counts=counts, windowed=windowed)
            return mapped(rows, seen)
        _check_reads(model, items, files)
        patience = None if deadline is None else Patience(deadline=deadline)
        look = _Look(self, model, files, priority, deadline, account, job, patience)
        texts = [i for i, item in enumerate(items) if not item.media]
        rows = model.embedder.embed(
            [tokens[i] for i in texts],
            priority=priority,
            deadline=deadline,
            account=account,
            job=job,
        )
        once = {item: look.at(item) for item in _dealt(items) if item.media}
        others = {i: once[item] for i, item in enumerate(items) if item.media}
        views = mapped(
            settled([rows, *others.values()]),
            lambda _: _put_together(len(items), texts, rows, others, counts, windowed),
        )
        if patience is not None:
            patience.start()
            views.add_done_callback(lambda _: patience.stop())
        return views


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One item. `file` says of a document how it was read; its text is not kept."""

    views: tuple[View, ...]
    tokens: int
    windowed: bool = False
    file: FileViews | None = None
    pages: tuple[tuple[View, ...], ...] = ()


@dataclass(frozen=True)
class _Look:
    """How the media of one call are looked at."""

    viewer: Viewer
    model: Model
    files: FileReading
    priority: Priority
    deadline: float | None
    account: str
    job: str
    patience: Patience | None
    rank: Iterator[int] = field(default_factory=itertools.count)  # of each medium in the call

    def at(self, item: Item) -> Future[_Seen]:
        """One item that has to be read first."""
        return self._document(item.file) if item.file is not None else self._pictures(item.images)

    def _pictures(self, images: Sequence[Media]) -> Future[_Seen]:
        assert self.model.pictures is not None
        frame = self.model.pictures.encoder.frame
        read = [
            self.viewer.media.picture(
                image,
                frame,
                priority=self.priority,
                deadline=self.deadline,
                rank=next(self.rank),
                patience=self.patience,
            )
            for image in dict.fromkeys(images)
        ]
        return then(settled(read), lambda _: self._embedded([each.result() for each in read]))

    def _embedded(self, pictures: Sequence[Picture]) -> Future[_Seen]:
        assert self.model.pictures is not None
        rows = self.model.pictures.embed(
            [picture.pixels for picture in pictures],
            priority=self.priority,
            deadline=self.deadline,
            account=self.account,
            job=self.job,
        )
        tokens = sum(tokens_of(picture.width, picture.height) for picture in pictures)
        return mapped(rows, lambda x: _Seen(views=((mean(x), True),), tokens=tokens))

    @property
    def _most_pages(self) -> int:
        return self.files.max_pages or self.viewer.limits.max_pages

    def _document(self, file: Media) -> Future[_Seen]:
        pictures = self.model.pictures
        return self.viewer.media.document(
            file,
            None if pictures is None or self.files.by == "text" else pictures.encoder.frame,
            most_pages=self._most_pages,
            use=self._read,
            priority=self.priority,
            deadline=self.deadline,
            rank=next(self.rank),
            patience=self.patience,
        )

    def _read(self, document: Document) -> Future[_Seen]:
        """The views of a document, by what there is."""
        by = self._judged_by(document)
        texts = [page.text for page in document.pages] if self.files.per_page else []
        text_rows: Future[Rows] | None = None
        page_rows: Future[Rows] | None = None
        tokens = 0
        windowed = False
        if by in {"text", "both"}:
            tokenise, limits = self.model.embedder.tokenise, self.viewer.limits
            (whole,) = tokenise([document.text], most=limits.max_document_tokens)
            limits.check_document_tokens(len(whole))
            tokens += len(whole)
            windowed = len(whole) > self.model.embedder.encoder.window
            text_rows = self.model.embedder.embed(
                [whole, *tokenise(texts)],
                priority=self.priority,
                deadline=self.deadline,
                account=self.account,
                job=self.job,
            )
        if by in {"pages", "both"}:
            assert self.model.pictures is not None
            drawn = [page for page in document.pages if page.pixels is not None]
            tokens += sum(tokens_of(page.width, page.height) for page in drawn)
            page_rows = self.model.pictures.embed(
                [page.pixels for page in drawn if page.pixels is not None],
                priority=self.priority,
                deadline=self.deadline,
                account=self.account,
                job=self.job,
            )
        waiting = [rows for rows in (text_rows, page_rows) if rows is not None]
        sides = [(bool(page.text.strip()), page.pixels is not None) for page in document.pages]
        file = FileViews(
            index=0,
            kind=document.kind,
            total_pages=document.total_pages,
            pages_read=document.pages_read,
            by=by,
            scanned=document.scanned,
        )

        def seen(_: None) -> _Seen:
            x = None if text_rows is None else text_rows.result()
            y = None if page_rows is None else page_rows.result()
            views: list[View] = []
            views += [] if x is None else [(x[0], False)]
            views += [] if y is None else [(mean(y), True)]
            return _Seen(
                views=tuple(views),
                tokens=tokens,
                windowed=windowed,
                file=file,
                pages=_pages(sides, x, y)[: self._most_pages] if self.files.per_page else (),
            )

        return mapped(settled(waiting), seen)

    def _judged_by(self, document: Document) -> FileBy:
        """What a document is judged by.

        Raises:
            UnreadableInput: It has nothing of what it is to be judged by.
        """
        has_text = any(page.text.strip() for page in document.pages)
        has_pictures = any(page.pixels is not None for page in document.pages)
        if not has_text and not document.visible:
            raise UnreadableInput(_empty(document))
        by = self.files.by
        if by != "text" and self.model.pictures is not None and not (has_text or has_pictures):
            raise UnreadableInput(
                " ".join(("has neither text nor pictures that can be read.", *document.unread))
            )
        if by == "auto":
            by = "pages" if has_pictures and (document.scanned or not has_text) else "text"
        if by == "both" and not (has_text and has_pictures):
            by = "text" if has_text else "pages"
        if by == "text" and not has_text:
            hint = (
                "judge it by its pages (file_by)"
                if self.model.pictures is not None
                else "name a model that reads pictures"
            )
            raise UnreadableInput(f"has no text, as a scan has none: {hint}")
        if by == "pages" and not has_pictures:
            raise UnreadableInput("has no page that can be drawn: judge it by its text (file_by)")
        return by


def _empty(document: Document) -> str:
    """What to say of one of which nothing is there to be judged."""
    if not document.unread:
        return "is empty: it has neither text nor pictures"
    return " ".join(("has neither text nor pictures where it was read.", *document.unread))


def mean(x: Rows) -> Rows:
    """The direction of the mean of unit rows, (M, D) to (D,); the first row where it is nil."""
    total = x.sum(axis=0)
    norm = float(np.linalg.norm(total))
    direction: Rows = x[0] if norm < 1e-6 else (total / norm).astype(np.float32)
    return direction


def _pages(
    sides: Sequence[tuple[bool, bool]], x: Rows | None, y: Rows | None
) -> tuple[tuple[View, ...], ...]:
    """The views of each page: of its text, and of its picture, where `sides` says it has them."""
    drawn = [i for i, (_, has_picture) in enumerate(sides) if has_picture]
    place = {page: row for row, page in enumerate(drawn)}
    pages: list[tuple[View, ...]] = []
    for i, (has_text, _) in enumerate(sides):
        views: list[View] = []
        if x is not None and has_text:
            views.append((x[1 + i], False))
        if y is not None and i in place:
            views.append((y[place[i]], True))
        pages.append(tuple(views))
    return tuple(pages)


def _of_texts(rows: Rows, *, counts: tuple[int, ...], windowed: tuple[int, ...]) -> Views:
    return Views(
        x=rows,
        of_pictures=np.zeros(len(rows), np.bool_),
        items=None,
        tokens=counts,
        windowed=windowed,
    )


def _put_together(
    count: int,
    texts: Sequence[int],
    rows: Future[Rows],
    others: dict[int, Future[_Seen]],
    counts: tuple[int, ...],
    windowed: tuple[int, ...],
) -> Views:
    """All items, once each has been looked at or has failed.

    Raises:
        PigeonholeError: The model has stopped, or time is over: that is no single item's fault.
    """
    views: list[View] = [(row, False) for row in rows.result()]
    items: list[tuple[int, ...]] = [()] * count
    tokens = list(counts)
    long = set(windowed)
    failed: dict[int, PigeonholeError] = {}
    files: list[FileViews] = []
    for row, index in enumerate(texts):
        items[index] = (row,)
    for index, future in others.items():
        try:
            seen = future.result()
        except PigeonholeError as exc:
            if exc.retryable or isinstance(exc, DeadlineExceeded):
                raise
            failed[index] = without_variables(exc)
            continue
        items[index] = _added(views, seen.views)
        tokens[index] = seen.tokens
        if seen.windowed:
            long.add(index)
        if seen.file is not None:
            pages = tuple(_added(views, page) for page in seen.pages)
            files.append(replace(seen.file, index=index, pages=pages))
    width = rows.result().shape[1]
    return Views(
        x=np.array([row for row, _ in views], np.float32).reshape(len(views), width),
        of_pictures=np.array([of_pictures for _, of_pictures in views], np.bool_),
        items=tuple(items),
        tokens=tuple(tokens),
        windowed=tuple(sorted(long)),
        files=tuple(files),
        failed=failed,
    )


def _added(views: list[View], more: Sequence[View]) -> tuple[int, ...]:
    """Put views behind the others; their places."""
    first = len(views)
    views += more
    return tuple(range(first, len(views)))


def _dealt(items: Sequence[Item]) -> list[Item]:
    """The distinct ones, each host's first before any host's second.

    So one that is slow does not hold all the turns at reading before the others' have begun.
    """
    seen: Counter[str] = Counter()

    def place(item: Item) -> int:
        host = host_of(item.media[0].url) if item.media else ""
        seen[host] += 1
        return seen[host]

    return sorted(dict.fromkeys(items), key=place)


def _check_reads(model: Model, items: Sequence[Item], files: FileReading) -> None:
    if model.pictures is not None:
        return
    name = f"the model {model.entry.name}"
    for index, item in enumerate(items):
        if item.images:
            refuse(f"input[{index}].image", f"{name} reads no pictures")
        if item.file is not None and files.by in {"pages", "both"}:
            refuse("file_by", f"{name} reads no pictures; leave it out, or say text")
