"""A reader's terminal beside a running service: one service for all pages, one folder a page.

Only addresses are exchanged (`Service.places`), and two commands stand for others: `make run`
starts the launcher that it stands for, the commands in `.venv/bin` are this interpreter's, and so
is what Python blocks import.
"""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3

from shared.settings import PREFIX
from tests import tiny_clip
from tests.docs.pages import BLOCKS, LAUNCHER, ROOT, RUN, SHELL, Block
from tests.servers import HOST, free_port, moto_server
from tests.workers.inputs import documents

_PATH = f"{ROOT}{os.pathsep}{ROOT / 'api' / 'client' / 'src'}"
_BLOCK_LIMIT_S = 240  # one block tags 20,000 rows


@dataclass(frozen=True, kw_only=True)
class Service:
    """What `make run` started: where, with which addresses, and what it printed."""

    folder: Path
    places: dict[str, str]
    welcome: str

    def placed(self, text: str) -> str:
        """The text of a page with the addresses of this service."""
        for place, real in self.places.items():
            text = text.replace(place, real)
        return text


@dataclass(kw_only=True)
class Reader:
    """The terminal of one page; its blocks run once, in order."""

    service: Service
    folder: Path
    done: dict[int, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def ran(self, block: Block) -> subprocess.CompletedProcess[str]:
        """What a block printed; all blocks above it have run by then."""
        for each in RUN:
            if each.page == block.page and each.line <= block.line and each.line not in self.done:
                self.done[each.line] = self._run(each)
        return self.done[block.line]

    def _run(self, block: Block) -> subprocess.CompletedProcess[str]:
        text = self.service.placed(block.text)
        if text.strip() == LAUNCHER:
            return subprocess.CompletedProcess(LAUNCHER, 0, stdout=self.service.welcome, stderr="")
        if block.language == "python":
            python = f"PYTHONPATH={_PATH} {shlex.quote(sys.executable)}"
            text = f"{python} -W error - <<'END'\n{text}\nEND"
        # What a block exports, the next ones have.
        script = f"set -aeuo pipefail\n. ./.exported\n{text}\nexport -p > .exported"
        try:
            return subprocess.run(
                ["bash", "-c", script],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_BLOCK_LIMIT_S,
            )
        except subprocess.TimeoutExpired as exc:
            return subprocess.CompletedProcess(script, 124, stdout="", stderr=str(exc))


@contextmanager
def service(folder: Path, clip: Path) -> Iterator[Service]:
    """The launcher with a model of images, beside a server of S3 with an empty bucket."""
    port = free_port()
    (toml,) = (block.text for block in BLOCKS if block.language == "toml")
    (folder / "models.toml").write_text(toml.replace("/models/shapes", str(clip)))
    with moto_server() as objects, launched(folder, port) as welcome:
        boto3.client(
            "s3",
            endpoint_url=objects.url,
            region_name="us-east-1",
            aws_access_key_id="access",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket="pigeonhole")
        places = {
            "127.0.0.1:8080": f"{HOST}:{port}",
            "127.0.0.1:9000": f"{HOST}:{objects.port}",
            "https://sort.example.org": f"http://{HOST}:{port}",
        }
        yield Service(folder=folder, places=places, welcome=welcome)


def reader(service: Service, folder: Path) -> Reader:
    """A terminal in an empty folder that holds what the pages suppose: data, images, letters."""
    (folder / "data").symlink_to(service.folder / "data")
    (folder / ".exported").write_text(service.placed(SHELL))
    commands = {"pigeonhole-server": "ops.cli", "pigeonhole": "pigeonhole_client.cli"}
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name, module in commands.items():
        command = programs / name
        command.write_text(f'#!/bin/sh\nPYTHONPATH={_PATH} exec {python} -m {module} "$@"\n')
        command.chmod(0o755)
    for name, colour, shape in (
        ("circle.png", "red", "circle"),
        ("square.jpg", "blue", "square"),
        ("cross.png", "green", "cross"),
    ):
        tiny_clip.draw(colour, shape, random.Random(5), side=224).image.save(folder / name)
    lines = (b"Invoice 2026-113 for office chairs", b"Amount due: 420.00 EUR, within 14 days")
    letter = documents.pdf(*map(documents.shown, lines))
    (folder / "letters").mkdir()
    for place in ("letter.pdf", "letters/1.pdf", "letters/2.pdf"):
        (folder / place).write_bytes(letter)
    return Reader(service=service, folder=folder)


@contextmanager
def launched(folder: Path, port: int) -> Iterator[str]:
    """What `make run` prints when it is ready, while it runs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    env |= {"PYTHONPATH": str(ROOT), f"{PREFIX}PORT": str(port)}
    env[f"{PREFIX}CATALOGUE"] = str(folder / "models.toml")
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.launcher"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        ends_at = time.monotonic() + 180
        while "Ctrl-C" not in out.read_text():
            assert process.poll() is None, err.read_text()
            assert time.monotonic() < ends_at, err.read_text()
            time.sleep(0.2)
        yield out.read_text()
    finally:
        process.terminate()
        assert process.wait(60) == 0, err.read_text()
