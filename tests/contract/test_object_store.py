"""The contract of `ObjectStore`, on every implementation."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Barrier
from urllib.request import Request, urlopen

import httpx
import pytest

from shared.errors import InvalidRequest, ObjectMissing, PreconditionFailed
from shared.ports import ObjectStore

MIB = 1 << 20

# Everything that a file system, a URL or an XML answer may stumble over.
ODD_NAMES = [
    "Größe/ÅÄÖ/日本語 🙂.json",
    "a b/ c /d+e&f=g#h?i",
    "100%/%41/%2e%2e/%",
    "UPPER/upper/Upper",
    ".hidden/.new/.locks/...",
    "x.d/y.m/x.d",
    "~/\\/:*<>|\"'`;$(){}[]^,!@",
    "long/" + "s" * 79,
    "long/" + "s" * 80,
    "long/" + "s" * 80 + "/below",
    "long/" + "s" * 80 + "-beside",
    "long/" + "s" * 81,
    "long/" + "Ü" * 430,
    "/".join("deep" for _ in range(170)),
]

# Names whose order differs between a tree walk and the bytes, and objects that are also prefixes.
MIXED_NAMES = [
    "t/a",
    "t/a!",
    "t/a!/x",
    "t/a-b",
    "t/a-b/c",
    "t/a-b/d",
    "t/a-c",
    "t/a.b",
    "t/a.b.c",
    "t/a/b",
    "t/a/b-c",
    "t/a/b/c",
    "t/a0",
    "t/a0/x",
    "t/aa",
    "t/b/z",
    "t/b-/z",
    "t/b",
    "t/c/only/below",
    "t/d-1",
    "t/d-2/x",
    "t/d.1",
    "t/d.2",
    "t/d/below",
    "t/d/only",
    "t/é",
    "t/" + "q" * 100,
    "t/" + "q" * 100 + "-",
    "t/" + "q" * 100 + "/x",
    "t/" + "q" * 80,
    "t/" + "q" * 80 + "!",
    "t/" + "q" * 80 + "/y",
    "u",
]


class TestObjectStore:
    def test_it_passes_its_own_probe_and_leaves_nothing(self, object_store: ObjectStore) -> None:
        object_store.probe()

        assert list(object_store.list("")) == []

    def test_what_is_put_is_got_with_its_etag(self, object_store: ObjectStore) -> None:
        etag = object_store.put("jobs/j1/job.json", b"{}")

        found = object_store.get("jobs/j1/job.json")

        assert (found.data, found.etag) == (b"{}", etag)

    def test_a_put_replaces_and_changes_the_etag(self, object_store: ObjectStore) -> None:
        first = object_store.put("a", b"one")

        second = object_store.put("a", b"two")

        assert second != first
        assert object_store.get("a").data == b"two"

    def test_it_says_what_time_it_is_and_keeps_nothing_of_it(
        self, object_store: ObjectStore
    ) -> None:
        assert abs(object_store.now() - time.time()) < 5

        assert list(object_store.list("")) == []

    def test_an_empty_object_is_an_object(self, object_store: ObjectStore) -> None:
        object_store.put("open/j1", b"")
        object_store.put("open/j2", io.BytesIO())

        assert object_store.get("open/j1").data == b""
        with object_store.open("open/j2") as stream:
            assert stream.read() == b""
        assert list(object_store.list("open/")) == ["open/j1", "open/j2"]

    @pytest.mark.parametrize("missing", ["none", "jobs/none", "jobs/j1/job.json/below", "jobs"])
    def test_a_missing_object_is_reported(self, object_store: ObjectStore, missing: str) -> None:
        object_store.put("jobs/j1/job.json", b"{}")

        with pytest.raises(ObjectMissing):
            object_store.get(missing)
        with pytest.raises(ObjectMissing):
            object_store.open(missing)
        object_store.delete(missing)

    def test_a_deleted_object_is_gone_and_its_neighbours_stay(
        self, object_store: ObjectStore
    ) -> None:
        for name in ("a", "a/b", "a/b/c", "a/d"):
            object_store.put(name, b"x")

        object_store.delete("a/b")

        assert list(object_store.list("a")) == ["a", "a/b/c", "a/d"]
        with pytest.raises(ObjectMissing):
            object_store.get("a/b")

    def test_a_prefix_is_gone_with_its_last_object(self, object_store: ObjectStore) -> None:
        object_store.put("jobs/j1/parts/1.in", b"x")
        object_store.put("jobs/j2/job.json", b"x")

        object_store.delete("jobs/j1/parts/1.in")

        assert list(object_store.children("jobs/")) == ["j2"]
        object_store.put("jobs/j1/parts/1.in", b"again")
        assert list(object_store.children("jobs/")) == ["j1", "j2"]

    def test_odd_names_are_kept_and_listed_as_they_are(self, object_store: ObjectStore) -> None:
        for name in ODD_NAMES:
            object_store.put(name, name.encode())

        assert list(object_store.list("")) == sorted(ODD_NAMES)
        assert [object_store.get(name).data.decode() for name in ODD_NAMES] == ODD_NAMES
        for name in ODD_NAMES:
            object_store.delete(name)
        assert list(object_store.list("")) == []

    @pytest.mark.parametrize(
        "name",
        ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", "a/.", "a\0b", "a\n", "é" * 451],
    )
    def test_a_name_that_could_escape_is_refused(
        self, object_store: ObjectStore, name: str
    ) -> None:
        for call in (object_store.get, object_store.open, object_store.delete):
            with pytest.raises(InvalidRequest):
                call(name)
        with pytest.raises(InvalidRequest):
            object_store.put(name, b"x")


class TestConditions:
    def test_if_absent_writes_once(self, object_store: ObjectStore) -> None:
        object_store.put("a", b"first", if_absent=True)

        with pytest.raises(PreconditionFailed):
            object_store.put("a", b"second", if_absent=True)

        assert object_store.get("a").data == b"first"

    def test_if_absent_writes_again_after_a_delete(self, object_store: ObjectStore) -> None:
        object_store.put("a", b"first", if_absent=True)
        object_store.delete("a")

        object_store.put("a", b"second", if_absent=True)

        assert object_store.get("a").data == b"second"

    def test_if_match_writes_on_the_current_etag_only(self, object_store: ObjectStore) -> None:
        stale = object_store.put("a", b"first")
        current = object_store.put("a", b"second", if_match=stale)

        with pytest.raises(PreconditionFailed):
            object_store.put("a", b"third", if_match=stale)

        object_store.put("a", b"fourth", if_match=current)
        assert object_store.get("a").data == b"fourth"

    def test_if_match_never_creates(self, object_store: ObjectStore) -> None:
        etag = object_store.put("a", b"first")
        object_store.delete("a")

        with pytest.raises(PreconditionFailed):
            object_store.put("a", b"second", if_match=etag)

        assert list(object_store.list("")) == []

    def test_of_eight_racing_creators_one_wins(self, object_store: ObjectStore) -> None:
        barrier = Barrier(8)

        def create(writer: int, name: str) -> bytes | None:
            data = str(writer).encode()
            barrier.wait(60)
            try:
                object_store.put(name, data, if_absent=True)
            except PreconditionFailed:
                return None
            return data

        with ThreadPoolExecutor(8) as pool:
            for turn in range(10):
                name = f"race/{turn}"
                wins = [w for w in pool.map(lambda i, n=name: create(i, n), range(8)) if w]
                assert wins == [object_store.get(name).data]

    def test_racing_increments_lose_nothing(self, object_store: ObjectStore) -> None:
        object_store.put("counter", b"0")

        def increment(_: int) -> None:
            while True:
                seen = object_store.get("counter")
                try:
                    object_store.put(
                        "counter", str(int(seen.data) + 1).encode(), if_match=seen.etag
                    )
                except PreconditionFailed:
                    continue
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(increment, range(24)))

        assert object_store.get("counter").data == b"24"


class TestListing:
    def test_names_come_in_byte_order_from_any_place(self, object_store: ObjectStore) -> None:
        for name in MIXED_NAMES:
            object_store.put(name, b"")

        self.assert_listed_like_the_model(object_store)

    def assert_listed_like_the_model(self, store: ObjectStore) -> None:
        ordered = sorted(MIXED_NAMES, key=str.encode)
        assert list(store.list("")) == ordered
        for prefix in ("t", "t/", "t/a", "t/a/", "t/a-", "t/b", "t/q", "t/" + "q" * 90, "v", "u/"):
            expected = [name for name in ordered if name.startswith(prefix)]
            assert list(store.list(prefix)) == expected
        for after in [*ordered, "t/a-bb", "t/" + "q" * 80 + "0", "s", "z"]:
            assert list(store.list("t/", after=after)) == [
                name for name in ordered if name.startswith("t/") and name > after
            ]

    def test_children_are_distinct_and_in_byte_order(self, object_store: ObjectStore) -> None:
        for name in MIXED_NAMES:
            object_store.put(name, b"")

        self.assert_children_like_the_model(object_store)

    @pytest.mark.integration
    def test_children_are_the_same_over_tiny_pages(
        self, s3_store: Callable[..., ObjectStore]
    ) -> None:
        for name in MIXED_NAMES:
            s3_store().put(name, b"")

        self.assert_children_like_the_model(s3_store(page_names=2), every=6)
        assert list(s3_store(page_names=2).list("")) == sorted(MIXED_NAMES)

    def assert_children_like_the_model(self, store: ObjectStore, *, every: int = 1) -> None:
        for prefix in ("t/", "t/a/", "t/" + "q" * 80 + "/", "t/none/"):
            segments = sorted(
                {n.removeprefix(prefix).split("/")[0] for n in MIXED_NAMES if n.startswith(prefix)},
                key=str.encode,
            )
            assert list(store.children(prefix)) == segments
            for after in [*segments, "a,", "q" * 85][::every]:
                expected = [segment for segment in segments if segment > after]
                assert list(store.children(prefix, after=after)) == expected

    def test_more_names_than_a_page_of_s3_are_listed(self, object_store: ObjectStore) -> None:
        names = [f"open/{i:04}" for i in range(1005)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: object_store.put(name, b""), names))

        assert list(object_store.list("open/")) == names
        assert list(object_store.list("open/", after="open/0990")) == names[991:]
        assert list(object_store.children("open/", after="1000")) == [
            "1001",
            "1002",
            "1003",
            "1004",
        ]
        assert list(islice(object_store.list(""), 3)) == names[:3]


class TestStreams:
    def test_a_stream_of_several_parts_is_whole(self, object_store: ObjectStore) -> None:
        data = bytes(range(256)) * (9 * MIB // 256) + b"tail"

        etag = object_store.put("big", _Trickle(data), if_absent=True)

        found = object_store.get("big")
        assert (found.data == data, found.etag) == (True, etag)
        with object_store.open("big") as stream:
            assert stream.read(7) == data[:7]
            assert stream.readline() == data[7:11]
            assert stream.read() == data[11:]

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, None), (0, 7), (5, 6), (5, 5), (1000, None), (3 * MIB - 1, None), (MIB, 9 * MIB)],
    )
    def test_a_part_of_an_object_is_read_by_itself(
        self, object_store: ObjectStore, start: int, end: int | None
    ) -> None:
        data = bytes(range(251)) * (3 * MIB // 251) + b"tail"
        object_store.put("big", data)
        start = min(start, len(data) - 1)

        with object_store.open("big", start=start, end=end) as stream:
            assert stream.read(4) == data[start:end][:4]
            assert stream.read() == data[start:end][4:]

    def test_conditions_hold_for_streams_of_several_parts(self, object_store: ObjectStore) -> None:
        stale = object_store.put("big", b"small")
        current = object_store.put("big", _Zeros(9 * MIB), if_match=stale)

        with pytest.raises(PreconditionFailed):
            object_store.put("big", _Zeros(9 * MIB), if_match=stale)
        with pytest.raises(PreconditionFailed):
            object_store.put("big", _Zeros(9 * MIB), if_absent=True)

        assert object_store.get("big").etag == current
        object_store.put("big", b"small again", if_match=current)

    def test_bytes_of_any_size_are_put(self, object_store: ObjectStore) -> None:
        data = b"\x01" * (8 * MIB)

        object_store.put("big", data)

        assert object_store.get("big").data == data

    def test_a_stream_that_breaks_writes_nothing(self, object_store: ObjectStore) -> None:
        object_store.put("big", b"old")

        with pytest.raises(ConnectionResetError):
            object_store.put("big", _Zeros(30 * MIB, break_at=9 * MIB))

        assert object_store.get("big").data == b"old"
        assert list(object_store.list("")) == ["big"]

    @pytest.mark.parametrize(
        "object_store",
        ["directory", pytest.param("s3", marks=pytest.mark.integration)],
        indirect=True,
    )
    def test_streams_pass_in_bounded_memory(self, object_store: ObjectStore) -> None:
        tracemalloc.start()
        try:
            object_store.put("big", _Zeros(40 * MIB))
            read = 0
            with object_store.open("big") as stream:
                while chunk := stream.read(MIB):
                    read += len(chunk)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert read == 40 * MIB
        assert peak_bytes < 30 * MIB

    def test_an_open_stream_keeps_what_it_began(self, object_store: ObjectStore) -> None:
        object_store.put("a", b"old")
        with object_store.open("a") as stream:
            object_store.put("a", b"new")

            assert stream.read() == b"old"


class TestPresigning:
    @pytest.mark.parametrize(
        "object_store", [pytest.param("s3", marks=pytest.mark.integration)], indirect=True
    )
    def test_a_url_writes_the_object_without_a_key(self, object_store: ObjectStore) -> None:
        url = object_store.presign_put("uploads/größe 1", expires_s=60)

        assert url is not None
        put = Request(url, data=b"bytes", method="PUT", headers={"Content-Type": "text/csv"})
        with urlopen(put, timeout=60) as answer:
            assert answer.status == 200
        assert object_store.get("uploads/größe 1").data == b"bytes"

    @pytest.mark.parametrize(
        "object_store", [pytest.param("s3", marks=pytest.mark.integration)], indirect=True
    )
    def test_a_form_writes_the_object_without_a_key(self, object_store: ObjectStore) -> None:
        form = object_store.presign_post("uploads/größe 1", expires_s=60, max_bytes=10)

        assert form is not None
        sent = httpx.post(form[0], data=form[1], files={"file": ("a", b"bytes")})
        assert sent.is_success
        assert object_store.get("uploads/größe 1").data == b"bytes"

    @pytest.mark.parametrize("object_store", ["fake", "directory"], indirect=True)
    def test_a_store_of_our_own_has_no_such_urls(self, object_store: ObjectStore) -> None:
        assert object_store.presign_put("a", expires_s=60) is None
        assert object_store.presign_post("a", expires_s=60, max_bytes=1) is None

    def test_a_name_that_could_escape_has_no_url(self, object_store: ObjectStore) -> None:
        with pytest.raises(InvalidRequest):
            object_store.presign_put("../a", expires_s=60)


class _Zeros(io.RawIOBase):
    """A stream of zeros that holds none of them."""

    def __init__(self, size: int, *, break_at: int | None = None) -> None:
        self._left = size
        self._break_at = size - break_at if break_at else None

    def read(self, size: int = -1) -> bytes:
        if self._break_at is not None and self._left < self._break_at:
            raise ConnectionResetError("the client went away")
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


class _Trickle(io.BytesIO):
    """A stream that returns less than asked for, as sockets do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 300_007))
