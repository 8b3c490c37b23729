"""What the pages say without being run: blocks parse, names exist, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from ops import cli
from shared import model_catalogue
from shared.settings import CLIENT_VARIABLES, PREFIX, RENAMED, Settings
from tests.docs.pages import (
    ALL_PAGES,
    BLOCKS,
    NOT_RUN,
    OTHER_LANGUAGES,
    PAGES,
    PARSED_LANGUAGES,
    README,
    ROOT,
    RUN_LANGUAGES,
    SHELL,
    Block,
)

MAX_README_BYTES = 10_000
MAX_LINES_ABOVE_THE_FIRST_COMMAND = 40  # a screen shows about as many
MAX_ARCHITECTURE_WORDS = 2000


def test_the_readme_is_short_and_soon_at_its_first_command() -> None:
    first = next(block for block in BLOCKS if block.page == README)

    assert len(README.read_bytes()) <= MAX_README_BYTES
    assert first.text == "make run\n"
    assert first.line <= MAX_LINES_ABOVE_THE_FIRST_COMMAND


def test_the_architecture_is_read_in_one_sitting() -> None:
    page = ROOT / "docs" / "explanation" / "architecture.md"

    assert len(page.read_text("utf-8").split()) <= MAX_ARCHITECTURE_WORDS


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_has_a_language_that_is_run_or_parsed_or_only_read(block: Block) -> None:
    assert block.language in RUN_LANGUAGES | PARSED_LANGUAGES | OTHER_LANGUAGES


def test_every_exception_from_running_is_needed() -> None:
    assert all(any(block.text.startswith(start) for block in BLOCKS) for start in NOT_RUN)


@pytest.mark.parametrize(
    "page", [README, ROOT / "docs" / "getting-started.md"], ids=lambda p: p.name
)
def test_the_shell_of_every_page_is_what_a_beginner_is_told_to_type(page: Path) -> None:
    assert any(block.text.startswith(SHELL) for block in BLOCKS if block.page == page)


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language in {"json", "yaml"}],
    ids=lambda block: block.name,
)
def test_a_block_of_data_parses(block: Block) -> None:
    (json.loads if block.language == "json" else yaml.safe_load)(block.text)


def test_a_toml_block_is_a_catalogue(tmp_path: Path) -> None:
    for number, block in enumerate(each for each in BLOCKS if each.language == "toml"):
        written = tmp_path / f"{number}.toml"
        written.write_text(block.text)
        assert model_catalogue.load(str(written), default="all-MiniLM-L6-v2").for_images()


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))

    for page in ALL_PAGES:
        named = set(re.findall(r"(?:^|`)(?:\w+=\w+ )*make ([a-z-]+)", page.read_text(), re.M))
        assert named <= targets, page.name


USES_A_MODEL = {"models check", "models optimise"}  # for half a minute


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=pytest.mark.slow) if each in USES_A_MODEL else each
        for each in sorted(
            {
                each
                for page in PAGES
                for each in re.findall(r"`pigeonhole-server ([^`]+)`", page.read_text())
            }
        )
    ],
)
def test_a_command_named_in_passing_exists(command: str, tmp_path: Path) -> None:
    status = cli.run(shlex.split(command), {f"{PREFIX}DATA_DIR": str(tmp_path)})

    # A machine on which int8 is not faster refuses to optimise, with status 1.
    assert status in ({0, 1} if command == "models optimise" else {0})


def test_every_module_started_by_name_exists() -> None:
    for page in ALL_PAGES:
        for module in re.findall(r"python -m ([\w.]+\w)", page.read_text()):
            assert find_spec(module), f"{page.name}: {module}"


def test_every_file_named_in_a_page_exists() -> None:
    for page in PAGES:
        named = re.findall(r"`((?:api|ops|shared|tests|workers)/[\w/.-]*)", page.read_text("utf-8"))
        assert [name for name in named if not (ROOT / name).exists()] == [], page.name


def test_every_page_named_in_the_code_exists() -> None:
    for folder in ("api", "ops", "shared", "tests", "workers"):
        for source in (ROOT / folder).rglob("*.py"):
            named = re.findall(r"\b(docs/[\w/-]+\.md)\b", source.read_text("utf-8"))
            assert [name for name in named if not (ROOT / name).exists()] == [], source


def test_every_setting_named_anywhere_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}

    for page in ALL_PAGES:
        named = set(re.findall(rf"{PREFIX}[A-Z][A-Z0-9_]*[A-Z0-9]", page.read_text()))
        warned_of = {f"{PREFIX}KEY"}  # the pages say that it is none
        renamed = {PREFIX + name for name in RENAMED} if page.name == "CHANGELOG.md" else set()
        assert named - warned_of - renamed - CLIENT_VARIABLES <= known, page.name


def test_every_page_is_reached_from_the_index() -> None:
    reached, seen = {ROOT / "docs" / "index.md"}, set()
    while reached - seen:
        page = (reached - seen).pop()
        seen.add(page)
        reached |= {link.ends_at for link in LINKS if link.page == page} & set(PAGES)

    assert reached | {README} == set(PAGES)


@dataclass(frozen=True, kw_only=True)
class Link:
    page: Path
    target: str

    @property
    def ends_at(self) -> Path:
        path = self.target.partition("#")[0]
        return (self.page.parent / path).resolve() if path else self.page


LINKS = [
    Link(page=page, target=target)
    for page in ALL_PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    if not target.startswith("http")
]


@pytest.mark.parametrize(
    "link", LINKS, ids=lambda link: f"{link.page.relative_to(ROOT)}->{link.target}"
)
def test_a_link_leads_somewhere(link: Link) -> None:
    assert link.ends_at.exists()
    assert link.ends_at.is_relative_to(ROOT)

    anchor = link.target.partition("#")[2]
    if anchor:
        assert anchor in anchors(link.ends_at)


@cache
def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to the titles of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
