"""Reads the documents of a request as texts, for engines that compare texts with labels."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from shared.errors import DeadlineExceeded, LabelLimitExceeded, PigeonholeError, UnreadableInput
from shared.limits import Limits
from shared.types import ClassifyRequest, Item, Media
from workers.embedding.download_deadline import DownloadDeadline
from workers.embedding.long_texts import TokenIds
from workers.embedding.media_loader import MediaReader
from workers.embedding.pairs import PairScorer
from workers.embedding.pooling import FileViews, ViewBatch
from workers.futures import done, mapped, settled, then, without_variables
from workers.inputs.documents.model import Document
from workers.work_context import WorkContext


@dataclass(frozen=True, kw_only=True)
class ReadDocuments:
    """The items of a request, each document replaced by its text, and what was read of it."""

    items: tuple[Item, ...]
    files: Mapping[int, FileViews]  # by the index of their items
    failed: Mapping[int, PigeonholeError] = field(default_factory=dict)

    def added_to(self, views: ViewBatch) -> ViewBatch:
        """The views of the texts, with the documents that they are of."""
        files = [file for index, file in self.files.items() if index not in views.failed]
        items = views.items or tuple((place,) for place in range(len(views.x)))
        return replace(views, files=tuple(files), items=items)


def read_documents(
    media: MediaReader,
    request: ClassifyRequest,
    scorer: PairScorer,
    limits: Limits,
    context: WorkContext,
) -> Future[ReadDocuments]:
    """Begin to read the documents of a request. One that cannot be read, has no text, or would be
    compared in too many windows, fails alone; so do those that, together, are compared too often.

    Raises:
        PigeonholeError: by the future: the service cannot read now, or time is over.
    """
    patience = None
    if context.deadline is not None:
        patience = DownloadDeadline(deadline=context.deadline)
    of_items = {index: item.file for index, item in enumerate(request.items) if item.file}
    reading = {
        file: _document(media, file, request, limits, context.ranked(rank), patience)
        for rank, file in enumerate(dict.fromkeys(of_items.values()))
    }
    measure = _Measure(request, scorer, limits, context)
    each = {file: then(read, measure.document) for file, read in reading.items()}
    read = mapped(settled([*each.values()]), lambda _: measure.together(of_items, each))
    if patience is not None:
        patience.start()
        read.add_done_callback(lambda _: patience.stop())
    return read


def _document(
    media: MediaReader,
    file: Media,
    request: ClassifyRequest,
    limits: Limits,
    context: WorkContext,
    patience: DownloadDeadline | None,
) -> Future[Document]:
    most = request.files.max_pages or limits.max_pages
    return media.document(file, None, context, max_pages=most, use=done, patience=patience)


class _Measured(NamedTuple):
    """A document, and how many pairs of a window and a label are compared for it."""

    document: Document
    pairs: int


@dataclass(frozen=True)
class _Measure:
    """Refuses documents without text, or with too much of it."""

    request: ClassifyRequest
    scorer: PairScorer
    limits: Limits
    context: WorkContext

    def document(self, document: Document) -> Future[_Measured]:
        """The pairs of a document, or why it is refused."""
        if not document.text.strip():
            what = "a scan" if document.visible else "an empty document"
            raise UnreadableInput(
                f"has no text, as {what} has none, and {self.request.engine} compares texts: leave "
                "engine out, and name a model that reads images (model)"
            )
        most = self.limits.max_document_tokens
        tokens = self.scorer.tokenised([document.text], self.context, most=most)
        return mapped(tokens, lambda found: self._checked(document, found))

    def _checked(self, document: Document, tokens: TokenIds) -> _Measured:
        (ids,) = tokens
        self.limits.check_document_tokens(len(ids))
        labels = self._labels
        windows = -(-len(ids) // self.scorer.encoder.window)
        if windows * labels > self.limits.max_pairs:
            raise LabelLimitExceeded(
                f"has about {windows} windows of text, and {self.request.engine} would compare "
                f"each with {labels} labels; at most {self.limits.max_pairs} pairs are allowed: "
                "send fewer labels, read fewer pages (max_pages), or leave engine out"
            )
        return _Measured(document, windows * labels)

    def together(
        self, of_items: Mapping[int, Media], read: Mapping[Media, Future[_Measured]]
    ) -> ReadDocuments:
        """All items; documents beyond the pairs of a request are refused."""
        texts, files = list(self.request.items), {}
        failed: dict[int, PigeonholeError] = {}
        pairs = self._labels * (len(texts) - len(of_items))
        for index, file in of_items.items():
            try:
                document, own = read[file].result()
                self._check_pairs(pairs + own)
            except PigeonholeError as exc:
                if exc.outage or isinstance(exc, DeadlineExceeded):
                    raise
                failed[index] = without_variables(exc)
                texts[index] = Item()
                continue
            pairs += own
            texts[index] = Item(text=document.text)
            files[index] = FileViews(
                index=index,
                kind=document.kind,
                total_pages=document.total_pages,
                pages_read=document.pages_read,
                by="text",
                scanned=document.scanned,
            )
        return ReadDocuments(items=tuple(texts), files=files, failed=failed)

    def _check_pairs(self, pairs: int) -> None:
        if pairs > self.limits.max_pairs and not self.context.batch:
            raise LabelLimitExceeded(
                f"makes about {pairs} pairs of a window of text and a label, with the items before "
                f"it; at most {self.limits.max_pairs} are allowed in one request: send fewer "
                "documents or labels, or a batch"
            )

    @property
    def _labels(self) -> int:
        return sum(self.limits.compared_labels(self.request))
