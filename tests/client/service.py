"""What tests of the client share: the address of a service, and files of rows."""

from __future__ import annotations

from pathlib import Path

from tests.servers import HOST
from tests.stack import ROOT, Stack

PROJECT = ROOT / "api" / "client"
SOURCE = PROJECT / "src"
LABELS = ["red", "green"]


def url(stack: Stack) -> str:
    return f"http://{HOST}:{stack.port}"


def write_rows(path: Path, count: int, *, empty_every: int = 0) -> Path:
    """A CSV of so many rows; every so manieth has no text and fails."""
    with path.open("w") as file:
        file.write("id,text\n")
        for number in range(count):
            empty = empty_every and number % empty_every == 0
            file.write(f"r{number},{'' if empty else f'a red rose number {number}'}\n")
    return path
