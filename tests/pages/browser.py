"""A real browser for the tests: Debian's Chromium, since Playwright's own cannot be installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

HELP = "the tests of the pages need Chromium; on Debian: apt-get install chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_REFUSED = "the server responded with a status of 4"  # Chromium reports what the page handles


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; without one the tests fail, and say what to install."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.fail(HELP, pytrace=False)
    with sync_playwright() as playwright:
        # A container has neither the rights of Chromium's sandbox nor a large /dev/shm.
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass(kw_only=True)
class Visit:
    """A tab of one visitor, with what went wrong in it."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note errors of scripts, and requests to other hosts."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            kept = self.refused if _REFUSED in message.text else self.faults
            kept.append(message.text)

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https"} and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to {request.url}")

    def open(self, path: str, *, key: str = "") -> Page:
        """Go to a path, and sign in where a key is given."""
        self.page.goto(f"{self.origin}{path}")
        if key:
            self.page.get_by_label("API key").fill(key)
            self.page.get_by_role("button", name="Use key").click()
            self.page.get_by_role("button", name="Change key").wait_for()
        return self.page

    def assert_accessible(self) -> None:
        """No violation of the rules of axe-core, and nothing wider than the window."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()
        inner, scroll = self.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert scroll <= inner, f"the page is {scroll} px wide in a window of {inner} px"
