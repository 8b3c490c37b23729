"""Media read: whose turn it is, where bytes come from, and what is refused of them."""

from __future__ import annotations

import base64
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    DeadlineExceeded,
    FetchFailed,
    StoreUnavailable,
    Unavailable,
    UnreadableInput,
)
from shared.ports import StoredObject
from shared.types import Media, Priority
from tests.clock import Clock
from tests.fakes import FakeBuckets, FakeStore
from workers.embedding.download_deadline import DownloadDeadline
from workers.embedding.media_decoder import Decoders
from workers.embedding.media_loader import MediaReader, PrioritySemaphore, from_base64
from workers.futures import done, failed, mapped
from workers.inputs.documents.model import Document
from workers.inputs.images.frame import Frame
from workers.inputs.media_fetcher import Fetcher, Kind
from workers.outbound_http.client import Fetched
from workers.work_context import WorkContext

BOUND_S = 60.0
FRAME = Frame(height=4, width=4)
MAX_BYTES = 10
UNDER_WAY = 32  # of one priority
SAID = b"\xfb\xff\x00pixels"  # whose base64 has both letters that differ where it is URL-safe


@dataclass
class Work:
    """Pieces of work that end when they are told to; the order in which they began."""

    begun: list[object] = field(default_factory=list)
    futures: dict[object, Future[object]] = field(default_factory=dict)

    def piece(self, name: object) -> Callable[[], Future[object]]:
        def start() -> Future[object]:
            self.begun.append(name)
            self.futures[name] = Future()
            return self.futures[name]

        return start

    def finish(self, name: object) -> None:
        self.futures[name].set_result(name)


def bulk(turns: PrioritySemaphore, work: Work, *names: object) -> list[Future[object]]:
    return [turns.take(work.piece(n), WorkContext(priority=Priority.BULK)) for n in names]


def test_no_more_than_so_many_are_under_way_and_each_that_ends_lets_another_begin():
    turns, work = PrioritySemaphore(2), Work()
    futures = bulk(turns, work, 1, 2, 3, 4)
    assert work.begun == [1, 2]

    work.finish(2)
    assert work.begun == [1, 2, 3]
    work.finish(1)
    work.finish(3)
    work.finish(4)

    assert [future.result(0) for future in futures] == [1, 2, 3, 4]


def test_who_waits_for_an_answer_goes_before_bulk_and_equals_in_their_order():
    turns, work = PrioritySemaphore(1), Work()
    bulk(turns, work, "under way", "bulk 1", "bulk 2")
    for name in ("fast 1", "fast 2"):
        turns.take(work.piece(name), WorkContext(priority=Priority.FAST))
    turns.take(work.piece("standard"), WorkContext(priority=Priority.STANDARD))

    for name in ("under way", "fast 1", "fast 2", "standard", "bulk 1", "bulk 2"):
        work.finish(name)

    assert work.begun == ["under way", "fast 1", "fast 2", "standard", "bulk 1", "bulk 2"]


def test_of_equals_each_calls_first_goes_before_anyones_second():
    turns, work = PrioritySemaphore(1), Work()
    for rank, name in enumerate(("many 0", "many 1", "many 2")):
        turns.take(work.piece(name), WorkContext(priority=Priority.BULK, rank=rank))
    turns.take(work.piece("one"), WorkContext(priority=Priority.BULK, rank=0))
    turns.take(work.piece("fast"), WorkContext(priority=Priority.FAST, rank=9))

    for name in ("many 0", "fast", "one", "many 1", "many 2"):
        work.finish(name)

    assert work.begun == ["many 0", "fast", "one", "many 1", "many 2"]


def test_the_next_begins_before_whoever_waited_for_the_last_is_told():
    turns, work = PrioritySemaphore(1), Work()
    first, _ = bulk(turns, work, 1, 2)
    seen: list[object] = []
    first.add_done_callback(lambda _: seen.extend(work.begun))

    work.finish(1)

    assert seen == [1, 2]


def test_what_is_late_ends_with_that_and_takes_nobodys_place():
    clock = Clock(100.0)
    turns, work = PrioritySemaphore(1, clock), Work()
    bulk(turns, work, "under way")
    late = turns.take(work.piece("late"), WorkContext(priority=Priority.FAST, deadline=105.0))
    turns.take(work.piece("in time"), WorkContext(priority=Priority.FAST, deadline=106.0))

    clock.now = 105.0
    work.finish("under way")

    with pytest.raises(DeadlineExceeded):
        late.result(0)
    assert work.begun == ["under way", "in time"]


def test_work_may_take_more_turns_than_one_and_gives_them_back():
    turns, work = PrioritySemaphore(3), Work()
    bulk(turns, work, 1, 2)
    turns.hold(4)
    bulk(turns, work, 3, 4)
    work.finish(1)
    assert work.begun == [1, 2]

    turns.hold(-4)
    work.finish(2)

    assert work.begun == [1, 2, 3, 4]


def test_what_was_cancelled_while_it_waited_is_never_begun():
    turns, work = PrioritySemaphore(1), Work()
    _, gone, _ = bulk(turns, work, 1, 2, 3)

    assert gone.cancel()
    work.finish(1)

    assert work.begun == [1, 3]


def test_cancelling_what_is_under_way_cancels_the_work_and_lets_the_next_begin():
    turns, work = PrioritySemaphore(1), Work()
    first, _ = bulk(turns, work, 1, 2)

    assert first.cancel()

    assert work.futures[1].cancelled()
    assert work.begun == [1, 2]


def test_work_that_cannot_be_begun_ends_with_its_error_and_lets_the_next_begin():
    turns, work = PrioritySemaphore(1), Work()

    def broken() -> Future[object]:
        raise Unavailable("away")

    wrong = turns.take(broken, WorkContext(priority=Priority.BULK))
    bulk(turns, work, 1)

    with pytest.raises(Unavailable):
        wrong.result(0)
    assert work.begun == [1]


def test_thousands_that_fail_at_once_are_no_deep_call():
    turns, work = PrioritySemaphore(1), Work()
    bulk(turns, work, "under way")
    many = [
        turns.take(lambda: failed(KeyError()), WorkContext(priority=Priority.BULK))
        for _ in range(5_000)
    ]

    work.finish("under way")  # a call of its own for each would be beyond the interpreter's limit

    assert all(isinstance(future.exception(0), KeyError) for future in many)


def test_what_waits_when_it_is_closed_ends_and_nothing_is_taken_any_more():
    turns, work = PrioritySemaphore(1), Work()
    _, waiting = bulk(turns, work, 1, 2)

    turns.close()

    with pytest.raises(Unavailable):
        waiting.result(0)
    with pytest.raises(Unavailable):
        turns.take(work.piece(3), WorkContext(priority=Priority.FAST))
    work.finish(1)
    assert work.begun == [1]


@given(st.binary(max_size=60), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_base64_is_read_in_every_form(
    data: bytes, url_safe: bool, padded: bool, wrapped: bool, uri: bool
):
    said = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    said = said if padded else said.rstrip("=")
    if wrapped:
        said = "\r\n".join(said[i : i + 7] for i in range(0, len(said), 7))
    if uri:
        said = f"Data:image/png;charset=x;BASE64,{said}"

    assert from_base64(said) == data


@pytest.mark.parametrize(
    "said", ["a", "not base64!", "QUJD====é", "data:image/png,plain", "data:image/png;base64"]
)
def test_what_is_no_base64_is_refused(said: str):
    with pytest.raises(UnreadableInput):
        from_base64(said)


class FakeDecoders:
    """Give the bytes back as they came: at once, or where they are `held` when they are told to."""

    documents_at_once = 1

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.held = False
        self.begun: list[bytes] = []
        self._futures: list[Future[bytes]] = []
        self._lock = threading.Lock()

    def image(self, data: bytes, frame: Frame) -> Future[bytes]:
        assert frame is FRAME
        return self._decoded(data)

    def document(self, data: bytes, frame: Frame | None, max_pages: int) -> Future[bytes]:
        assert (frame, max_pages) == (None, 3)
        return self._decoded(data)

    document_of_bulk = document

    def finish(self, place: int) -> None:
        self._futures[place].set_result(self.begun[place])

    def finish_and_forget(self) -> Future[bytes]:
        """The future that ended, which nobody else here holds."""
        future = self._futures.pop()
        future.set_result(self.begun.pop())
        return future

    def healthy(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _decoded(self, data: bytes) -> Future[bytes]:
        with self._lock:
            self.begun.append(data)
            self._futures.append(Future() if self.held else done(data))
            return self._futures[-1]


class FakeFetcher:
    """The content of an address is the end of its path, and there at once; that of `slow` never."""

    def get(self, url: str, kind: Kind) -> Future[Fetched]:
        name = url.rpartition("/")[2]
        if name == "slow":
            return Future()
        if name == "none":
            return failed(FetchFailed("is not there"))
        return done(Fetched(data=f"{kind} {name}".encode(), media_type="image/png", url=url))

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Room:
    """A reader of media and all that is around it."""

    reader: MediaReader
    store: FakeStore
    buckets: FakeBuckets
    decoders: FakeDecoders
    clock: Clock

    def image(
        self,
        media: Media,
        priority: Priority = Priority.BULK,
        deadline: float | None = None,
        rank: int = 0,
        patience: DownloadDeadline | None = None,
    ) -> Future[Any]:
        return self.reader.image(
            media,
            FRAME,
            WorkContext(priority=priority, deadline=deadline, rank=rank),
            patience=patience,
        )

    def document(
        self,
        media: Media,
        use: Callable[[Document], Future[Any]],
        patience: DownloadDeadline | None = None,
    ) -> Future[Any]:
        return self.reader.document(
            media,
            None,
            WorkContext(priority=Priority.BULK),
            max_pages=3,
            use=use,
            patience=patience,
        )

    def bytes_of(self, media: Media) -> bytes:
        return cast("bytes", self.image(media).result(BOUND_S))


@pytest.fixture
def room() -> Iterator[Room]:
    store, buckets, decoders, clock = FakeStore(), FakeBuckets(), FakeDecoders(), Clock(100.0)
    reader = MediaReader(
        store=store,
        buckets=buckets,
        fetcher=cast("Fetcher", FakeFetcher()),
        decoders=cast("Decoders", decoders),
        max_bytes={"image": MAX_BYTES, "document": MAX_BYTES},
        clock=clock,
    )
    yield Room(reader=reader, store=store, buckets=buckets, decoders=decoders, clock=clock)
    reader.close()


def data(said: bytes) -> Media:
    return Media(data=base64.b64encode(said).decode())


def at(name: str) -> Media:
    return Media(url=f"https://x.test/{name}")


def test_bytes_come_from_where_they_are(room: Room):
    room.store.put("files/a/file_1", b"stored")
    room.buckets.objects["s3://inbox/rows/a.png"] = b"bucket"

    assert room.bytes_of(data(SAID)) == SAID
    assert room.bytes_of(Media(file_id="file_1", object="files/a/file_1")) == b"stored"
    assert room.bytes_of(Media(url="s3://inbox/rows/a.png")) == b"bucket"
    assert room.bytes_of(at("a")) == b"image a"
    assert room.document(at("a"), done).result(BOUND_S) == b"document a"


def test_no_more_is_read_than_the_most(room: Room):
    room.store.put("files/a/file_1", b"x" * MAX_BYTES)
    room.store.put("files/a/file_2", b"x" * (MAX_BYTES + 1))
    room.buckets.objects["s3://inbox/rows/a.png"] = b"x" * (MAX_BYTES + 1)

    assert room.bytes_of(Media(object="files/a/file_1")) == b"x" * MAX_BYTES
    for media in (Media(object="files/a/file_2"), Media(url="s3://inbox/rows/a.png")):
        with pytest.raises(UnreadableInput, match=f"larger than {MAX_BYTES} bytes"):
            room.bytes_of(media)


@pytest.mark.parametrize(
    ("media", "error"),
    [
        (Media(data="not base64!"), UnreadableInput),
        (Media(object="files/a/file_9"), UnreadableInput),
        (Media(url="s3://inbox/rows/none.png"), FetchFailed),
        (Media(url="s3://elsewhere/none.png"), FetchFailed),
        (at("none"), FetchFailed),
    ],
)
def test_what_cannot_be_read_fails_alone(room: Room, media: Media, error: type[Exception]):
    with pytest.raises(error):
        room.bytes_of(media)
    assert room.bytes_of(data(b"next")) == b"next"


def test_a_store_that_is_away_is_no_fault_of_the_item(room: Room):
    room.store.away = True

    with pytest.raises(StoreUnavailable):
        room.bytes_of(Media(object="files/a/file_1"))


def test_who_waits_for_an_answer_is_decoded_before_bulk_that_came_earlier(room: Room):
    room.decoders.held = True
    first = room.image(at("first"))
    for _ in range(100):
        room.image(at("bulk"))
    room.image(at("fast"), Priority.FAST)
    assert room.decoders.begun == [b"image first"]

    room.decoders.finish(0)

    assert first.result(0) == b"image first"
    assert room.decoders.begun == [b"image first", b"image fast"]


def test_bulk_that_waits_for_slow_addresses_keeps_no_other_from_reading(room: Room):
    slow = [room.image(at("slow")) for _ in range(100)]

    fast = room.image(data(b"fast"), Priority.FAST)

    assert fast.result(BOUND_S) == b"fast"
    assert not any(future.done() for future in slow)


def test_who_sends_the_bytes_waits_for_no_stranger(room: Room):
    slow = [room.image(at("slow"), rank=rank) for rank in range(100)]

    near = room.image(data(b"near"))

    assert near.result(BOUND_S) == b"near"
    assert not any(future.done() for future in slow)


def test_strangers_have_the_patience_of_the_call_and_what_has_come_is_not_cut_off(room: Room):
    room.decoders.held = True
    patience = DownloadDeadline(deadline=130.0, clock=room.clock)
    come = room.image(at("come"), patience=patience)
    slow = [room.image(at("slow"), patience=patience) for _ in range(UNDER_WAY + 2)]
    paper = room.document(at("slow"), done, patience=patience)
    near = room.image(data(b"near"), patience=patience)

    patience.end()

    for future in (*slow, paper):
        with pytest.raises(FetchFailed, match="within the 24 s"):
            future.result(0)
    room.decoders.finish(0)
    assert come.result(0) == b"image come"
    assert not near.done()


def test_whose_patience_is_at_an_end_leaves_the_place_to_others(room: Room):
    patience = DownloadDeadline(deadline=130.0, clock=room.clock)
    for _ in range(2 * UNDER_WAY):
        room.image(at("slow"), patience=patience)
    other = room.image(at("other"))
    assert not other.done()

    patience.end()

    assert other.result(0) == b"image other"


def test_a_call_of_one_is_decoded_before_the_second_of_a_call_of_many(room: Room):
    room.decoders.held = True
    for rank in range(5):
        room.image(at(f"many {rank}"), rank=rank)
    room.image(at("one"), rank=0)

    room.decoders.finish(0)
    room.decoders.finish(1)

    assert room.decoders.begun == [b"image many 0", b"image one", b"image many 1"]


def test_documents_leave_room_for_a_image():
    decoders = FakeDecoders(at_once=2)
    decoders.held = True
    reader = MediaReader(
        store=FakeStore(),
        buckets=FakeBuckets(),
        fetcher=cast("Fetcher", FakeFetcher()),
        decoders=cast("Decoders", decoders),
        max_bytes={"image": MAX_BYTES, "document": MAX_BYTES},
    )
    for name in "abc":
        reader.document(at(name), None, WorkContext(priority=Priority.BULK), max_pages=3, use=done)

    reader.image(at("d"), FRAME, WorkContext(priority=Priority.BULK))

    assert decoders.begun == [b"document a", b"image d"]
    reader.close()


def test_what_is_late_when_its_turn_to_be_decoded_comes_is_not_decoded(room: Room):
    room.decoders.held = True
    room.image(at("first"))
    late = room.image(at("late"), Priority.FAST, deadline=105.0)

    room.clock.now = 105.0
    room.decoders.finish(0)

    with pytest.raises(DeadlineExceeded):
        late.result(0)
    assert room.decoders.begun == [b"image first"]


def test_a_document_keeps_its_turn_until_it_was_used(room: Room):
    uses: list[Future[str]] = []

    def use(_: Document) -> Future[str]:
        uses.append(Future())
        return uses[-1]

    futures = [room.document(at("a"), use) for _ in range(UNDER_WAY + 2)]
    assert len(uses) == UNDER_WAY

    uses[0].set_result("seen")

    assert futures[0].result(0) == "seen"
    assert len(uses) == UNDER_WAY + 1


def test_a_image_that_was_decoded_gives_its_turn_away(room: Room):
    futures = [room.image(at("a")) for _ in range(UNDER_WAY + 2)]

    assert all(future.result(0) == b"image a" for future in futures)


def test_cancelling_a_image_lets_the_next_be_decoded(room: Room):
    room.decoders.held = True
    gone = room.image(at("gone"))
    room.image(at("next"))

    assert gone.cancel()

    assert room.decoders.begun == [b"image gone", b"image next"]
    with pytest.raises(CancelledError):
        gone.result(0)


def test_what_waits_when_it_is_closed_ends(room: Room):
    slow = [room.image(at("slow")) for _ in range(UNDER_WAY + 2)]

    room.reader.close()

    for future in slow[UNDER_WAY:]:
        with pytest.raises(Unavailable):
            future.result(0)


def test_nothing_that_was_read_stays_behind_an_answer(room: Room):
    room.decoders.held = True

    gc.disable()  # which would find cycles, at a time that nobody knows
    try:
        patience = DownloadDeadline(deadline=130.0, clock=room.clock)
        answer = mapped(room.image(at("a"), patience=patience), lambda _: "seen")
        left = weakref.ref(room.decoders.finish_and_forget())
        assert answer.result(0) == "seen"
        assert left() is None
    finally:
        gc.enable()


class CountingStore(FakeStore):
    """Counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self._counting = threading.Lock()

    def open(self, name: str, *, start: int = 0, end: int | None = None) -> Any:
        with self._counting:
            self.opened += 1
        return super().open(name, start=start, end=end)


def test_of_large_files_fewer_are_held_at_once_and_all_are_read():
    store, decoders = CountingStore(), FakeDecoders()
    size, count, readers = 8 * 2**20, UNDER_WAY, 8
    store.objects["large"] = StoredObject(data=bytes(size), etag="1")
    reader = MediaReader(
        store=store,
        buckets=FakeBuckets(),
        fetcher=cast("Fetcher", FakeFetcher()),
        decoders=cast("Decoders", decoders),
        max_bytes={"image": size, "document": size},
    )
    ends: list[Future[str]] = [Future() for _ in range(count)]
    ended = iter(ends)
    used = [
        reader.document(
            Media(object="large"),
            None,
            WorkContext(priority=Priority.BULK, rank=rank),
            max_pages=3,
            use=lambda _: next(ended),
        )
        for rank in range(count)
    ]
    most = 64 * 2**20 // size + readers

    for future in ends:
        assert store.opened <= most + ends.index(future)
        future.set_result("used")

    assert [future.result(BOUND_S) for future in used] == ["used"] * count
    reader.close()
