from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages.browser import Visit, chromium
from tests.servers import HOST
from tests.stack import Stack, running_stack

_READY_S = 600  # the bundled model on a busy machine
_OF_MODEL = {"catalogue": "", "default_model": "all-MiniLM-L6-v2", "models": ""}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One service with the bundled model for all tests of the pages; the browser is found first."""
    with running_stack(tmp_path_factory.mktemp("stack"), ready_s=_READY_S, **_OF_MODEL) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Callable[..., Visit]]:
    """Opens tabs; at the end nothing may have gone wrong in any of them."""
    visits: list[Visit] = []

    def opened(*, width: int = 1280, height: int = 900, dark: bool = False) -> Visit:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        page.set_default_timeout(30_000)
        one = Visit(page=page, origin=f"http://{HOST}:{stack.port}")
        one.watch()
        visits.append(one)
        return one

    yield opened
    for each in visits:
        each.page.context.close()
        assert each.faults == []


@pytest.fixture(scope="session")
def images() -> Path | None:
    """Where the screenshots of the documentation go; None unless they are to be written."""
    return Path(__file__).parents[2] / "docs" / "images" if "SCREENSHOTS" in os.environ else None
