"""The routes of the pages: their policy, their files, their place behind a proxy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from flask.testing import FlaskClient

from api.pages import site
from tests.api.conftest import World
from tests.problems import assert_problem

PAGES = ("/", "/dashboard")
FILES = Path(site.__file__).parent / "static"
PREFIX = "/classify/api"
_LINK = re.compile(r'(?:href|src)="([^"#]+)"')
_IMPORT = re.compile(r'^import .*?from "([^"]+)";$|^\} from "([^"]+)";$', re.M)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_nothing_inline_and_loads_nothing_from_elsewhere(
    client: FlaskClient, path: str
):
    answer = client.get(path)
    text = answer.get_data(as_text=True)
    policy = answer.headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|javascript:", text)
    assert "://" not in text


@pytest.mark.parametrize("path", PAGES)
def test_every_file_that_a_page_names_is_served(client: FlaskClient, path: str):
    named = _LINK.findall(client.get(path).get_data(as_text=True))

    assert len(named) >= 5
    for each in named:
        with client.get(urljoin(path, each)) as answer:
            assert answer.status_code == 200, each


@pytest.mark.parametrize("file", sorted(FILES.iterdir()), ids=lambda file: file.name)
def test_a_file_is_fresh_typed_and_imports_files_that_exist(client: FlaskClient, file: Path):
    text = file.read_text("utf-8")
    imported = [one or other for one, other in _IMPORT.findall(text)]

    with client.get(f"{site.STATIC}/{file.name}") as answer:
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if file.suffix == ".js":
            assert answer.mimetype.endswith("/javascript")
    assert [name for name in imported if not (FILES / name).is_file()] == []
    assert len(text.splitlines()) <= 400


def test_scripts_keep_the_key_for_the_tab_only_and_make_no_markup_of_text():
    scripts = {file.name: file.read_text("utf-8") for file in FILES.glob("*.js")}
    forbidden = re.compile(
        r"localStorage|document\.cookie|innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        r"|\beval\(|new Function|https?://(?!www\.w3\.org/)"
    )

    assert {
        name: found for name, text in scripts.items() if (found := forbidden.findall(text))
    } == {}
    assert [name for name, text in scripts.items() if "sessionStorage" in text] == ["api.js"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("settings", [{}, {"path_prefix": PREFIX}])
def test_a_page_works_under_a_prefix_that_the_proxy_removes(
    make: Callable[..., World], settings: dict[str, str], path: str
):
    client = make(**settings).app.test_client()
    page = f"https://sort.example.org{PREFIX}{path}"

    for each in _LINK.findall(client.get(path).get_data(as_text=True)):
        place = urlsplit(urljoin(page, each)).path
        assert place.startswith(f"{PREFIX}/"), each
        with client.get(place.removeprefix(PREFIX)) as answer:
            assert answer.status_code == 200, each


def test_nothing_beside_the_files_is_served(client: FlaskClient):
    assert_problem(client.get("/static/../site.py"), 404, "RESOURCE_NOT_FOUND")
    assert_problem(client.get("/static/none.js"), 404, "RESOURCE_NOT_FOUND")
