"""POST /v1/classifiers/{classifier_id}/evaluate, on the hashing model."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.evaluation import EvaluateAnswer
from shared import object_keys
from shared.errors import NotFound
from shared.evaluation_results import EvaluateResult
from shared.messages import decode
from tests.api.conftest import World
from tests.classifiers import put_classifier
from tests.problems import assert_problem

EXAMPLES = [{"text": "x", "label": "x"}, {"text": "y", "label": "y"}, {"text": "c"}]


@pytest.fixture
def judge(client: FlaskClient, world: World) -> Callable[..., TestResponse]:
    """Sends examples to a classifier of the labels x and y, in two versions."""
    put_classifier(world.store, name="spam", versions=2)

    def send(said: Any, ref: str = "spam", **more: Any) -> TestResponse:
        return client.post(f"/v1/classifiers/{ref}/evaluate", json=said, **more)

    return send


def test_the_answer_says_how_good_it_is(client: FlaskClient, judge: Callable, world: World):
    answer = judge({"input": EXAMPLES})

    said = answer.get_json()
    assert answer.status_code == 200, said
    EvaluateAnswer.model_validate(said)
    job_id = said["job_id"]
    stored = world.store.get(object_keys.result("acme", job_id)).data
    result = decode(EvaluateResult, stored)
    unsure = result.worth_labelling[0]
    assert said == {
        "classifier_id": result.classifier_id,
        "version": 2,
        "num_samples": 2,
        "usage": {"total_tokens": 3},
        "accuracy": 1.0,
        "macro_f1": 1.0,
        "micro_f1": 1.0,
        "expected_calibration_error": result.calibration_error,
        "labels": [
            {
                "label": each.label,
                "precision": 1.0,
                "recall": 1.0,
                "f1": 1.0,
                "support": 1,
                "threshold": each.threshold,
            }
            for each in result.labels
        ],
        "confusion_matrix": {"labels": ["x", "y"], "counts": [[1, 0], [0, 1]]},
        "reliability": [each.model_dump() for each in result.reliability],
        "most_worth_labelling": [
            {"index": 2, "prediction": "x", "score": unsure.score, "margin": unsure.margin}
        ],
        "thresholds": {each.label: each.threshold for each in result.labels},
        "plots": {
            plot: {kind: f"/v1/jobs/{job_id}/plots/{plot}.{kind}" for kind in kinds}
            for plot, kinds in said["plots"].items()
        },
        "job_id": job_id,
    }
    assert {"confusion_matrix", "reliability"} <= set(said["plots"])
    for kinds in said["plots"].values():
        for url in kinds.values():
            assert client.get(url).status_code == 200


def test_its_thresholds_may_be_sent_to_classify(client: FlaskClient, judge: Callable):
    thresholds = judge({"input": EXAMPLES}).get_json()["thresholds"]

    answer = client.post(
        "/v1/classify", json={"classifier_id": "spam", "input": "a", "threshold": thresholds}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(("ref", "version"), [("spam", 2), ("spam@v1", 1), ("spam@best", 1)])
def test_the_version_that_is_meant_is_judged(
    client: FlaskClient, judge: Callable, ref: str, version: int
):
    client.patch("/v1/classifiers/spam", json={"aliases": {"best": 1}})

    assert judge({"input": EXAMPLES}, ref).get_json()["version"] == version


@pytest.mark.parametrize(
    "said", [{"input": EXAMPLES[0]}, {"input": EXAMPLES, "action": "evaluate"}]
)
def test_one_example_may_stand_without_a_list_and_other_keys_are_ignored(
    judge: Callable, said: Any
):
    assert judge(said).status_code == 200


@pytest.mark.parametrize(
    ("said", "field", "says"),
    [
        ({}, "input", "is missing"),
        ([], "body", "must be a JSON object"),
        ({"input": []}, "input", "at least one"),
        ({"input": [{"text": "a"}]}, "input", "no example has a label"),
        ({"input": [{"text": "", "label": "x"}]}, "input[0].text", "must not be empty"),
        ({"input": [{"label": "x"}]}, "input[0].text", "is missing"),
        ({"input": ["a"]}, "input[0]", "must be an object"),
        ({"input": [{"image": "x", "label": "x"}]}, "input[0].image", "does not accept images"),
    ],
)
def test_wrong_examples_are_refused(judge: Callable, said: Any, field: str, says: str):
    assert_problem(judge(said), 422, "VALIDATION_ERROR", field=field, says=says)


def test_too_many_examples_are_refused(make: Callable[..., World]):
    world = make(max_examples=2)
    put_classifier(world.store, name="spam")

    answer = world.client().post("/v1/classifiers/spam/evaluate", json={"input": EXAMPLES})

    assert_problem(answer, 422, "VALIDATION_ERROR", field="input[2]", says="at most 2 examples")


class TestFile:
    def test_of_csv_or_jsonl_is_read(self, client: FlaskClient, judge: Callable):
        csv = b"label,text\nx,a\ny,b\n,c\n"
        jsonl = b'{"text": "a", "label": "x"}\n{"text": "b"}\n'

        for data, media_type, samples in ((csv, "text/csv", 2), (jsonl, "application/jsonl", 1)):
            answer = client.post(
                "/v1/classifiers/spam/evaluate", data=data, content_type=media_type
            )
            assert answer.status_code == 200, answer.get_json()
            assert answer.get_json()["num_samples"] == samples

    def test_in_a_form_may_name_its_columns(self, client: FlaskClient, judge: Callable):
        form = {
            "file": (io.BytesIO(b"what;is\nx;a\ny;b\n"), "examples.csv"),
            "text_column": "is",
            "label_column": "what",
        }

        answer = client.post("/v1/classifiers/spam/evaluate", data=form)

        assert answer.status_code == 200, answer.get_json()
        assert answer.get_json()["num_samples"] == 2

    def test_with_a_wrong_line_is_refused_by_its_number(self, client: FlaskClient, judge: Callable):
        for data, field in ((b"text,label\na,x\nb\n", "file line 3"),):
            answer = client.post(
                "/v1/classifiers/spam/evaluate", data=data, content_type="text/csv"
            )
            assert_problem(answer, 422, "VALIDATION_ERROR", field=field)


def test_it_may_be_a_job_whose_result_is_the_same(client: FlaskClient, judge: Callable):
    answer = judge({"input": EXAMPLES}, headers={"Prefer": "respond-async"})

    job = client.get(answer.headers["Location"]).get_json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "evaluate", "succeeded")
    EvaluateAnswer.model_validate(job["result"])
    result = client.get(f"/v1/jobs/{job['id']}/result").get_json()
    assert result == job["result"]
    assert result["job_id"] == job["id"]


def test_the_same_call_with_a_key_is_one_job(client: FlaskClient, judge: Callable, world: World):
    headers = {"Idempotency-Key": "k"}

    first = judge({"input": EXAMPLES}, headers=headers)
    again = judge({"input": EXAMPLES}, headers=headers)

    assert first.get_json() == again.get_json()
    assert len(client.get("/v1/jobs").get_json()["data"]) == 1


def test_what_the_worker_refuses_is_the_answer(judge: Callable, world: World):
    world.worker.error = NotFound("the version was deleted")

    assert_problem(judge({"input": EXAMPLES}), 404, "RESOURCE_NOT_FOUND", says="was deleted")


@pytest.mark.slow
def test_a_job_that_takes_too_long_goes_on(judge: Callable, world: World):
    world.worker.asleep = True

    answer = judge({"input": EXAMPLES}, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{answer.get_json()['id']}"
