"""The shell and Python blocks of all pages do what they show, against one real service.

The blocks of a page run in one folder, in order, as a reader would type them. What is not run
stands in `pages.NOT_RUN`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import RUN, Block
from tests.docs.reader import Reader, reader, service
from tests.ops.compose import SECRETS

pytestmark = [pytest.mark.slow, pytest.mark.integration]

SCORE_TOLERANCE = 0.05  # float32 and bfloat16 differ by less
MASKS = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"ph_[\w-]{20,}", "ph_…"),
    (r"\b(job|key|req|wh)_[0-9a-z]{16,26}", r"\1_…"),
    (r"whsec_[\w+/]+=*", "whsec_…"),
    (r"\d{4}-\d\d-\d\d(T[\d:.]+Z| \d\d:\d\d)?", "<time>"),
    (r"\(kept in \S+\)", "(kept in …)"),
)


@pytest.fixture(scope="module")
def readers(
    tmp_path_factory: pytest.TempPathFactory, trained_clip: Path
) -> Iterator[Callable[[Path], Reader]]:
    with service(tmp_path_factory.mktemp("service"), trained_clip) as running:
        yield cache(lambda page: reader(running, tmp_path_factory.mktemp(page.stem)))


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_does_what_it_shows(block: Block, readers: Callable[[Path], Reader]) -> None:
    here = readers(block.page)
    ran = here.ran(block)

    assert ran.returncode == 0, ran.stderr
    if block.shown is None:
        return
    if block.shown.language == "json":
        assert_alike(json.loads(block.shown.text), json.loads(ran.stdout.splitlines()[-1]))
    else:
        assert_alike(words(here.service.placed(block.shown.text)), words(ran.stdout))


def test_the_secrets_of_compose_are_those_that_the_file_asks_for(
    readers: Callable[[Path], Reader],
) -> None:
    block = next(block for block in RUN if "> .env" in block.text)
    here = readers(block.page)
    here.ran(block)

    made = dict(line.split("=") for line in (here.folder / ".env").read_text().splitlines())
    assert made.keys() == SECRETS.keys()
    assert (here.folder / ".env").stat().st_mode & 0o77 == 0


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
