"""Embeds items: texts, images and documents become views.

A view is one vector by which an item is scored. A text has one view. The images of an item have
one: the mean of their vectors. A document has a view of its text, a view of its pages, or both; on
request each page is scored by itself, too. An item that cannot be read fails alone.

Letters: N items, V views, P pages, D dimensions.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from shared.errors import PigeonholeError, UnreadableInput
from shared.limits import Limits
from shared.types import FileBy, FileReading, Item, Media
from shared.validation import refuse
from workers.embedding.download_deadline import DownloadDeadline
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.long_texts import TokenIds
from workers.embedding.media_loader import MediaReader
from workers.embedding.pooling import (
    FileViews,
    ItemViews,
    View,
    ViewBatch,
    mean,
    of_texts,
    pages_of,
    put_together,
)
from workers.futures import done, mapped, settled, then, without_variables
from workers.inputs.documents.model import Document
from workers.inputs.images.decode import FramedImage, tokens_of
from workers.inputs.media_fetcher import host_of
from workers.models.port import Rows
from workers.work_context import WorkContext


@dataclass(frozen=True, kw_only=True)
class ItemEmbedder:
    """Looks at items with the models of this process."""

    limits: Limits
    media: MediaReader

    def look(
        self,
        model: LoadedModel,
        items: Sequence[Item],
        files: FileReading,
        context: WorkContext,
        *,
        per_item: bool = False,
        aside: Mapping[int, PigeonholeError] | None = None,
        documents: Container[int] = (),
        pages: LoadedModel | None = None,
    ) -> Future[ViewBatch]:
        """Begin to look at N items.

        Nothing is waited for. With `per_item` a text that is too long fails alone, as media do
        always; the items `aside` have failed before, by index. The texts of `documents` were
        measured when they were read. `pages` reads the pages of documents instead of the model.

        Returns:
            A future that ends when all views are there, or have failed; where there is a deadline,
            what addresses have not sent a while before it has. Cancelling it takes what still
            waits out of the queues.

        Raises:
            TokenLimitExceeded: A text is too long.
            InvalidRequest: The model reads no images, and is to.
            Unavailable: The model has stopped.
        """
        patience = None
        if context.deadline is not None and any(item.media for item in items):
            patience = DownloadDeadline(deadline=context.deadline)
        reads = pages or model
        look = _Look(self, model, reads, files, context, patience, per_item, aside or {}, documents)
        tokenised = look.tokenised([item.text for item in items])
        if tokenised.done():
            return look.at_all(items, tokenised.result())
        return then(tokenised, partial(look.at_all, items))


@dataclass(frozen=True)
class _Look:
    """How the media of one call are looked at."""

    viewer: ItemEmbedder
    model: LoadedModel
    pages: LoadedModel  # whose images those of documents are
    files: FileReading
    context: WorkContext
    patience: DownloadDeadline | None
    per_item: bool
    aside: Mapping[int, PigeonholeError]
    documents: Container[int]
    rank: Iterator[int] = field(default_factory=itertools.count)  # of each medium in the call

    def at_all(self, items: Sequence[Item], tokens: TokenIds) -> Future[ViewBatch]:
        """The items, whose texts are these tokens."""
        failed = self._failed(items, tokens)
        counts = tuple(0 if i in failed else len(ids) for i, ids in enumerate(tokens))
        window = self.model.embedder.encoder.window
        windowed = tuple(i for i, count in enumerate(counts) if count > window)
        if not failed and not any(item.media for item in items):
            seen = partial(of_texts, counts=counts, windowed=windowed)
            return mapped(self._rows(tokens), seen)
        read = [(i, item) for i, item in enumerate(items) if i not in failed]
        texts = [i for i, item in read if item.text or not item.media]
        rows = self._rows([tokens[i] for i in texts])
        media = {i: (item.images, item.file) for i, item in read if item.media}
        once = {each: self.at(*each) for each in _dealt(list(media.values()))}
        others = {i: once[each] for i, each in media.items()}
        views = mapped(
            settled([rows, *others.values()]),
            lambda _: put_together(len(items), texts, rows, others, counts, windowed, failed),
        )
        if (patience := self.patience) is not None:
            patience.start()
            views.add_done_callback(lambda _: patience.stop())
        return views

    def _failed(self, items: Sequence[Item], tokens: TokenIds) -> dict[int, PigeonholeError]:
        """The items that cannot be looked at, by index.

        Raises:
            PigeonholeError: Why the first of them cannot, where they do not fail alone.
        """
        failed = dict(self.aside)
        for index, (item, ids) in enumerate(zip(items, tokens, strict=True)):
            try:
                if index not in self.documents:
                    self.viewer.limits.check_tokens(index, len(ids))
                _check_reads(self.model, self.pages, index, item, self.files)
            except PigeonholeError as exc:
                if not self.per_item:
                    raise
                failed.setdefault(index, without_variables(exc))
        return failed

    def tokenised(self, texts: Sequence[str], *, most: int | None = None) -> Future[TokenIds]:
        """The token ids of texts; long ones take turns with those of others."""
        return self.model.embedder.tokenised(texts, self.context, most=most)

    def _rows(self, tokens: TokenIds) -> Future[Rows]:
        """The vectors of texts."""
        return self.model.embedder.embed(tokens, self.context)

    def at(self, images: tuple[Media, ...], file: Media | None) -> Future[ItemViews]:
        """The media of an item, which have to be read first."""
        return self._document(file) if file is not None else self._images(images)

    def _images(self, images: Sequence[Media]) -> Future[ItemViews]:
        assert self.model.images is not None
        frame = self.model.images.encoder.frame
        read = [
            self.viewer.media.image(
                image, frame, self.context.ranked(next(self.rank)), patience=self.patience
            )
            for image in dict.fromkeys(images)
        ]
        return then(settled(read), lambda _: self._embedded([each.result() for each in read]))

    def _embedded(self, images: Sequence[FramedImage]) -> Future[ItemViews]:
        assert self.model.images is not None
        rows = self.model.images.embed([image.pixels for image in images], self.context)
        tokens = sum(tokens_of(image.width, image.height) for image in images)
        return mapped(
            rows,
            lambda x: ItemViews(views=((mean(x), None),), tokens=tokens, visual_tokens=tokens),
        )

    @property
    def _max_pages(self) -> int:
        return self.files.max_pages or self.viewer.limits.max_pages

    def _document(self, file: Media) -> Future[ItemViews]:
        images = self.pages.images
        return self.viewer.media.document(
            file,
            None if images is None or self.files.by == "text" else images.encoder.frame,
            self.context.ranked(next(self.rank)),
            max_pages=self._max_pages,
            use=self._read,
            patience=self.patience,
        )

    def _read(self, document: Document) -> Future[ItemViews]:
        """The views of a document, by what there is."""
        by = self._judged_by(document)
        return then(self._tokens_of(document, by), partial(self._looked_at, document, by))

    def _tokens_of(self, document: Document, by: FileBy) -> Future[TokenIds]:
        """The token ids of its text, and of each page if they are asked for; none of images."""
        if by == "pages":
            return done([])
        limits = self.viewer.limits
        texts = [page.text for page in document.pages] if self.files.per_page else []

        def go_on(found: TokenIds) -> Future[TokenIds]:
            limits.check_document_tokens(len(found[0]))
            return mapped(self.tokenised(texts), lambda of_pages: [*found, *of_pages])

        return then(self.tokenised([document.text], most=limits.max_document_tokens), go_on)

    def _looked_at(self, document: Document, by: FileBy, token_ids: TokenIds) -> Future[ItemViews]:
        text_rows: Future[Rows] | None = None
        page_rows: Future[Rows] | None = None
        tokens = visual_tokens = 0
        windowed = False
        if token_ids:
            tokens += len(token_ids[0])
            windowed = tokens > self.model.embedder.encoder.window
            text_rows = self._rows(token_ids)
        if by in {"pages", "both"}:
            assert self.pages.images is not None
            drawn = [page for page in document.pages if page.pixels is not None]
            visual_tokens = sum(tokens_of(page.width, page.height) for page in drawn)
            page_rows = self.pages.images.embed(
                [page.pixels for page in drawn if page.pixels is not None], self.context
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

        def seen(_: None) -> ItemViews:
            x = None if text_rows is None else text_rows.result()
            y = None if page_rows is None else page_rows.result()
            counts = [*map(len, token_ids)]
            pages = pages_of(sides, x, y, counts) if self.files.per_page else ()
            views: list[View] = []
            views += [] if x is None else [(x[0], len(token_ids[0]))]
            views += [] if y is None else [(mean(y), None)]
            return ItemViews(
                views=tuple(views),
                tokens=tokens + visual_tokens,
                visual_tokens=visual_tokens,
                windowed=windowed,
                file=file,
                pages=pages[: self._max_pages],
            )

        return mapped(settled(waiting), seen)

    def _judged_by(self, document: Document) -> FileBy:
        """What a document is judged by.

        Raises:
            UnreadableInput: It has nothing of what it is to be judged by.
        """
        has_text = any(page.text.strip() for page in document.pages)
        has_images = any(page.pixels is not None for page in document.pages)
        if not has_text and not document.visible:
            raise UnreadableInput(_empty(document))
        by = self.files.by
        if by != "text" and self.pages.images is not None and not (has_text or has_images):
            raise UnreadableInput(
                " ".join(("has neither text nor images that can be read.", *document.unread))
            )
        if by == "auto":
            by = "pages" if has_images and (document.scanned or not has_text) else "text"
        if by == "both" and not (has_text and has_images):
            by = "text" if has_text else "pages"
        if by == "text" and not has_text:
            hint = (
                "judge it by its pages (file_by)"
                if self.pages.images is not None
                else "name a model that reads images (model)"
            )
            raise UnreadableInput(f"has no text, as a scan has none: {hint}")
        if by == "pages" and not has_images:
            raise UnreadableInput("has no page that can be drawn: judge it by its text (file_by)")
        return by


def _empty(document: Document) -> str:
    """What to say of one of which nothing is there to be judged."""
    if not document.unread:
        return "is empty: it has neither text nor images"
    return " ".join(("has neither text nor images where it was read.", *document.unread))


_ItemMedia = tuple[tuple[Media, ...], Media | None]
"""The images of an item, and its document."""


def _dealt(items: Sequence[_ItemMedia]) -> list[_ItemMedia]:
    """The distinct ones, each host's first before any host's second.

    So one that is slow does not hold all the turns at reading before the others' have begun.
    """
    seen: Counter[str] = Counter()

    def place(item: _ItemMedia) -> int:
        images, file = item
        first = images[0] if images else file
        host = host_of(first.url) if first else ""
        seen[host] += 1
        return seen[host]

    return sorted(dict.fromkeys(items), key=place)


def _check_reads(
    model: LoadedModel, pages: LoadedModel, index: int, item: Item, files: FileReading
) -> None:
    if model.images is not None or not item.media:
        return
    name = f"the model {model.entry.name}"
    if item.images:
        refuse(f"input[{index}].image", f"{name} reads no images")
    if item.file is not None and pages.images is None and files.by in {"pages", "both"}:
        refuse("file_by", f"{name} reads no images; leave it out, or say text")
