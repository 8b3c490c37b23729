"""README.md is true: its blocks run against a real service, its tables are those of the code.

Bash and Python blocks run in one folder, in order, as a reader would type them. Only addresses are
exchanged (`Session.places`), and two commands stand for others: `make run` starts the launcher that
it stands for, `.venv/bin/pigeonhole` is this interpreter's. What is not run stands in `NOT_RUN`.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import pytest

from api.http.routing import BATCH_BODY_BYTES, SMALL_BODY_BYTES
from api.idempotency import MAX_CHARS
from api.slots import RESERVED_THREADS
from ops import cli
from shared import catalogue, settings
from shared.jobs import TRANSITIONS, State
from shared.limits import Limits
from shared.settings import PREFIX, Settings
from shared.statuses import STATUS
from tests import tiny_clip
from tests.ops.compose import SECRETS
from tests.servers import HOST, free_port, moto_server
from tests.workers.inputs import documents
from workers.inputs.row import MAX_COLUMNS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted({ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "ops" / "runbook.md"})
PAGES += sorted((ROOT / "docs").glob("*.md"))

LAUNCHER = "make run"
NOT_RUN = {
    "docker compose up": "test_compose starts what the file starts, without Docker",
    ".venv/bin/python -m api.main": "test_compose starts these with their environment",
    "make check": "it is what runs this test",
}
SCORE_TOLERANCE = 0.05  # float32 and bfloat16 differ by less
MASKS = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"ph_[\w-]{20,}", "ph_…"),
    (r"\b(job|key|req|wh)_[0-9a-z]{16,26}", r"\1_…"),
    (r"whsec_[\w+/]+=*", "whsec_…"),
    (r"\d{4}-\d\d-\d\d(T[\d:.]+Z| \d\d:\d\d)?", "<time>"),
    (r"\(kept in \S+\)", "(kept in …)"),
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; `shown` is the output that stands right below it."""

    number: int
    language: str
    text: str
    shown: Block | None = None

    @property
    def runs(self) -> bool:
        return self.language in {"bash", "python"} and not self.text.startswith(tuple(NOT_RUN))


def blocks() -> list[Block]:
    found: list[Block] = []
    end = len(README)
    for match in reversed(list(re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S))):
        below = found[0] if found and not README[match.end() : end].strip() else None
        shown = below if below and below.language in {"json", "text"} else None
        number = README.count("\n", 0, match.start()) + 1
        found.insert(0, Block(number=number, language=match[1], text=match[2], shown=shown))
        end = match.start()
    return found


BLOCKS = blocks()
RUN = [block for block in BLOCKS if block.runs]


@dataclass(kw_only=True)
class Session:
    """A reader's terminal beside a running service; blocks run once, in order."""

    folder: Path
    places: dict[str, str]
    welcome: str
    done: dict[int, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def ran(self, block: Block) -> subprocess.CompletedProcess[str]:
        """What a block brought; all before it have run by then."""
        for each in RUN:
            if each.number <= block.number and each.number not in self.done:
                self.done[each.number] = self._run(each)
        return self.done[block.number]

    def placed(self, text: str) -> str:
        for place, real in self.places.items():
            text = text.replace(place, real)
        return text

    def _run(self, block: Block) -> subprocess.CompletedProcess[str]:
        text = self.placed(block.text)
        if text.strip() == LAUNCHER:
            return subprocess.CompletedProcess(LAUNCHER, 0, stdout=self.welcome, stderr="")
        if block.language == "python":
            text = f"{shlex.quote(sys.executable)} -W error - <<'END'\n{text}\nEND"
        # What a block exports, the next ones have.
        script = f"set -aeuo pipefail\n. ./.exported\n{text}\nexport -p > .exported"
        try:
            return subprocess.run(
                ["bash", "-c", script],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=240,  # one of them tags 20,000 rows
            )
        except subprocess.TimeoutExpired as exc:
            return subprocess.CompletedProcess(script, 124, stdout="", stderr=str(exc))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, trained_clip: Path) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("reader")
    write_files(folder, trained_clip)
    port = free_port()
    command = folder / ".venv" / "bin" / "pigeonhole"
    command.parent.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {python} -m ops.cli "$@"\n')
    command.chmod(0o755)
    (folder / ".exported").touch()
    with moto_server() as objects, launched(folder, port) as welcome:
        boto3.client(
            "s3",
            endpoint_url=objects.url,
            region_name="us-east-1",
            aws_access_key_id="access",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket="pigeonhole")
        places = {"127.0.0.1:8080": f"{HOST}:{port}", "127.0.0.1:9000": f"{HOST}:{objects.port}"}
        yield Session(folder=folder, places=places, welcome=welcome)


def write_files(folder: Path, clip: Path) -> None:
    """What a reader has before he starts: a model of images, some images, a document."""
    (toml,) = (block.text for block in BLOCKS if block.language == "toml")
    (folder / "models.toml").write_text(toml.replace("/models/shapes", str(clip)))
    for name, colour, shape in (
        ("circle.png", "red", "circle"),
        ("square.jpg", "blue", "square"),
        ("cross.png", "green", "cross"),
    ):
        tiny_clip.draw(colour, shape, random.Random(5), side=224).picture.save(folder / name)
    lines = (b"Invoice 2026-113 for office chairs", b"Amount due: 420.00 EUR, within 14 days")
    letter = documents.pdf(*map(documents.shown, lines))
    (folder / "letters").mkdir()
    for place in ("letter.pdf", "letters/1.pdf", "letters/2.pdf"):
        (folder / place).write_bytes(letter)


@contextmanager
def launched(folder: Path, port: int) -> Iterator[str]:
    """What `make run` says when it is ready, while it runs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    env |= {"PYTHONPATH": str(ROOT), f"{PREFIX}PORT": str(port)}
    env[f"{PREFIX}CATALOGUE"] = str(folder / "models.toml")
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.local"],
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


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("block", RUN, ids=lambda block: f"line{block.number}")
def test_a_block_does_what_it_shows(block: Block, session: Session) -> None:
    ran = session.ran(block)

    assert ran.returncode == 0, ran.stderr
    if block.shown is None:
        return
    if block.shown.language == "json":
        assert_alike(json.loads(block.shown.text), json.loads(ran.stdout.splitlines()[-1]))
    else:
        assert_alike(words(session.placed(block.shown.text)), words(ran.stdout))


@pytest.mark.slow
@pytest.mark.integration
def test_the_secrets_of_compose_are_those_that_the_file_asks_for(session: Session) -> None:
    session.ran(next(block for block in RUN if "> .env" in block.text))

    made = dict(line.split("=") for line in (session.folder / ".env").read_text().splitlines())
    assert made.keys() == SECRETS.keys()
    assert (session.folder / ".env").stat().st_mode & 0o77 == 0


def assert_alike(shown: Any, real: Any, place: str = "answer") -> None:
    """The same keys, labels and words; scores close by; ids and times of the same form."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), place
        assert list(shown) == list(real), place
        for key in shown:
            assert_alike(shown[key], real[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert isinstance(real, list), place
        assert len(shown) == len(real), f"{place}: {real}"
        for index, pair in enumerate(zip(shown, real, strict=True)):
            assert_alike(*pair, place=f"{place}[{index}]")
    elif isinstance(shown, float) or (isinstance(shown, str) and re.fullmatch(r"0\.\d+", shown)):
        assert float(shown) == pytest.approx(float(real), abs=SCORE_TOLERANCE), place
    elif isinstance(shown, str):
        assert isinstance(real, str), place
        assert masked(shown) == masked(real), place
    else:
        assert shown == real, place


def words(text: str) -> list[str]:
    return masked(text).split()


def masked(text: str) -> str:
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def test_every_block_is_run_or_parsed_or_named_as_not_run() -> None:
    shown = [block.shown for block in BLOCKS if block.shown]

    for block in BLOCKS:
        told = block.text.startswith(tuple(NOT_RUN))
        parsed = block.language in {"json", "toml"}
        assert block.runs or told or block in shown or parsed, block.number
    assert all(any(block.text.startswith(start) for block in BLOCKS) for start in NOT_RUN)


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "json"],
    ids=lambda block: f"line{block.number}",
)
def test_a_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


def test_a_toml_block_is_a_catalogue(tmp_path: Path) -> None:
    for number, block in enumerate(each for each in BLOCKS if each.language == "toml"):
        written = tmp_path / f"{number}.toml"
        written.write_text(block.text)
        assert catalogue.load(str(written), default="all-MiniLM-L6-v2").for_pictures()


def section(name: str) -> str:
    """What stands between the markers of a table."""
    match = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.S)
    assert match, f"README.md has no markers <!-- {name} -->"
    return match[1]


def rows(name: str) -> list[list[str]]:
    lines = section(name).splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_settings_is_the_one_of_the_code() -> None:
    assert section("settings") == settings.table(), "paste what `pigeonhole settings` prints"


def test_the_table_of_limits_has_the_defaults_of_the_code() -> None:
    fixed = {
        "characters of an `Idempotency-Key": MAX_CHARS,
        "columns of a table": MAX_COLUMNS,
        "bytes of a body that makes a batch": BATCH_BODY_BYTES,
        "bytes of other bodies, but for files": SMALL_BODY_BYTES,
    }
    named = set()

    for what, default, setting in rows("limits"):
        name = setting.removeprefix(PREFIX).lower()
        real = fixed[what] if setting == "fixed" else getattr(Settings(), name)
        assert float(default.replace(",", "")) == real, what
        named.add(name)

    assert set(Limits.__dataclass_fields__) <= named
    assert Limits() == Limits.of(Settings())
    assert f"answers {Settings().api_threads - RESERVED_THREADS} classify calls" in README


def test_the_table_of_errors_is_that_of_the_code() -> None:
    known = {(str(status.value), error.code) for error, status in STATUS.items()}

    assert {(status, code) for status, code, _ in rows("errors")} == known
    assert len(rows("errors")) == len(known)


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))

    for page in PAGES:
        named = set(re.findall(r"(?:^|`)(?:\w+=\w+ )*make ([a-z]+)", page.read_text(), re.M))
        assert named <= targets, page.name


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`pigeonhole ([^`]+)`", README))))
def test_a_command_named_in_passing_exists(command: str, tmp_path: Path) -> None:
    assert cli.run(shlex.split(command), {f"{PREFIX}DATA_DIR": str(tmp_path)}) == 0


def test_every_module_started_by_name_exists() -> None:
    for page in PAGES:
        for module in re.findall(r"python -m ([\w.]+)", page.read_text()):
            assert find_spec(module), f"{page.name}: {module}"


def test_every_setting_named_anywhere_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}

    for page in PAGES:
        named = set(re.findall(rf"{PREFIX}[A-Z][A-Z0-9_]*[A-Z0-9]", page.read_text()))
        warned_of = {f"{PREFIX}KEY"}  # the pages say that it is none
        assert named - warned_of <= known, page.name


@dataclass(frozen=True, kw_only=True)
class Link:
    page: Path
    target: str

    @cached_property
    def ends_at(self) -> Path:
        return (
            self.page.parent / self.target.partition("#")[0] if self.target[0] != "#" else self.page
        )


LINKS = [
    Link(page=page, target=target)
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    if not target.startswith("http")
]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link.page.name}:{link.target}")
def test_a_link_leads_somewhere(link: Link) -> None:
    assert link.ends_at.exists()

    anchor = link.target.partition("#")[2]
    if anchor:
        titles = re.findall(r"^#+ (.+)$", link.ends_at.read_text("utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


def test_the_transitions_of_a_job_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("<!-- transitions -->\n")[2].partition("<!-- /transitions -->")[0]
    lines = [[cell.strip() for cell in row.split("|")] for row in table.splitlines()[2:]]

    told = {
        (State(state), event): State(target)
        for _, event, states, target, _ in lines
        for state in states.split(", ")
    }

    assert told == {(state, event.__name__): to for (state, event), to in TRANSITIONS.items()}
