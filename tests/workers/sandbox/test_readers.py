"""Files that a child reads while only the worker has them open."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from shared.errors import InvalidRequest, StoreUnavailable, Unavailable, UnreadableInput
from tests.waiting import wait_until
from tests.workers import hostile
from tests.workers.sandbox.test_pool import DIED, gone
from workers.sandbox.readers import FileReaders, ReaderKilled

DATA = bytes(range(256)) * 40_000  # 10 MB
MEMORY = (
    "needs more than 200 MB of memory to decode, the limit for one file (PIGEONHOLE_DECODER_BYTES)"
)


def readers(limit_s: float = 30.0, **changes: int) -> FileReaders:
    given = {"memory_bytes": 200_000_000, "max_piece_bytes": 4_000_000, **changes}
    return FileReaders([hostile.__name__], limit_s=limit_s, **given)


@pytest.fixture(scope="module")
def made() -> Iterator[FileReaders]:
    found = readers()
    yield found
    found.close()


def pid(made: FileReaders) -> int:
    return int(next(made.read(hostile.pid_and_ends, io.BytesIO(DATA))))


@pytest.mark.parametrize("size", [1 << 20, 3_999_999])
def test_a_file_comes_back_piece_by_piece(made: FileReaders, size: int):
    file = io.BytesIO(DATA)
    file.seek(7)  # wherever it stands

    pieces = list(made.read(hostile.echo, file, size))

    assert [len(piece) for piece in pieces[:-1]] == [size] * (len(DATA) // size)
    assert b"".join(pieces) == DATA
    assert list(made.read(hostile.pid_and_ends, io.BytesIO(DATA)))[1:] == [DATA[-3:], DATA[:3]]


def test_an_empty_file_has_no_pieces(made: FileReaders):
    assert list(made.read(hostile.echo, io.BytesIO(b""), 10)) == []


def test_one_child_reads_one_file_after_another_also_where_a_reader_leaves_early(
    made: FileReaders,
):
    before = pid(made)

    pieces = made.read(hostile.echo, io.BytesIO(DATA), 1000)
    assert next(pieces) == DATA[:1000]
    pieces.close()

    assert pid(made) == before


def test_files_are_read_beside_each_other_and_no_more_than_so_many():
    made = readers(at_once=2)
    first, second = (made.read(hostile.echo, io.BytesIO(DATA), 1000) for _ in range(2))
    assert next(first) == next(second) == DATA[:1000]
    third: list[bytes] = []
    waiter = threading.Thread(
        target=lambda: third.extend(made.read(hostile.echo, io.BytesIO(b"abc"), 2))
    )
    waiter.start()
    waiter.join(0.3)
    assert not third

    first.close()

    waiter.join(30)
    assert third == [b"ab", b"c"]
    second.close()
    made.close()


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("hog", MEMORY),
        ("crash", DIED),
        ("abort", MEMORY),
        ("fail", "is broken: it cannot be read"),
        ("beyond", DIED),
        ("large", DIED),
    ],
)
def test_a_file_that_takes_its_child_down_fails_alone_behind_its_pieces(
    made: FileReaders, how: str, detail: str
):
    neighbour = made.read(hostile.echo, io.BytesIO(DATA), 1000)
    next(neighbour)
    pieces = made.read(hostile.broken_after, io.BytesIO(DATA), 2, how)

    assert [next(pieces), next(pieces)] == [b"\0", b"\1"]
    with pytest.raises(UnreadableInput) as raised:
        next(pieces)

    assert raised.value.detail == detail
    assert next(neighbour) == DATA[1000:2000]
    neighbour.close()


def test_a_refusal_comes_back_with_its_fields_and_costs_no_child(made: FileReaders):
    before = pid(made)

    with pytest.raises(InvalidRequest) as raised:
        list(made.read(hostile.broken_after, io.BytesIO(DATA), 1, "refuse"))

    assert type(raised.value) is InvalidRequest
    assert raised.value.detail == "file: is no table"
    assert [(each.field, each.message) for each in raised.value.fields] == [("file", "is no table")]
    assert pid(made) == before


def test_a_piece_that_does_not_come_in_time_ends_the_file_and_the_child():
    made = readers(limit_s=1.0)
    before = pid(made)

    with pytest.raises(
        UnreadableInput, match=r"longer than 1 s to decode.*PIGEONHOLE_DECODE_LIMIT_S"
    ):
        list(made.read(hostile.broken_after, io.BytesIO(DATA[:9]), 1, "nap"))

    assert gone(before)
    made.close()


def test_a_file_whose_pieces_all_come_in_time_still_ends():
    made = readers(limit_s=1.0)
    with pytest.raises(UnreadableInput, match="took longer than 2 s to decode"):
        list(made.read(hostile.trickle, io.BytesIO(DATA[:1000]), 0.2))
    made.close()


def test_a_child_killed_from_outside_is_no_fault_of_the_file(made: FileReaders):
    pieces = made.read(hostile.pid_and_ends, io.BytesIO(DATA))
    child = int(next(pieces))

    os.kill(child, signal.SIGKILL)

    with pytest.raises(ReaderKilled):
        list(pieces)
    assert pid(made) != child


def test_a_child_killed_while_it_waits_costs_nothing(made: FileReaders):
    child = pid(made)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: gone(child))

    assert pid(made) != child


def test_the_errors_of_a_store_are_its_own(made: FileReaders):
    class Away(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        list(made.read(hostile.echo, Away(DATA), 10))
    assert list(made.read(hostile.echo, io.BytesIO(b"abc"), 10)) == [b"abc"]


def test_only_functions_of_the_modules_are_run(made: FileReaders):
    with pytest.raises(ValueError, match="not a function that the sandbox runs"):
        list(made.read(os.listdir, io.BytesIO(b"")))  # type: ignore[arg-type]


def test_without_room_for_a_child_it_is_said_so(made: FileReaders, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    other = readers()
    with pytest.raises(Unavailable, match="could not be started"):
        list(other.read(hostile.echo, io.BytesIO(b"abc"), 10))
