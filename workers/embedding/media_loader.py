"""Loads the media of items: fetches the bytes, then decodes images and documents.

Each priority has a few media under way at a time. This bounds the bytes that are loaded but not
used yet, and bulk that waits for a slow address keeps no other call from loading. Media at
addresses have slots of their own, so that media in request bodies never wait for a download.

Decoding follows the priority: synchronous calls go before bulk, behind what the children decode
already. Within a priority, the first medium of each call goes before the second of any call, and so
for accounts: neither a call of a thousand media nor a thousand calls delay a call of one. Documents
may take long, so one child is left to images.

`workers.inputs.media_fetcher` decides how bytes are fetched, `workers.embedding.media_decoder` how
they are decoded.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar

from shared.errors import (
    DeadlineExceeded,
    FetchFailed,
    InvalidRequest,
    ObjectMissing,
    Unavailable,
    UnreadableInput,
)
from shared.ports import Buckets, ObjectStore
from shared.types import Media, Priority
from workers.embedding.download_deadline import DownloadDeadline
from workers.embedding.media_decoder import Decoders, Decoding
from workers.futures import cancel_with, copy, end, mapped, then, without_variables
from workers.inputs.documents.model import Document
from workers.inputs.images.decode import FramedImage
from workers.inputs.images.frame import Frame
from workers.inputs.media_fetcher import Fetcher, Kind
from workers.work_context import WorkContext

_UNDER_WAY = 32  # media of each priority and kind, near or far
_TURN_BYTES = 2 * 2**20  # one takes a further turn for each so many: they are 64 MiB together
_UNREAD_TURNS = {("document", False): 4, ("document", True): 2}  # while its size is not known
_READERS = 8  # threads that decode base64 and read from stores
_T = TypeVar("_T")


class MediaReader:
    """Reads media for any thread; `close` it to end its own.

    Args:
        store: holds the files of accounts.
        buckets: objects outside of it, of which the operator allowed some.
        fetcher: for other addresses.
        decoders: make images and documents of bytes.
        max_bytes: of a image, of a document.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        buckets: Buckets,
        fetcher: Fetcher,
        decoders: Decoders,
        max_bytes: dict[Kind, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._buckets = buckets
        self._fetcher = fetcher
        self._decoders = decoders
        self._max_bytes = max_bytes
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="media")
        self._reading = {
            turns: PrioritySemaphore(_UNDER_WAY, clock)
            for turns in itertools.product(Priority, ("image", "document"), (False, True))
        }
        self._decoding = PrioritySemaphore(decoders.at_once, clock)
        self._documents = PrioritySemaphore(decoders.documents_at_once, clock)
        self._bulk_documents = PrioritySemaphore(decoders.documents_at_once, clock)

    def image(
        self,
        media: Media,
        frame: Frame,
        context: WorkContext,
        *,
        patience: DownloadDeadline | None = None,
    ) -> Future[FramedImage]:
        """A image, brought into a frame.

        Raises:
            UnreadableInput: by the future: it is none, or too large.
            FetchFailed: by the future: its address could not be read, or not within the patience.
            Unavailable: by the future: the store is away.
            DeadlineExceeded: by the future: its turn came too late.
        """

        def decode(data: bytes) -> Future[FramedImage]:
            return self._decoding.take(lambda: self._decoders.image(data, frame), context)

        return self._read_in_turn(media, "image", decode, context, patience)

    def document(
        self,
        media: Media,
        frame: Frame | None,
        context: WorkContext,
        *,
        max_pages: int,
        use: Callable[[Document], Future[_T]],
        patience: DownloadDeadline | None = None,
    ) -> Future[_T]:
        """What `use` makes of a document; its pages are there as images too if there is a frame.

        Until that is done no other begins in its place: images of its pages take far more memory
        than its bytes, and a model may be slower than the children. Raises as `image`.
        """

        def decode(data: bytes) -> Future[Document]:
            return self._decoding.take(
                lambda: self._decoders.document(data, frame, max_pages), context
            )

        def used(data: bytes) -> Future[_T]:
            turns, start = self._documents, partial(decode, data)
            if context.priority is Priority.BULK:
                turns = self._bulk_documents
                start = partial(self._decoders.document_of_bulk, data, frame, max_pages)
            return then(turns.take(start, context), use)

        return self._read_in_turn(media, "document", used, context, patience)

    def healthy(self) -> bool:
        """Whether it can be given work."""
        return self._decoders.healthy()

    def close(self) -> None:
        """End threads and children; what waits ends with Unavailable."""
        for turns in (
            *self._reading.values(),
            self._documents,
            self._bulk_documents,
            self._decoding,
        ):
            turns.close()
        self._fetcher.close()
        self._decoders.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _read_in_turn(
        self,
        media: Media,
        kind: Kind,
        follow: Callable[[bytes], Future[_T]],
        context: WorkContext,
        patience: DownloadDeadline | None,
    ) -> Future[_T]:
        """What follows from the bytes, once it is their turn to be read and they have come."""
        far = _is_far(media)
        turns = self._reading[context.priority, kind, far]
        unread = _UNREAD_TURNS.get((kind, far), 1) - 1

        def begin(came: Callable[[], object]) -> Future[_T]:
            def go_on(data: bytes) -> Future[_T]:
                came()
                more = len(data) // _TURN_BYTES
                turns.hold(more)
                followed = follow(data)
                followed.add_done_callback(lambda _: turns.hold(-more))
                return followed

            def start() -> Future[_T]:
                turns.hold(unread)
                read = self._bytes(media, kind)
                read.add_done_callback(lambda _: turns.hold(-unread))
                return then(read, go_on)

            return turns.take(start, context)

        return patience.hold(begin) if patience is not None and far else begin(lambda: None)

    def _bytes(self, media: Media, kind: Kind) -> Future[bytes]:
        if _is_far(media):
            fetched = self._fetcher.get(media.url, kind)
            return mapped(fetched, lambda found: found.data)
        return self._readers.submit(self._read, media, kind)

    def _read(self, media: Media, kind: Kind) -> bytes:
        if media.data:
            return from_base64(media.data)
        try:
            where = self._buckets.open(media.url) if media.url else self._store.open(media.object)
            with where as stream:
                return _bounded(stream, self._max_bytes[kind], kind)
        except ObjectMissing:
            raise UnreadableInput("the file was deleted") from None
        except InvalidRequest as exc:  # of a bucket: it names a field that the item has not
            raise FetchFailed(exc.fields[0].message if exc.fields else exc.detail) from None


def _is_far(media: Media) -> bool:
    """Whether it is a stranger's to give."""
    return bool(media.url) and not media.url.lower().startswith("s3:")


def from_base64(encoded: str) -> bytes:
    """The bytes of base64, plain, URL-safe or as a data URI; blanks and padding may vary.

    Raises:
        UnreadableInput: It is none.

    >>> from_base64("data:image/png;base64,aGVsbG8"), from_base64("aGVs bG8=")
    (b'hello', b'hello')
    """
    text = encoded
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise UnreadableInput("is a data URI without base64: send data:<type>;base64,<bytes>")
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(text, validate=True)  # as most send it: a third less work
    text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableInput("is neither base64 nor an address") from None


_URL_SAFE = str.maketrans("-_", "+/")


def _bounded(stream: BinaryIO, max_bytes: int, kind: Kind) -> bytes:
    data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        what = "IMAGE" if kind == "image" else "DOCUMENT"
        raise UnreadableInput(
            f"is larger than {max_bytes} bytes, which is as much as is read "
            f"(PIGEONHOLE_MAX_{what}_BYTES)"
        )
    return data


class PrioritySemaphore:
    """Lets so many pieces of work be under way at once; the others wait, by priority and rank."""

    def __init__(self, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = at_once
        self._clock = clock
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._of_account: Counter[str] = Counter()  # that wait or are under way
        self._waiting: list[tuple[Priority, int, int, _Waiting]] = []
        self._closed = False

    def take(self, start: Callable[[], Future[_T]], context: WorkContext) -> Future[_T]:
        """The future of the work, which is started when its turn comes: a lower rank is sooner,
        and of an account of which many wait or are under way, each counts as one more rank.

        Its place is free when the work has ended, or, of a `Decoding`, when that leaves it.
        """
        whole: Decoding[_T] = Decoding()
        account = context.account
        with self._lock:
            if self._closed:
                raise Unavailable("the worker is stopping", retry_after_s=1)
            rank = max(context.rank, self._of_account[account] if account else 0)
            self._of_account[account] += 1
            turn = (context.priority, rank, next(self._order), (start, context.deadline, whole))
            heapq.heappush(self._waiting, turn)
        whole.add_done_callback(lambda _: self._forget(account))
        self._next()
        return whole

    def hold(self, turns: int) -> None:
        """Take so many turns more for work under way, whether or not they are free.

        Fewer than none give them back; what waits begins with the next piece of work that ends.
        """
        with self._lock:
            self._free -= turns

    def _forget(self, account: str) -> None:
        with self._lock:
            self._of_account[account] -= 1
            if not self._of_account[account]:
                del self._of_account[account]

    def close(self) -> None:
        """End what waits with Unavailable."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for *_, (_, _, whole) in waiting:
            end(whole, error=Unavailable("the worker is stopping", retry_after_s=1))

    def _next(self) -> None:
        while True:
            with self._lock:
                if self._free <= 0 or not self._waiting:
                    return
                self._free -= 1
                *_, (start, deadline, whole) = heapq.heappop(self._waiting)
            if whole.cancelled():
                self._leave()
                continue
            if deadline is not None and self._clock() >= deadline:
                self._leave()
                end(whole, error=DeadlineExceeded("the deadline passed before it was read"))
                continue
            self._begin(start, whole)

    def _begin(self, start: Callable[[], Future[Any]], whole: Decoding[Any]) -> None:
        try:
            work = start()
        except BaseException as exc:  # noqa: BLE001  its waiters get it
            self._leave()
            end(whole.place)
            end(whole, error=without_variables(exc))
            return

        def left(_: Future[Any]) -> None:
            self._leave()
            end(whole.place)
            self._next()  # first: the waiters of this one may be slow

        cancel_with(whole, [work])
        if work.done():  # without going on from here: a thousand such would be too deep a call
            self._leave()
            end(whole.place)
            copy(work, whole)
        else:
            (work.place if isinstance(work, Decoding) else work).add_done_callback(left)
            work.add_done_callback(lambda ended: copy(ended, whole))

    def _leave(self) -> None:
        with self._lock:
            self._free += 1


_Waiting = tuple[Callable[[], Future[Any]], float | None, Decoding[Any]]
