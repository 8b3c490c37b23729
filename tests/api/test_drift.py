"""GET /v1/classifiers/{ref}/drift: measures with thresholds, days as rows, the plot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient

from api.schemas.drift import DriftAnswer
from shared.classifier_record import Classifier
from shared.observation import BINS, DayObservations, Observation, Reference, packed
from shared.observation_store import ObservationStore
from tests.api.conftest import World
from tests.classifiers import put_classifier
from tests.problems import assert_problem

PATH = "/v1/classifiers/spam/drift"
COUNT = 1000


def observation(*, x: int, y: int, angle: tuple[float, float]) -> Observation:
    """Items by label, all as sure, with embeddings around a direction."""
    items = x + y
    return Observation(
        labels={"x": x, "y": y},
        confidence=(0,) * (BINS - 2) + (items // 2, items - items // 2),
        uncertain=items // 10,
        total=packed(items * each for each in angle),
        squares=float(items),
    )


USUAL = observation(x=500, y=500, angle=(0.6, 0.0))
OTHER = observation(x=900, y=100, angle=(0.0, 0.6))


@pytest.fixture
def spam(world: World) -> Classifier:
    record = put_classifier(world.store, name="spam", versions=2)
    ObservationStore(store=world.store).put_reference(
        record.weights(record.latest), Reference(trained=USUAL)
    )
    return record


def put(world: World, record: Classifier, ago: timedelta, counted: Observation) -> None:
    at = datetime.now(UTC) - ago
    ObservationStore(store=world.store).put(
        record.weights(record.latest), at, "process", DayObservations(hours={at.hour: counted})
    )


def test_unchanged_traffic_has_not_drifted(client: FlaskClient, world: World, spam: Classifier):
    put(world, spam, timedelta(days=1), USUAL)
    put(world, spam, timedelta(0), USUAL)

    said = client.get(PATH).get_json()

    DriftAnswer.model_validate(said)
    assert (said["classifier_id"], said["version"], said["observe"]) == (spam.id, 2, True)
    assert said["drifted"] is False
    assert said["measures"]["labels"] == {"value": 0.0, "threshold": 0.2, "drifted": False}
    assert said["measures"]["embedding"]["value"] == pytest.approx(0.0, abs=1e-3)
    assert said["observed"]["items"] == 2 * COUNT
    assert said["observed"]["uncertain"] == 0.1
    assert said["reference"]["labels"] == {"x": 500, "y": 500}
    assert [each["items"] for each in said["days"]] == [COUNT, COUNT]
    assert not any(each["drifted"] for each in said["days"])


def test_changed_traffic_has_drifted_on_its_day(
    client: FlaskClient, world: World, spam: Classifier
):
    put(world, spam, timedelta(days=1), USUAL)
    put(world, spam, timedelta(0), OTHER)

    said = client.get(PATH).get_json()

    assert said["drifted"] is True
    assert [each["drifted"] for each in said["days"]] == [False, True]
    last = said["days"][-1]["measures"]
    assert {name for name, each in last.items() if each["drifted"]} == {"labels", "embedding"}
    assert last["labels"]["value"] > last["labels"]["threshold"] == 0.2


def test_a_window_leaves_out_what_was_before_it(
    client: FlaskClient, world: World, spam: Classifier
):
    put(world, spam, timedelta(days=3), OTHER)
    put(world, spam, timedelta(0), USUAL)

    assert client.get(f"{PATH}?window=24h").get_json()["observed"]["items"] == COUNT
    assert client.get(f"{PATH}?window=90d").get_json()["observed"]["items"] == 2 * COUNT


def test_versions_are_apart(client: FlaskClient, world: World, spam: Classifier):
    put(world, spam, timedelta(0), OTHER)

    said = client.get("/v1/classifiers/spam@v1/drift").get_json()

    assert (said["version"], said["observed"]["items"], said["days"]) == (1, 0, [])
    assert (said["reference"], said["measures"], said["drifted"]) == (None, None, False)


def test_the_plot_is_svg_with_a_point_for_each_day(
    client: FlaskClient, world: World, spam: Classifier
):
    put(world, spam, timedelta(days=1), USUAL)
    put(world, spam, timedelta(0), OTHER)

    answer = client.get(PATH, headers={"Accept": "image/svg+xml"})

    assert answer.content_type == "image/svg+xml"
    drawn = ElementTree.fromstring(answer.get_data())
    space = "{http://www.w3.org/2000/svg}"
    assert drawn.findtext(f"{space}title") == "Drift of spam, version 2"
    about = drawn.findtext(f"{space}desc") or ""
    assert about.count("1000 items") == 2
    lines = [each.get("points", "").split() for each in drawn.iter(f"{space}polyline")]
    assert [len(points) for points in lines] == [2, 2, 2]
    empty = client.get("/v1/classifiers/spam@v1/drift", headers={"Accept": "image/svg+xml"})
    assert ElementTree.fromstring(empty.get_data()).findtext(f"{space}desc", "").startswith("no")


@pytest.mark.parametrize("window", ["7", "0d", "-1d", "7w", "", "d"])
def test_a_wrong_window_is_refused(client: FlaskClient, spam: Classifier, window: str):
    answer = client.get(f"{PATH}?window={window}")

    assert_problem(answer, 422, "VALIDATION_ERROR", field="window")


def test_a_window_longer_than_counts_are_kept_is_refused(client: FlaskClient, spam: Classifier):
    assert_problem(client.get(f"{PATH}?window=91d"), 422, "VALIDATION_ERROR", says="at most 90d")


def test_the_owner_turns_it_off(client: FlaskClient, world: World, spam: Classifier):
    changed = client.patch("/v1/classifiers/spam", json={"observe": False}).get_json()

    assert changed["observe"] is False
    assert client.get(PATH).get_json()["observe"] is False
