"""The dashboard in a real browser: batches, jobs and classifiers of a real service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.browser import Visit
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.pages]

ROWS = """id,text
1,Where is my parcel?
2,
3,I was charged twice.
4,
5,The app crashes.
"""
MARKUP = "<b>bold</b>"
LEARNT = {
    "delivery": ["Where is my parcel?", "The courier left the box in the rain."],
    "billing": ["I was charged twice.", "Please send me an invoice."],
}
EXAMPLES = """text,label
My order has not arrived.,delivery
The driver gave the package to my neighbour.,delivery
You took the money two times.,billing
Refund my last invoice.,billing
"""
NAME = "desk"
WORK_MS = 120_000  # of a job or a batch on a busy machine
VIEWS = ("", "batches", "batches/new", "jobs", "classifiers", "webhooks", "usage", "system")


def file(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}


def view(page: Page, path: str) -> None:
    page.evaluate("path => { location.hash = `#/${path}` }", path)
    expect(page.get_by_text("Loading …")).to_have_count(0)


@pytest.fixture(scope="module")
def classifier(stack: Stack) -> str:
    """A classifier of two versions; its id."""
    examples = [{"text": text, "label": label} for label, texts in LEARNT.items() for text in texts]
    made = stack.call(
        "POST", "/v1/train", {"name": NAME, "input": examples, "description": MARKUP}
    ).json()
    more = {"text": "The app crashes.", "label": MARKUP}
    stack.call("POST", "/v1/train", {"classifier_id": NAME, "input": [more]})
    return str(made["classifier_id"])


def test_a_batch_starts_runs_and_shows_its_errors_and_files(
    stack: Stack, visit: Callable[..., Visit], images: Path | None
):
    page = visit().open("/dashboard", key=stack.key)
    view(page, "batches/new")
    page.get_by_label("File of rows").set_input_files(file("rows.csv", ROWS))
    page.get_by_label("Labels, separated by commas").fill("delivery, billing, bug")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("The batch can run.").wait_for()
    page.get_by_role("button", name="Start the batch").click()

    page.get_by_text("completed, 2 rows failed").wait_for(timeout=WORK_MS)
    errors = page.get_by_role("row").filter(has_text="empty_text")
    expect(errors).to_contain_text("3, 5")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the output").click()
    output = Path(download.value.path()).read_text("utf-8")
    assert "billing" in output
    assert len(output.splitlines()) == 4
    if images:
        page.screenshot(path=images / "batch.png", caret="initial")
    view(page, "")
    expect(page.get_by_role("table", name="Ended last")).to_contain_text("2 rows failed")


def test_a_classifier_is_evaluated_compared_and_rolled_back(
    stack: Stack, visit: Callable[..., Visit], classifier: str, images: Path | None
):
    page = visit().open("/dashboard", key=stack.key)
    view(page, "classifiers")
    page.get_by_role("link", name=NAME, exact=True).click()
    page.get_by_role("heading", name=f"Classifier {NAME}").wait_for()
    assert page.locator("#view b").count() == 0

    page.get_by_label("Labelled examples").set_input_files(file("examples.csv", EXAMPLES))
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("heading", name="Reliability").wait_for(timeout=WORK_MS)
    expect(page.get_by_role("table", name="Confusion matrix")).to_contain_text("delivery")
    page.get_by_role("button", name="Compare").click()
    compared = page.get_by_role("table", name="Figures")
    expect(compared).to_contain_text("version 1")
    if images:
        page.locator("section").filter(has_text="Reliability").screenshot(
            path=images / "classifier.png", caret="initial"
        )
    page.get_by_role("button", name="Roll back to it").last.click()
    page.get_by_role("button", name="Yes").click()

    versions = page.get_by_role("table", name="Versions")
    expect(versions).to_contain_text("rollback of 1")
    page.get_by_role("button", name="Name it champion").first.click()
    expect(versions).to_contain_text("champion")
    answer = stack.call("GET", f"/v1/classifiers/{NAME}").json()
    assert answer["version"] == 3
    assert answer["aliases"] == {"champion": 3}


def test_jobs_are_listed_filtered_and_shown(
    stack: Stack, visit: Callable[..., Visit], classifier: str
):
    page = visit().open("/dashboard", key=stack.key)
    view(page, "jobs")
    page.get_by_label("Kind").select_option("train")
    jobs = page.get_by_role("table", name="Jobs")
    expect(jobs.get_by_role("row").nth(1)).to_contain_text("train")
    jobs.get_by_role("link").first.click()

    expect(page.get_by_label("Result")).to_contain_text("classifier_id")
    view(page, "jobs/job_none")
    page.get_by_role("alert").filter(has_text="(request req_").wait_for()


@pytest.mark.parametrize(
    ("width", "dark"), [(360, False), (1600, True)], ids=["narrow-light", "wide-dark"]
)
def test_every_view_is_accessible_and_fits_in_every_window(
    stack: Stack, visit: Callable[..., Visit], classifier: str, width: int, dark: bool
):
    tab = visit(width=width, dark=dark)
    page = tab.open("/dashboard", key=stack.key)
    for path in (*VIEWS, f"classifiers/{classifier}"):
        view(page, path)
        tab.assert_accessible()


def test_the_keyboard_alone_is_enough(stack: Stack, visit: Callable[..., Visit], classifier: str):
    page = visit().open("/dashboard", key=stack.key)
    page.get_by_role("link", name="Classifiers").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("Classifiers")
    page.get_by_role("link", name=NAME, exact=True).focus()
    page.keyboard.press("Enter")
    rollback = page.get_by_role("button", name="Roll back to it").first
    rollback.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # No

    expect(rollback).to_be_focused()


def test_a_retraining_is_set_and_its_run_says_why_it_decided(
    stack: Stack, visit: Callable[..., Visit], classifier: str
):
    page = visit().open("/dashboard", key=stack.key)
    view(page, f"classifiers/{classifier}")
    page.get_by_role("button", name="Retrain this classifier").click()
    page.get_by_role("button", name="Start a run now").click()
    page.get_by_text("Decision: skip").wait_for(timeout=WORK_MS)  # without a reload
    expect(page.locator("details[open] li").first).to_contain_text("new examples")


def test_keys_are_made_shown_once_and_revoked(stack: Stack, visit: Callable[..., Visit]):
    page = visit().open("/dashboard", key=stack.key)
    view(page, "usage")
    page.get_by_label("Name").fill(MARKUP)
    page.get_by_role("button", name="Create a key").click()
    shown = page.get_by_role("status").filter(has_text="only this once").locator("code")
    secret = shown.inner_text()
    bearer = f"Bearer {secret}"
    assert stack.call("GET", "/v1/models", Authorization=bearer).status == 200
    row = page.get_by_role("table", name="Keys").get_by_role("row").filter(has_text=MARKUP)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Yes").click()

    expect(row).to_contain_text("revoked")


def test_a_webhook_is_made_tested_and_deleted(stack: Stack, visit: Callable[..., Visit]):
    page = visit().open("/dashboard", key=stack.key)
    view(page, "webhooks")
    page.get_by_label("Address").fill("https://hooks.example.org/pigeonhole")
    page.get_by_text("Events: all, unless you choose some").click()
    page.get_by_label("retraining.rejected").check()
    page.get_by_role("button", name="Create a webhook").click()
    shown = page.get_by_role("status").filter(has_text="only this once")
    expect(shown.locator("code")).to_have_text(re.compile("^whsec_"))
    shown.get_by_role("link", name="Go to the webhook").click()

    page.get_by_role("heading", name="Webhook https://hooks.example.org/pigeonhole").wait_for()
    expect(page.locator(".facts").first).to_contain_text("retraining.rejected")
    page.get_by_role("button", name="Send a test message").click()
    expect(page.get_by_role("table", name="Deliveries")).to_contain_text("webhook.test")
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".facts .tag").first).to_have_text("disabled")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Yes").click()

    page.get_by_role("heading", name="Webhooks", exact=True).wait_for()
    assert stack.call("GET", "/v1/webhooks").json()["data"] == []


def test_an_address_with_a_slash_at_its_end_leads_to_the_page(
    stack: Stack, visit: Callable[..., Visit]
):
    page = visit().open("/dashboard/#/jobs", key=stack.key)

    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    assert page.url.endswith("/dashboard#/jobs")


def test_a_batch_that_runs_is_live_and_can_be_cancelled(stack: Stack, visit: Callable[..., Visit]):
    rows = "\n".join(json.dumps({"text": f"Ticket {n}: where is it?"}) for n in range(10_000))
    page = visit().open("/dashboard", key=stack.key)
    view(page, "batches/new")
    page.get_by_label("File of rows").set_input_files(file("rows.jsonl", rows))
    page.get_by_label("Labels, separated by commas").fill("delivery, billing")
    page.get_by_role("button", name="Start the batch").click()
    page.get_by_text(re.compile(r"^Batch batch_")).wait_for()
    batch = page.url.rpartition("/")[2]

    view(page, "")
    card = page.get_by_label("What runs now").get_by_role("listitem").filter(has_text=batch)
    expect(card).to_contain_text("a second", timeout=WORK_MS)
    card.get_by_role("link").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes").click()

    expect(page.locator("#view .tag").first).to_have_text(
        re.compile("^(cancelled|completed)"), timeout=WORK_MS
    )
