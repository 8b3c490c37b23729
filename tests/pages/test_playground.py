"""The playground in a real browser, as a person uses it for the first time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.pages.browser import Visit
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.pages]

TICKETS = """Where is my parcel? It was due on Monday.
I was charged twice this month.
The app crashes when I open the camera.
My neighbour got the box that I ordered.
Please send me an invoice with our VAT number."""
SIXTH = "Please send the invoice for November with our VAT number."
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script> **bold** & <b>text</b>"
MAX_FIRST_PAINT_MS = 1000
VOLATILE = {"latency_ms", "cached", "tokens", "usage"}  # a repeated request may cost nothing


def classified(page: Page, texts: str, labels: str = "delivery, billing, bug") -> None:
    page.get_by_label("Texts").fill(texts)
    page.get_by_label("Labels", exact=True).last.fill(labels)
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.locator("#request-status")).to_contain_text(" in ")


def test_five_tickets_two_corrections_and_two_clicks_make_a_classifier_for_the_sixth(
    stack: Stack, visit: Callable[..., Visit], images: Path | None
):
    page = visit().open("/", key=stack.key)
    classified(page, TICKETS)
    rows = page.locator("#results > li")
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text("times in 10")

    for row, label in ((rows.nth(3), "wrong recipient"), (rows.nth(4), "invoices")):
        row.get_by_label("Correct label").select_option("another label …")
        row.get_by_label("Another label", exact=True).fill(label)
    expect(page.locator("#training")).to_contain_text("5 examples, 2 corrected")
    if images:
        page.screenshot(path=images / "playground.png", full_page=True, caret="initial")

    page.get_by_role("button", name="Train from these").click()
    name = page.get_by_label("Name of the new classifier").input_value()
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text(f"{name} is trained: version 1, with 5 new examples").wait_for()

    expect(page.get_by_label("Texts")).to_be_focused()
    expect(page.get_by_label("Classify by")).to_have_value(name)
    page.keyboard.insert_text(SIXTH)
    page.keyboard.press("Control+Enter")
    expect(rows).to_have_count(1)
    expect(rows.first.locator(".verdict")).to_contain_text("invoices")
    assert "invoices" in stack.call("GET", f"/v1/classifiers/{name}").body.decode()


def test_markup_in_texts_labels_and_names_is_shown_as_text(
    stack: Stack, visit: Callable[..., Visit]
):
    page = visit().open("/", key=stack.key)

    classified(page, MARKUP, labels="<b>bold</b>, <i>other</i>")

    expect(page.locator("#results .item")).to_have_text(MARKUP)
    expect(page.locator("#results .verdict strong, #chips .chip").first).to_contain_text("</b>")
    assert page.locator("#results img, #results b, #results script, #chips b").count() == 0


def test_the_keyboard_alone_is_enough(stack: Stack, visit: Callable[..., Visit]):
    page = visit().open("/", key=stack.key)
    page.reload()
    page.get_by_role("button", name="Change key").wait_for()
    keys = page.keyboard

    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    expect(page.get_by_label("Texts")).to_be_focused()
    keys.insert_text("I was charged twice.")
    for _ in range(4):
        keys.press("Tab")
    expect(page.locator("#label-input")).to_be_focused()
    keys.type("delivery,billing")
    keys.press("Enter")
    expect(page.locator("#chips .chip")).to_have_count(2)
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Enter")  # the details of the last label
    expect(page.get_by_label("Description")).to_be_focused()
    keys.insert_text("money, invoices, refunds")
    keys.press("Control+Enter")

    expect(page.locator("#results .verdict")).to_contain_text("billing")
    expect(page.locator("#results-title")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_it_is_accessible_and_fits_in_every_window(
    stack: Stack, visit: Callable[..., Visit], width: int, dark: bool
):
    tab = visit(width=width, dark=dark)
    page = tab.open("/")
    tab.assert_accessible()
    tab.open("/", key=stack.key)
    page.get_by_role("button", name="Fill in an example").click()
    page.get_by_text("Options", exact=True).click()
    page.get_by_role("button", name="billing", exact=True).click()
    page.get_by_role("button", name="Classify", exact=True).click()
    page.get_by_role("button", name="Train from these").click()

    tab.assert_accessible()


def test_it_paints_first_within_a_second_and_keeps_the_key_for_the_tab(
    stack: Stack, visit: Callable[..., Visit]
):
    page = visit().open("/", key=stack.key)
    page.reload()
    page.get_by_role("button", name="Change key").wait_for()

    (paint,) = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)"
    )
    stored = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    urls = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")

    assert paint < MAX_FIRST_PAINT_MS
    assert stored[0] == "{}"
    assert stack.key in stored[1]
    assert page.context.cookies() == []
    assert not any(stack.key in url for url in [page.url, *urls])


def test_a_wrong_key_and_missing_fields_say_what_to_do(stack: Stack, visit: Callable[..., Visit]):
    tab = visit()
    page = tab.open("/")
    page.get_by_label("API key").fill("ph_wrong")
    page.get_by_role("button", name="Use key").click()
    page.get_by_text("The service does not know this key.").wait_for()
    page.get_by_role("button", name="Classify", exact=True).click()
    page.get_by_text("Paste a text first").wait_for()
    expect(page.get_by_label("Texts")).to_be_focused()

    assert tab.refused  # the 401, which Chromium reports as well


@pytest.mark.parametrize("dialect", ["native", "jina", "classer", "cn8"])
def test_the_request_runs_as_it_is_shown(
    stack: Stack, visit: Callable[..., Visit], dialect: str, tmp_path: Path
):
    page = visit().open("/", key=stack.key)
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Request format").select_option(dialect)
    classified(page, 'It\'s "late" \\ and\n100 % \N{GRINNING FACE} broken')
    answers = []
    for language in ("curl", "Python"):
        page.get_by_role("button", name=language, exact=True).click()
        program = page.locator("#code-text").inner_text()
        assert stack.key not in program
        command = ["bash", "-c"] if language == "curl" else [sys.executable, "-c"]
        answers.append(
            subprocess.run(
                [*command, program],
                env={**os.environ, "KEY": stack.key},
                capture_output=True,
                check=True,
                cwd=tmp_path,
                timeout=60,
            ).stdout
        )

    curl, python = map(json.loads, answers)
    assert "delivery" in json.dumps(curl)
    assert curl.keys() == python.keys()
    assert [curl[key] for key in curl.keys() - VOLATILE] == [
        python[key] for key in curl.keys() - VOLATILE
    ]
    expect(page.locator("#results .bars")).to_have_count(2)


def test_examples_of_a_label_are_sent_with_the_request_and_learnt(
    stack: Stack, visit: Callable[..., Visit]
):
    page = visit().open("/", key=stack.key)
    classified(page, "The driver gave my package to somebody else.", labels="delivery, billing")
    page.get_by_role("button", name="billing", exact=True).click()
    page.get_by_label("Examples").fill("I was charged twice.\nRefund my invoice.")
    expect(page.locator("#code-text")).to_contain_text("Refund my invoice.")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.locator("#results-title")).to_be_focused()
    page.get_by_role("button", name="Train from these").click()
    page.get_by_role("button", name="Train", exact=True).click()

    page.get_by_text("version 1, with 3 new examples").wait_for()


def test_dropped_files_are_listed_and_can_be_removed(stack: Stack, visit: Callable[..., Visit]):
    page = visit().open("/", key=stack.key)
    picker = page.locator("#pick")

    picker.set_input_files(
        [
            {"name": "letters.txt", "mimeType": "text/plain", "buffer": b"One text\nAnother text"},
            {"name": "photo.png", "mimeType": "image/png", "buffer": b"no image"},
        ]
    )
    page.get_by_text("2 texts and 1 file").wait_for()
    page.get_by_role("button", name="Remove photo.png").click()

    page.get_by_text("2 texts", exact=True).wait_for()
