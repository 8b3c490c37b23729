"""A retraining in a real browser: a rejected night, its report, and decisions by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from shared.adapters.store_factory import store_of
from shared.classifier_store import ClassifierStore
from shared.observation import DayObservations
from shared.observation_store import ObservationStore
from shared.promotion import live_version
from tests.pages.browser import Visit
from tests.pages.test_dashboard import WORK_MS, view
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.pages]

NAME = "night-desk"
RUNS = f"/v1/classifiers/{NAME}/retraining/runs"
THINGS = {
    "delivery": ("parcel", "courier", "package", "shipment", "delivery van"),
    "billing": ("invoice", "refund", "card payment", "receipt", "direct debit"),
    "access": ("password", "login", "account lock", "sign-in link", "username"),
}
PROBLEMS = ("is wrong", "has not come", "is missing since Monday", "does not work", "came twice")


def night(stack: Stack, day: int, *, damaged: bool = False) -> dict[str, Any]:
    """A run on 150 new examples of a day; the labels of a damaged one are drawn by lot."""
    lot = random.Random(day)
    examples = [
        (lot.choice(list(THINGS)) if damaged else team, f"The {thing} {problem}, ticket {day}{n}.")
        for team, things in THINGS.items()
        for thing in things
        for problem in PROBLEMS
        for n in (1, 2)
    ]
    items = [{"input": text, "label": label} for label, text in examples]
    stack.call("POST", f"/v1/classifiers/{NAME}/feedback", {"items": items})
    job = stack.call("POST", RUNS, {}).json()
    stack.until(
        "the run has ended",
        lambda: stack.job(job["id"])["finished_at"],
        timeout_s=WORK_MS / 1000,
    )
    return dict(stack.call("GET", f"{RUNS}?limit=1").json()["data"][0])


@pytest.fixture(scope="module")
def rejected(stack: Stack) -> dict[str, Any]:
    """The run of a rejected night after a promoted one."""
    examples = [
        {"text": f"A question about my {things[0]}.", "label": team}
        for team, things in THINGS.items()
    ]
    stack.call("POST", "/v1/train", {"name": NAME, "input": examples})
    settings = {"holdout": {"share": 0.3}, "gate": {"maximum_ece": None}}
    stack.call("PUT", f"/v1/classifiers/{NAME}/retraining", settings)
    assert night(stack, 1)["status"] == "promoted"
    run = night(stack, 2, damaged=True)
    assert run["status"] == "rejected", run["decision"]
    return run


@pytest.mark.parametrize(
    ("width", "dark"), [(360, False), (360, True), (1280, False)], ids=["narrow", "dark", "wide"]
)
def test_the_report_is_accessible_in_every_window_and_says_why(
    stack: Stack,
    visit: Callable[..., Visit],
    rejected: dict[str, Any],
    images: Path | None,
    width: int,
    dark: bool,
):
    tab = visit(width=width, dark=dark)
    tab.page.set_extra_http_headers({"Authorization": f"Bearer {stack.key}"})
    page = tab.open(rejected["report_url"])

    expect(page.get_by_role("heading", level=1)).to_have_text("Version 3 was not promoted.")
    expect(page.get_by_role("img")).to_have_count(5)
    style = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert style == ("rgb(18, 23, 30)" if dark else "rgb(244, 246, 249)")
    tab.assert_accessible()
    if images and width > 1000:
        head = {"x": 160, "y": 0, "width": 960, "height": 1500}
        page.screenshot(path=images / "report.png", full_page=True, clip=head)


def test_the_dashboard_shows_the_reasons_opens_the_report_and_decides(
    stack: Stack, visit: Callable[..., Visit], rejected: dict[str, Any]
):
    tab = visit()
    page = tab.open("/dashboard", key=stack.key)
    at = f"classifiers/{rejected['classifier_id']}"
    view(page, at)
    newest = page.locator("details[open]").first
    expect(newest.locator("summary")).to_contain_text("rejected")
    expect(newest.locator("li").first).to_contain_text("macro_f1")
    expect(newest).to_contain_text("Version 3 was not promoted.")
    expect(newest).to_contain_text("examples that neither version has learnt")
    curve = page.get_by_role("img", name="Learning curve over runs")
    assert curve.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    tab.assert_accessible()

    with page.context.expect_page() as opened:
        newest.get_by_role("button", name="Open the report").click()
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_have_text("Version 3 was not promoted.")
    assert report.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "960px"

    stack.call(
        "PATCH",
        f"/v1/classifiers/{NAME}/retraining",
        {"promote": "ask", "gate": {"minimum_gain": -1.0, "maximum_label_drop": None}},
    )
    assert night(stack, 3)["status"] == "waiting"
    _again(page, at)
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.locator("details summary").first).to_contain_text("promoted")
    expect(page.locator("details[open] li").first).to_have_text("promoted by hand")
    promoted = stack.call("GET", f"/v1/classifiers/{NAME}").json()["aliases"]
    page.get_by_role("button", name="Roll back the last promotion").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("details[open]").first).to_contain_text("Rolled back")
    expect(page.get_by_text("Last rollback:")).to_contain_text("rolled back by hand")
    expect(page.locator("details[open] .error").first).to_contain_text("rolled back by hand")
    back = stack.call("GET", f"/v1/classifiers/{NAME}").json()["aliases"]
    assert back == {"champion": promoted["previous"], "previous": promoted["champion"]}


def test_a_part_that_cannot_be_loaded_leaves_the_rest_of_the_page(
    stack: Stack, visit: Callable[..., Visit], rejected: dict[str, Any]
):
    tab = visit()
    page = tab.open("/dashboard", key=stack.key)
    for part in ("**/drift?*", "**/report", "**/plots/*"):
        page.route(part, lambda route: route.fulfill(status=429, json={"detail": "too busy"}))

    view(page, f"classifiers/{rejected['classifier_id']}")

    for title in ("Learning curve", "Decision", "Drift"):
        expect(page.get_by_text(f"{title}: too busy")).to_be_visible()
    expect(page.get_by_role("button", name="Roll back the last promotion")).to_be_visible()
    expect(page.get_by_role("table", name="Versions, newest")).to_be_visible()
    tab.assert_accessible()


def test_the_job_of_a_run_says_what_it_decided_and_leads_to_the_classifier(
    stack: Stack, visit: Callable[..., Visit], rejected: dict[str, Any]
):
    tab = visit()
    page = tab.open("/dashboard", key=stack.key)
    view(page, "jobs")
    page.get_by_role("link", name=rejected["job_id"]).click()
    page.get_by_text("Version 3 was not promoted.").wait_for()
    tab.assert_accessible()
    page.get_by_role("link", name="Go to the classifier").click()

    page.get_by_role("heading", name=f"Classifier {NAME}").wait_for()


@pytest.mark.parametrize(
    ("width", "dark"), [(360, False), (1600, True), (1280, False)], ids=["narrow", "dark", "wide"]
)
def test_drift_by_day_is_on_the_page_of_the_classifier_and_in_the_report(
    stack: Stack,
    visit: Callable[..., Visit],
    rejected: dict[str, Any],
    observed: None,
    images: Path | None,
    width: int,
    dark: bool,
):
    tab = visit(width=width, dark=dark)
    page = tab.open("/dashboard", key=stack.key)
    view(page, f"classifiers/{rejected['classifier_id']}")
    section = page.locator("section").filter(has=page.get_by_role("heading", name="Drift of"))
    expect(section).to_contain_text("on 3 of 12 days")
    plot = section.get_by_role("img", name="Drift by day")
    assert plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    expect(section.get_by_role("row")).to_have_count(13)
    tab.assert_accessible()
    if images and width == 1280:
        section.screenshot(path=images / "drift.png", caret="initial")

    page.set_extra_http_headers({"Authorization": f"Bearer {stack.key}"})
    runs = stack.call("GET", RUNS).json()["data"]
    tab.open(runs[0]["report_url"])
    expect(page.get_by_role("heading", name="Drift by day")).to_be_visible()
    expect(page.get_by_text("Above the threshold on 3 of 12 days")).to_be_visible()
    tab.assert_accessible()


@pytest.fixture(scope="module")
def observed(stack: Stack, rejected: dict[str, Any]) -> None:
    """Twelve days of traffic of the live version, of which the last three are other; then a run."""
    store = store_of(stack.settings)
    record, _ = ClassifierStore(store=store).load("acme", rejected["classifier_id"])
    live = record.weights(live_version(record, "champion"))
    observations = ObservationStore(store=store)
    reference = observations.reference(live)
    assert reference is not None
    usual = reference.whole
    labels = dict.fromkeys(usual.labels, 0) | {"billing": usual.items}
    for ago in range(12):
        at = datetime.now(UTC) - timedelta(days=ago, minutes=1)
        lot = random.Random(ago)
        spread = {label: count + lot.randrange(20) for label, count in usual.labels.items()}
        counted = usual.model_copy(update={"labels": labels if ago < 3 else spread})
        hours = DayObservations(hours={at.hour: counted})
        observations.put(live, at, "test", hours)
    night(stack, 4)


def _again(page: Page, at: str) -> None:
    view(page, "classifiers")
    view(page, at)
