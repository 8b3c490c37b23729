"""A real disk of a few megabytes, that can be filled: a tmpfs, mounted by root or by `sudo`."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = b"x" * 4096


class SmallDisk:
    """A mounted disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        """Write until nothing more fits, not even a byte; what is freed meanwhile is filled too."""
        with self._filler.open("ab", buffering=0) as file:
            while True:
                try:
                    file.write(_CHUNK)
                except OSError as exc:
                    if exc.errno == errno.ENOSPC:
                        return
                    raise

    def make_room(self) -> None:
        """Give back what was filled."""
        self._filler.unlink()


@contextmanager
def small_disk(root: Path, *, mib: int) -> Iterator[SmallDisk]:
    """Mount a disk at a directory while the block runs."""
    root.mkdir()
    privilege = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={mib}m,mode=0777"
    subprocess.run(
        [*privilege, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)],
        check=True,
        timeout=30,
    )
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run([*privilege, "umount", "-l", str(root)], check=True, timeout=30)
