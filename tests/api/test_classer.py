"""Calls in the form of the Classer API: one item, tags, several texts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.dialects import classer_response, classer_texts
from shared.dialects.classer_response import (
    ClassifyTextAnswer,
    ClassifyTextsAnswer,
    TagAnswer,
    TagTextsAnswer,
)
from shared.errors import UnreadableInput
from shared.messages import failure_of
from shared.types import ClassifyResult, FailedItem, Usage
from tests.api.conftest import World
from tests.problems import assert_problem

LABELS = ["red", "green", "blue"]


@pytest.fixture
def client(world: World) -> FlaskClient:
    return world.client()


def test_a_text_has_its_best_label(client: FlaskClient):
    answer = client.post("/v1/classify", json={"text": "a red rose", "labels": LABELS})

    body = answer.get_json()
    ClassifyTextAnswer.model_validate(body, strict=True)
    assert set(body) == {"label", "confidence", "all_scores", "tokens", "latency_ms", "cached"}
    assert body["label"] == max(LABELS, key=lambda label: body["all_scores"][label])
    assert body["confidence"] == round(body["confidence"], 4) == body["all_scores"][body["label"]]
    assert list(body["all_scores"]) == LABELS
    assert body["tokens"] == 3 + 3
    assert body["latency_ms"] > 0
    assert body["cached"] is False
    assert answer.headers["X-Tokens-Used"] == "6"
    assert answer.headers["X-Model"] == "tiny"


def test_one_label_alone_will_do(client: FlaskClient):
    answer = client.post("/v1/classify", json={"text": "red", "labels": ["red"]})

    assert answer.get_json()["label"] == "red"


def test_tags_are_the_labels_above_the_threshold_the_best_first(client: FlaskClient):
    def tags(threshold: float | None) -> list[dict[str, Any]]:
        body = {"text": "red red green", "labels": LABELS, "threshold": threshold}
        answer = client.post("/v1/tag", json=body).get_json()
        TagAnswer.model_validate(answer, strict=True)
        found: list[dict[str, Any]] = answer["labels"]
        return found

    confidences = [each["confidence"] for each in tags(0.0)]
    assert len(confidences) == 3
    assert confidences == sorted(confidences, reverse=True)
    assert len(tags(confidences[1] - 0.0001)) == 2
    assert tags(1.0) == []
    assert all(each["confidence"] >= 0.5 for each in tags(None))


def test_each_of_several_texts_has_its_answer_or_its_error(client: FlaskClient):
    body = {"texts": ["red", "", 7, "green", "half \ud800"], "labels": LABELS}

    answer = client.post("/v1/classify/batch", json=body)

    found = answer.get_json()
    ClassifyTextsAnswer.model_validate(found, strict=True)
    results = found["results"]
    assert [each["label"] is None for each in results] == [False, True, True, False, True]
    assert [each.get("error", "").partition(":")[0] for each in results] == [
        "",
        "texts[1]",
        "texts[2]",
        "",
        "texts[4]",
    ]
    assert [each["tokens"] for each in results] == [1, 0, 0, 1, 0]
    assert found["total_tokens"] == 2 + 3
    assert answer.headers["X-Tokens-Used"] == "5"
    assert answer.headers["X-Engine"] == "embedding"


@pytest.mark.parametrize(
    ("media", "place"),
    [({"file": "JVBERi0="}, "file"), ({"image": "aGk="}, "image"), ({}, "texts[0]")],
)
def test_the_error_of_a_text_names_what_a_worker_could_not_read(media: dict[str, str], place: str):
    body = {"texts": ["red"], "labels": LABELS, **media}
    request = classer_texts.parse_classify(body, default_model="tiny").request
    unread = FailedItem(index=0, failure=failure_of(UnreadableInput("is broken")))
    result = ClassifyResult(answers=((),), usage=Usage(), failed=(unread,))

    results = classer_response.texts_classified(request, result).body["results"]

    assert results[0]["error"] == f"{place}: is broken"


def test_a_model_may_be_named(client: FlaskClient):
    body = {"text": "red", "labels": LABELS}

    assert client.post("/v1/classify", json={**body, "model": "tiny"}).status_code == 200
    unknown = client.post("/v1/tag", json={**body, "model": "nothing"})
    assert_problem(unknown, 400, "INPUT_MODEL_NOT_FOUND", field="model")


def test_each_of_several_texts_has_its_tags(client: FlaskClient):
    body = {"texts": ["red", " ", "green"], "labels": LABELS, "threshold": 0.0}

    found = client.post("/v1/tag/batch", json=body).get_json()

    TagTextsAnswer.model_validate(found, strict=True)
    assert [len(each["labels"]) for each in found["results"]] == [3, 0, 3]
    assert "error" in found["results"][1]


def test_a_job_is_answered_in_the_same_form(client: FlaskClient):
    headers = {"Prefer": "respond-async"}
    job = client.post("/v1/tag", json={"text": "red", "labels": LABELS}, headers=headers)

    assert job.status_code == 202
    done = client.get(job.headers["Location"]).get_json()
    assert done["status"] == "succeeded", done
    assert done["result"].keys() == {"labels", "tokens", "latency_ms", "cached"}


SINGLE = ("/v1/classify", "/v1/tag")
SEVERAL = ("/v1/classify/batch", "/v1/tag/batch")


@pytest.mark.parametrize("path", SINGLE + SEVERAL)
@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"labels": None}, 422, "INPUT_LABELS_REQUIRED", "labels"),
        ({"labels": []}, 422, "VALIDATION_ERROR", "labels"),
        ({"labels": "red"}, 422, "VALIDATION_ERROR", "labels"),
        ({"labels": ["red", 7]}, 422, "VALIDATION_ERROR", "labels[1]"),
        ({"labels": ["red", "x" * 101]}, 422, "VALIDATION_ERROR", "labels[1]"),
        ({"labels": ["red", " "]}, 422, "VALIDATION_ERROR", "labels[1]"),
        ({"labels": [str(i) for i in range(201)]}, 400, "INPUT_LABEL_LIMIT_EXCEEDED", "labels"),
        ({"classifier": "desk"}, 422, "VALIDATION_ERROR", "labels"),
        ({"labels": None, "classifier": "desk"}, 404, "RESOURCE_NOT_FOUND", "classifier"),
        ({"examples": [{"text": "a", "label": "red"}]}, 422, "VALIDATION_ERROR", "examples"),
        ({"examples": {"pink": ["a"]}}, 422, "VALIDATION_ERROR", "examples[pink]"),
        ({"descriptions": {"pink": "a"}}, 422, "VALIDATION_ERROR", "descriptions[pink]"),
        ({"text_type": "{label}"}, 422, "VALIDATION_ERROR", "text_type"),
        ({"text_type": "x" * 101}, 422, "VALIDATION_ERROR", "text_type"),
        ({"priority": "now"}, 422, "VALIDATION_ERROR", "priority"),
        ({"cache": "yes"}, 422, "VALIDATION_ERROR", "cache"),
        ({"image": ["a"] * 21}, 422, "VALIDATION_ERROR", "image"),
        ({"image": []}, 422, "VALIDATION_ERROR", "image"),
        ({"image": "iVBORw0KGgo="}, 422, "VALIDATION_ERROR", "image"),  # the model reads none
        ({"image": "iVBORw0KGgo=", "file": "JVBERi0="}, 422, "VALIDATION_ERROR", "file"),
        ({"file": 7}, 422, "VALIDATION_ERROR", "file"),
        ({"file": "ftp://example.org/a.pdf"}, 422, "VALIDATION_ERROR", "file"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(
    client: FlaskClient,
    path: str,
    changes: dict[str, Any],
    status: int,
    code: str,
    field: str | None,
):
    body: dict[str, Any] = {"labels": LABELS, **changes}
    body |= {"texts": ["red"]} if path in SEVERAL else {"text": "red"}

    problem = assert_problem(client.post(path, json=body), status, code, field=field)

    assert problem["details"]["field"] == field
    assert problem["error"] == code.lower().replace("_", "-")


@pytest.mark.parametrize("path", SINGLE + SEVERAL)
def test_labels_that_stand_twice_are_refused_in_the_words_of_the_vendor(
    client: FlaskClient, path: str
):
    body = {"labels": ["red", "red"], "text": "red", "texts": ["red"]}

    problem = assert_problem(client.post(path, json=body), 422, "VALIDATION_ERROR", field="labels")

    assert problem["detail"] == problem["message"] == "Labels must be unique"


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        ("/v1/classify", {"text": 7}, "text"),
        ("/v1/classify", {"text": " "}, "text"),
        ("/v1/classify", {"text": None}, "text"),
        ("/v1/tag", {}, "text"),
        ("/v1/tag", {"text": "red", "threshold": 1.5}, "threshold"),
        ("/v1/tag", {"text": "red", "threshold": "high"}, "threshold"),
        ("/v1/tag/batch", {"texts": ["red"], "threshold": -1}, "threshold"),
        ("/v1/classify/batch", {"texts": []}, "texts"),
        ("/v1/classify/batch", {"texts": "red"}, "texts"),
        ("/v1/classify/batch", {"texts": ["red"] * 1001}, "texts"),
        ("/v1/classify/batch", {}, "texts"),
    ],
)
def test_an_input_that_is_wrong_is_refused(
    client: FlaskClient, path: str, changes: dict[str, Any], field: str
):
    answer = client.post(path, json={"labels": LABELS, **changes})

    assert_problem(answer, 422, "VALIDATION_ERROR", field=field)
