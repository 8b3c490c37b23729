"""…/retraining/runs/{run}/report and …/plots: the decision in words, as one page, JSON and SVG."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from flask.testing import FlaskClient

from api.reports import page
from api.schemas.run_report import RunReportObject
from shared.classifier_store import ClassifierStore
from shared.ids import ClassifierRef
from shared.observation import DayObservations, Reference
from shared.observation_store import ObservationStore
from shared.retraining import (
    Decision,
    Gate,
    HoldoutComparison,
    LabelAgreement,
    RetrainingRecord,
    RetrainingSettings,
    Run,
    RunCounts,
    RunStatus,
)
from shared.retraining_store import RetrainingStore
from tests.api.conftest import World
from tests.api.test_drift import OTHER, USUAL
from tests.classifiers import BEGAN, put_classifier
from tests.problems import assert_problem
from workers.core.promotion_gate import Predictions, Verdict, judge

MARKUP = "</style><script>alert(1)</script>\x07"
LABELS = ("billing", "delivery", MARKUP)
RUNS = "/v1/classifiers/desk/retraining/runs"
JSON = {"Accept": "application/json"}


def verdict(before: float, after: float, labels: tuple[str, ...] = LABELS) -> Verdict:
    """Two versions on 300 examples, of which these shares are predicted wrong."""
    y = np.arange(300) % len(labels)

    def predictions(wrong: float) -> Predictions:
        predicted = np.where(np.arange(300) < 300 * wrong, (y + 1) % len(labels), y)
        return Predictions(predicted=predicted, confidence=np.linspace(0.2, 1.0, 300))

    return judge(Gate(), labels, y, predictions(before), predictions(after), seed=1)


def a_run(classifier_id: str, day: int, status: RunStatus, **said: Any) -> Run:
    number = f"{999 - day:026d}"  # ids sort the newest run first
    return Run(
        id=f"run_{number}",
        account="acme",
        classifier_id=classifier_id,
        job_id=f"job_{number}",
        status=status,
        started_at=BEGAN + timedelta(days=day),
        champion=2,
        challenger=3,
        counts=RunCounts(read=60, new=44, held_out=10, duplicate=3, conflicting=2, bad=1),
        **said,
    )


class Nights:
    """A classifier with a retraining, and runs as a worker leaves them."""

    def __init__(self, world: World) -> None:
        self.store = RetrainingStore(store=world.store)
        self.id = put_classifier(world.store, name="desk", versions=3).id
        record = RetrainingRecord(
            account="acme",
            classifier_id=self.id,
            settings=RetrainingSettings(),
            created_at=BEGAN,
            updated_at=BEGAN,
        )
        self.store.reschedule(record, None, after=BEGAN)

    def judged(self, day: int, status: RunStatus, found: Verdict, **said: Any) -> Run:
        outcome = "promote" if found.passed else "reject"
        decision = Decision(outcome=outcome, reasons=found.reasons)
        run = a_run(
            self.id,
            day,
            status,
            **{"metrics": found.metrics, "test": found.test, "decision": decision} | said,
        )
        self.store.put_run(run)
        self.store.put_comparison(run, found.comparison)
        return run


@pytest.fixture
def nights(world: World) -> Nights:
    return Nights(world)


@pytest.fixture
def rejected(nights: Nights) -> Run:
    nights.judged(1, "promoted", verdict(0.3, 0.1))
    return nights.judged(2, "rejected", verdict(0.1, 0.4))


class Tags(HTMLParser):
    """The tags and the attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")


class TestThePage:
    def test_says_first_why_the_version_was_not_promoted(self, client: FlaskClient, rejected: Run):
        answer = client.get(f"{RUNS}/{rejected.id}/report")

        assert answer.content_type == "text/html; charset=utf-8"
        head = answer.text.partition("</header>")[0]
        assert "<h1>Version 3 was not promoted.</h1>" in head
        assert "Callers of desk@champion get version 2, as before the run." in head
        assert "version 2 labels 270 (90%) correctly, and version 3 180 (60%)" in head
        assert "The gate asks that the mean F1 of the labels does not fall, and it falls." in head
        assert "Chance does not explain the loss." in head
        assert "60 rows: 44 to learn, 10 held out for the comparison, 3 known before" in head
        assert "the next run tries them again" in head
        assert answer.text.index("macro_f1 0.9") > len(head)

    def test_says_that_the_labels_of_the_night_agree_less_than_usual(
        self, client: FlaskClient, nights: Nights
    ):
        found = LabelAgreement(examples=44, agreed=20, usual=0.9, p_value=0.0, unusual=True)
        odd = nights.judged(1, "rejected", verdict(0.1, 0.4), label_agreement=found)
        usual = found.model_copy(update={"unusual": False})
        other = nights.judged(2, "promoted", verdict(0.3, 0.1), label_agreement=usual)

        says = "Of 44 new examples, 20 have the label that version 2 predicts; by its accuracy on"
        assert says in client.get(f"{RUNS}/{odd.id}/report").text
        assert "version 2 predicts" not in client.get(f"{RUNS}/{other.id}/report").text
        shown = client.get(f"{RUNS}/{odd.id}").get_json()["label_agreement"]
        assert shown == found.model_dump()

    def test_shows_the_drift_of_the_days_before_the_run(
        self, client: FlaskClient, world: World, nights: Nights, rejected: Run
    ):
        observations = ObservationStore(store=world.store)
        record, _ = ClassifierStore(store=world.store).load("acme", nights.id)
        champion = record.weights(record.find(ClassifierRef(record.id, rejected.champion, None)))
        observations.put_reference(champion, Reference(trained=USUAL))
        for days, counted in ((20, OTHER), (2, USUAL), (1, OTHER), (-1, OTHER)):
            at = rejected.started_at - timedelta(days=days)
            observations.put(champion, at, "p", DayObservations(hours={at.hour: counted}))

        text = client.get(f"{RUNS}/{rejected.id}/report").text

        _, _, section = text.partition("<h2>Drift by day</h2>")
        section, _, _ = section.partition("</section>")
        assert "Above the threshold on 1 of 2 days" in section
        assert section.count("1000</td>") == 2
        assert section.count("<polyline") == 3
        drift = client.get(f"{RUNS}/{rejected.id}/report", headers=JSON).get_json()["drift"]
        assert [day["drifted"] for day in drift] == [False, True]
        assert client.get(f"{RUNS}/{rejected.id}/plots/drift.svg").status_code == 200

    def test_of_a_run_that_failed_before_it_had_a_champion_shows_no_drift(
        self, client: FlaskClient, world: World, nights: Nights
    ):
        run = nights.store.put_run(
            a_run(nights.id, 1, "failed").model_copy(update={"champion": None})
        )
        record, _ = ClassifierStore(store=world.store).load("acme", nights.id)
        latest, at = record.weights(record.latest), run.started_at - timedelta(days=1)
        observations = ObservationStore(store=world.store)
        observations.put_reference(latest, Reference(trained=USUAL))
        observations.put(latest, at, "p", DayObservations(hours={at.hour: OTHER}))

        assert "Drift" not in client.get(f"{RUNS}/{run.id}/report").text

    def test_needs_nothing_else_and_runs_nothing(self, client: FlaskClient, rejected: Run):
        answer = client.get(f"{RUNS}/{rejected.id}/report")

        found = Tags(answer.text)
        assert {"script", "link", "img", "iframe", "object"}.isdisjoint(found.tags)
        assert {"href", "src", "style", "onload", "onclick"}.isdisjoint(found.attributes)
        assert found.tags.count("svg") == 5
        assert "@import" not in answer.text
        assert "url(" not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert page.style_source() in policy
        assert page.style() in answer.text
        assert found.attributes["content"][0] == policy.partition("; frame-ancestors")[0]

    def test_shows_markup_of_labels_as_text(self, client: FlaskClient, rejected: Run):
        text = client.get(f"{RUNS}/{rejected.id}/report").text

        assert "<script" not in text
        assert text.count("&lt;script&gt;") > 3
        assert text.count("</style>") == 1

    @pytest.mark.parametrize(
        ("status", "said", "says"),
        [
            ("failed", {"error": "sources: 10 of 70 rows are bad"}, "10 of 70 rows are bad."),
            ("cancelled", {}, "The run was cancelled, and nothing has changed."),
            ("evaluating", {}, "its job has expired."),
            (
                "skipped",
                {
                    "decision": Decision(outcome="skip", reasons=("3 new examples",)),
                    "challenger": None,
                },
                "No new version was trained.",
            ),
        ],
    )
    def test_of_a_run_without_figures_says_what_it_knows(
        self,
        client: FlaskClient,
        nights: Nights,
        status: RunStatus,
        said: dict[str, Any],
        says: str,
    ):
        run = a_run(nights.id, 1, status).model_copy(update=said)
        nights.store.put_run(run)

        answer = client.get(f"{RUNS}/{run.id}/report")

        assert answer.status_code == 200
        assert "<svg" not in answer.text
        assert says in answer.text

    def test_of_more_labels_than_can_be_drawn_has_tables(self, client: FlaskClient, nights: Nights):
        labels = tuple(f"intent {n}" for n in range(150))
        run = nights.judged(1, "promoted", verdict(0.3, 0.1, labels))

        text = client.get(f"{RUNS}/{run.id}/report").text

        assert "more than 100 labels are not drawn" in text
        assert "All 150 labels" in text
        missing = client.get(f"{RUNS}/{run.id}/plots/confusion_matrix_champion.svg")
        assert_problem(missing, 404, "RESOURCE_NOT_FOUND", says="reliability.svg")


class TestAsJson:
    def test_has_the_words_the_run_and_what_the_plots_show(
        self, client: FlaskClient, rejected: Run
    ):
        answer = client.get(f"{RUNS}/{rejected.id}/report", headers=JSON)

        report = RunReportObject.model_validate(answer.get_json())
        assert answer.headers["Vary"] == "Accept"
        assert report.headline == "Version 3 was not promoted."
        assert [point.status for point in report.learning_curve] == ["promoted", "rejected"]
        assert report.challenger is not None
        counts = np.array(report.challenger.confusion_matrix.counts)
        assert (counts.sum(), np.trace(counts)) == (300, 180)
        assert sum(each.count for each in report.challenger.reliability) == 300
        run = client.get(f"{RUNS}/{rejected.id}").get_json()
        assert answer.get_json()["run"] == run
        assert run["report_url"].endswith(f"{rejected.id}/report")
        assert {"metric", "confidence", "interval", "p_value"} <= run["test"].keys()

    def test_of_a_classifier_of_another_account_is_not_found(self, world: World, rejected: Run):
        answer = world.client(account="other").get(f"{RUNS}/{rejected.id}/report")

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")


def test_each_plot_of_a_run_is_a_file_of_its_own(client: FlaskClient, rejected: Run):
    plots = client.get(f"{RUNS}/{rejected.id}").get_json()["plots"]

    assert len(plots) == 5
    for url in plots.values():
        answer = client.get(url)
        assert (answer.status_code, answer.content_type) == (200, "image/svg+xml")
        svg = ElementTree.fromstring(answer.text)
        assert svg.get("aria-label")
        style = svg.findtext("{http://www.w3.org/2000/svg}style") or ""
        assert "prefers-color-scheme: dark" in style
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)
    assert client.get(f"{RUNS}/{rejected.id}/plots/labels.png").status_code == 404


def test_the_comparison_of_a_run_is_bounded_by_its_holdout():
    found: HoldoutComparison = verdict(0.3, 0.1, tuple(map(str, range(1000)))).comparison

    assert len(found.champion.confusion) <= 300
