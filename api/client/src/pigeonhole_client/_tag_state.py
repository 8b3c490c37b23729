"""What a run of `tag` writes down, so that a killed client goes on where it was.

The file stands beside the input and is replaced as a whole after each step that must not be done
twice: each part of the upload that has arrived, the file, the batch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pigeonhole_client import _files
from pigeonhole_client.errors import ConfigurationError

VERSION = 1
_SUFFIX = ".pigeonhole-tag"


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """What tells whether the input is still the file that was sent."""

    bytes: int
    modified_ns: int


class TagState(msgspec.Struct, kw_only=True):
    """How far a run of `tag` is. `parts`: ids of the parts that have arrived, by their place."""

    version: int = VERSION
    base_url: str
    request: dict[str, Any]
    output: str
    errors: str
    input: InputFile
    part_bytes: int
    upload_id: str = ""
    parts: dict[str, str] = {}
    file_id: str = ""
    batch_key: str = ""
    batch_id: str = ""

    def save(self, path: Path) -> None:
        """Replace the file."""
        _files.write_json(path, msgspec.to_builtins(self))

    def forget_upload(self) -> None:
        """Begin the upload anew."""
        self.upload_id, self.parts = "", {}
        self.forget_file()

    def forget_file(self) -> None:
        """Begin with the upload that there is, if there is one."""
        self.file_id = self.batch_key = self.batch_id = ""


def describe(path: Path) -> InputFile:
    """The size and time of change of an input.

    Raises:
        ConfigurationError: There is no such file, or it is empty.
    """
    try:
        found = path.stat()
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from None
    if not path.is_file():
        raise ConfigurationError(f"{path} is not a file")
    if not found.st_size:
        raise ConfigurationError(f"{path} is empty")
    return InputFile(bytes=found.st_size, modified_ns=found.st_mtime_ns)


def place(source: Path, *, base_url: str, request: dict[str, Any], output: Path) -> Path:
    """The file of a run: the same command has the same one, any other command another one."""
    same = msgspec.json.encode([base_url, request, str(output.absolute())], order="deterministic")
    name = f".{source.name}.{hashlib.sha256(same).hexdigest()[:8]}{_SUFFIX}"
    beside = source.absolute().parent
    return (beside if os.access(beside, os.W_OK) else output.absolute().parent) / name


def load(path: Path) -> TagState | None:
    """The state of a run that was interrupted; None where there is none that can be read."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=TagState)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if state.version == VERSION else None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from the same run while the block runs; a killed process lets go.

    Where the system has no such locks, as on Windows, nothing is kept.

    Raises:
        ConfigurationError: Another process runs it.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    lock = path.with_name(f"{path.name}.lock")
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ConfigurationError("another process runs the same command just now") from None
        if _is_still(lock, handle):
            break
        os.close(handle)  # the process that had it has deleted it in between
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def interrupted(source: Path) -> tuple[Path, TagState]:
    """The one run on an input that was interrupted.

    Raises:
        ConfigurationError: There is none, or several.
    """
    beside = source.absolute().parent
    paths = sorted(beside.glob(f".{_escaped(source.name)}.*{_SUFFIX}"))
    found = [(path, state) for path in paths if (state := load(path))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigurationError(f"no interrupted run of {source} to resume")
    outputs = ", ".join(state.output for _, state in found)
    raise ConfigurationError(
        f"several runs of {source} were interrupted, with the outputs {outputs}; repeat the "
        "command of the one to resume"
    )


def _escaped(name: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def check(state: TagState, source: Path, *, base_url: str) -> None:
    """Refuse to go on with a run of another input or another service.

    Raises:
        ConfigurationError: It is one.
    """
    if state.base_url != base_url:
        raise ConfigurationError(f"the run was with {state.base_url}, not with {base_url}")
    if state.input != describe(source):
        raise ConfigurationError(f"{source} was changed since the run began; begin a new one")
