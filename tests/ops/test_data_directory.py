from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.services.keys import list_keys, revoke_key
from ops.data_directory import first_key, held
from shared.adapters.directory.object_store import DirectoryStore
from shared.errors import ConfigurationError, Conflict

NOW = datetime(2027, 1, 1, tzinfo=UTC)
HOLD = """
import subprocess, sys
from pathlib import Path
from ops.data_directory import held
with held(Path(sys.argv[1]), patience_s=1) as lock:
    print("held", flush=True)
    if sys.argv[2] == "leave a child":
        child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        subprocess.Popen(child, pass_fds=[lock])
    else:
        sys.stdin.read()
"""


def holder(directory: Path, what: str) -> subprocess.Popen[bytes]:
    """Another process that has the directory, until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestHeld:
    def test_one_process_has_it_and_the_other_is_told_which(self, tmp_path: Path) -> None:
        with holder(tmp_path, "wait") as other:
            with pytest.raises(Conflict, match=f"in use by process {other.pid};"):
                held(tmp_path, patience_s=1).__enter__()

            other.communicate()
        with held(tmp_path, patience_s=1):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"

    def test_what_a_killed_launcher_left_running_is_waited_for(self, tmp_path: Path) -> None:
        with holder(tmp_path, "leave a child") as gone:
            gone.wait()

            with pytest.raises(Conflict, match=f"a child of process {gone.pid}, which has ended"):
                held(tmp_path, patience_s=0.2).__enter__()
            assert gone.stdin is not None
            gone.stdin.close()  # ends the child
            with held(tmp_path, patience_s=60):
                pass

    def test_it_is_made_for_its_owner_only(self, tmp_path: Path) -> None:
        with held(tmp_path / "new", patience_s=1):
            assert mode(tmp_path / "new") == 0o700
            assert mode(tmp_path / "new" / "lock") == 0o600

    def test_a_directory_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
            held(tmp_path / "file" / "data", patience_s=1).__enter__()


class TestFirstKey:
    def test_it_is_made_once_and_kept_for_the_owner(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path / "objects")

        secret = first_key(store, tmp_path, now=NOW)

        assert secret is not None
        assert first_key(store, tmp_path, now=NOW) is None  # it is shown once
        assert (tmp_path / "key").read_text() == f"{secret}\n"
        assert mode(tmp_path / "key") == 0o600
        assert [(key.name, key.account) for key in list_keys(store)] == [("first key", "default")]

    @pytest.mark.parametrize("loss", ["its record", "its validity", "its text"])
    def test_it_is_made_anew_when_it_is_lost(self, tmp_path: Path, loss: str) -> None:
        store = DirectoryStore(tmp_path / "objects")
        before = first_key(store, tmp_path, now=NOW)

        if loss == "its record":
            store = DirectoryStore(tmp_path / "other")
        elif loss == "its validity":
            revoke_key(store, list_keys(store)[0].id, now=NOW)
        else:
            (tmp_path / "key").write_text("")
        after = first_key(store, tmp_path, now=NOW)

        assert after not in (None, before)
        assert first_key(store, tmp_path, now=NOW) is None
        assert (tmp_path / "key").read_text() == f"{after}\n"
