"""The pages for readers, README.md and everything below docs/, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
ALL_PAGES = [*PAGES, ROOT / "CHANGELOG.md"]

LAUNCHER = "make run"
SHELL = "export URL=http://127.0.0.1:8080\nexport KEY=$(cat data/key)\n"
"""What a reader of any page has typed before its first block."""

NOT_RUN = {
    "docker compose up": "test_compose starts what the file starts, without Docker",
    ".venv/bin/python -m api.main": "test_compose starts these with their environment",
    "make check": "it is what runs this test",
}
RUN_LANGUAGES = {"bash", "python"}
PARSED_LANGUAGES = {"json", "toml", "yaml"}
OTHER_LANGUAGES = {"caddyfile", "nginx", "text"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; `shown` is the output that stands right below it."""

    page: Path
    line: int
    language: str
    text: str
    shown: Block | None = None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN_LANGUAGES and not self.text.startswith(tuple(NOT_RUN))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, from top to bottom."""
    text = page.read_text("utf-8")
    found: list[Block] = []
    end = len(text)
    for match in reversed(list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S))):
        below = found[0] if found and not text[match.end() : end].strip() else None
        shown = below if below and below.language in {"json", "text"} else None
        line = text.count("\n", 0, match.start()) + 1
        found.insert(0, Block(page=page, line=line, language=match[1], text=match[2], shown=shown))
        end = match.start()
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.runs]
