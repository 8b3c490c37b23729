"""What only the directory can get wrong: processes, disks, and what dead writers leave."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from shared.adapters.directory.file_lock import hold
from shared.adapters.directory.object_store import DirectoryStore
from shared.errors import ObjectMissing, PreconditionFailed, StoreFull, StoreUnavailable

ROOT = Path(__file__).parents[2]

FULL_DISK = """
import resource, sys
from pathlib import Path
from shared.adapters.directory.object_store import DirectoryStore
from shared.errors import StoreUnavailable

store = DirectoryStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    store.put("a", bytes(2 << 20))
except StoreUnavailable as exc:
    print(exc)
"""

STUCK_WRITER = """
import io, sys, threading
from pathlib import Path
from shared.adapters.directory.object_store import DirectoryStore

class Stuck(io.RawIOBase):
    left = 3

    def read(self, size=-1):
        if not self.left:
            print("writing", flush=True)
            threading.Event().wait(60)
        self.left -= 1
        return bytes(1 << 20)

DirectoryStore(Path(sys.argv[1])).put("jobs/j1/out", Stuck())
"""


def increment(root: Path, times: int) -> int:
    """Add to a counter by compare-and-set, and count the names created first."""
    store = DirectoryStore(root)
    created = 0
    for turn in range(times):
        try:
            store.put(f"turns/{turn}", b"", if_absent=True)
            created += 1
        except PreconditionFailed:
            pass
        while True:
            seen = store.get("counter")
            try:
                store.put("counter", str(int(seen.data) + 1).encode(), if_match=seen.etag)
                break
            except PreconditionFailed:
                continue
    return created


def churn(root: Path, times: int) -> None:
    """Make and remove an object in a directory that becomes empty each time."""
    store = DirectoryStore(root)
    mine = f"shared/deep/er/{os.getpid()}"
    for _ in range(times):
        store.put(mine, b"x")
        assert store.get(mine).data == b"x"
        store.delete(mine)


@pytest.mark.integration
def test_two_processes_lose_no_write(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("counter", b"0")

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        wins = list(pool.map(increment, [tmp_path] * 2, [100] * 2))

    assert store.get("counter").data == b"200"
    assert sum(wins) == 100


@pytest.mark.integration
def test_directories_are_removed_under_the_feet_of_writers(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(churn, [tmp_path] * 2, [200] * 2))

    assert [path.name for path in tmp_path.rglob("*.d")] == ["shared.d"]


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=True,
    )

    assert b"larger than the object store's disk or the process limit allows" in done.stdout
    assert list((tmp_path / ".new").iterdir()) == []
    assert list(DirectoryStore(tmp_path).list("")) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_full_and_still_tells_the_time_reads_and_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a real disk that is full: `tests/chaos/test_disk_full.py`."""
    store = DirectoryStore(tmp_path)
    store.put("a", b"x")

    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(StoreFull, match="disk"):
        store.put("b", b"x")
    assert store.get("a").data == b"x"
    assert store.now() > 0
    store.delete("a")
    assert list(store.list("")) == []


def test_a_writer_killed_halfway_leaves_the_old_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("jobs/j1/out", b"old")

    with subprocess.Popen(
        [sys.executable, "-c", STUCK_WRITER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)

    assert store.get("jobs/j1/out").data == b"old"
    assert list(store.list("")) == ["jobs/j1/out"]
    store.put("jobs/j1/out", b"new")


def test_what_a_dead_writer_left_is_swept_at_start_after_an_hour(tmp_path: Path) -> None:
    DirectoryStore(tmp_path)
    old, young = tmp_path / ".new" / "old", tmp_path / ".new" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 3700,) * 2)

    DirectoryStore(tmp_path)

    assert not old.exists()
    assert young.exists()


def test_files_of_others_are_no_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/b", b"")
    for foreign in ("lost+found", "a.d/README"):
        (tmp_path / foreign).mkdir()
    (tmp_path / "a.d/.DS_Store").touch()
    (tmp_path / "a.d/NOTES.txt").touch()

    assert list(store.list("")) == ["a/b"]
    assert list(store.children("a/")) == ["b"]


def test_names_that_differ_in_case_only_are_files_that_differ_otherwise(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for name in ("names/Spam", "names/spam"):
        store.put(name, b"")

    assert len({path.name.lower() for path in (tmp_path / "names.d").iterdir()}) == 2


def test_a_lock_held_too_long_is_an_outage(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path, timeout_s=0.05)
    store.put("a", b"old")
    [lock] = (tmp_path / ".locks").iterdir()

    with hold(str(lock), timeout_s=1), pytest.raises(StoreUnavailable, match=r"0\.05 seconds"):
        store.put("a", b"new")

    assert store.get("a").data == b"old"


def test_a_volume_that_went_away_is_an_outage_and_not_an_empty_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("a", b"x")
    (tmp_path / "store").rename(tmp_path / "elsewhere")

    with pytest.raises(StoreUnavailable):
        store.get("a")
    with pytest.raises(StoreUnavailable):
        store.put("a", b"y")
    with pytest.raises(StoreUnavailable):
        list(store.list(""))
    with pytest.raises(StoreUnavailable):
        list(store.children("a/"))
    assert not (tmp_path / "store").exists()


def test_a_root_that_cannot_be_made_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable):
        DirectoryStore(tmp_path / "file" / "store")


def test_an_object_of_a_store_that_was_reopened_is_still_there(tmp_path: Path) -> None:
    etag = DirectoryStore(tmp_path).put("a", b"x")

    assert DirectoryStore(tmp_path).get("a").etag == etag
    with pytest.raises(ObjectMissing):
        DirectoryStore(tmp_path).get("b")
