"""Calls in the form of the CN8 API: scores of labels, labels by example, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.dialects.cn8 import ProxyClassifyAnswer
from shared.dialects.cn8_few_shot import ProxyFewShotAnswer
from shared.dialects.cn8_shapes import ProxyProblem
from shared.errors import TokenLimitExceeded
from tests.api.conftest import World

CLASSIFY, FEW_SHOT = "/v1/proxy/text-classify", "/v1/proxy/text-few-shot"
TEXT, LABELS = "a red rose", ["red", "green", "blue"]
EXAMPLES = {"green": ["a leaf"], "red": ["a ruby", "blood"]}


def assert_refused(response: TestResponse, status: int, code: str, field: str | None) -> None:
    assert response.status_code == status, response.get_data(as_text=True)
    body = response.get_json(force=True)
    ProxyProblem.model_validate(body, strict=True)
    assert body["status"] == "error"
    assert body["error"] == {"code": code, "message": body["detail"]}
    assert body["request_id"] == response.headers["X-Request-ID"]
    if field is not None:
        assert body["errors"][0]["field"] == field
        assert body["detail"].startswith(f"{field}: ")


class TestClassify:
    def test_the_scores_are_an_object_by_label(self, client: FlaskClient):
        response = client.post(CLASSIFY, json={"text": TEXT, "labels": LABELS})

        body = response.get_json()
        ProxyClassifyAnswer.model_validate(body, strict=True)
        assert body.keys() == {"status", "data"}
        assert body["status"] == "success"
        assert body["data"].keys() == {"label", "score", "all_scores"}
        scores = body["data"]["all_scores"]
        assert list(scores) == LABELS
        assert all(score == round(score, 4) for score in scores.values())
        assert body["data"]["label"] == max(scores, key=scores.__getitem__)
        assert body["data"]["score"] == max(scores.values())
        assert response.headers["X-Engine"] == "embedding"  # no worker holds an NLI model

    @pytest.mark.parametrize(
        ("multi_label", "independent"), [(None, True), (True, True), (False, False)]
    )
    def test_scores_are_independent_unless_the_body_says_otherwise(
        self, client: FlaskClient, world: World, multi_label: bool | None, independent: bool
    ):
        body = {"text": TEXT, "labels": LABELS, "multi_label": multi_label}
        client.post(CLASSIFY, json=body)

        assert world.worker.calls[0].body.multi_label is independent

    def test_a_threshold_drops_labels(self, client: FlaskClient):
        def data(threshold: float | None) -> dict[str, Any]:
            body = {"text": TEXT, "labels": LABELS, "threshold": threshold}
            answer: dict[str, Any] = client.post(CLASSIFY, json=body).get_json()["data"]
            return answer

        best, second, _ = sorted(data(None)["all_scores"].values(), reverse=True)
        kept = data((best + second) / 2)
        assert list(kept["all_scores"].values()) == [best]
        assert data(1.0) == {"label": None, "score": None, "all_scores": {}}

    def test_descriptions_reach_the_engine(self, client: FlaskClient, world: World):
        body = {"text": TEXT, "labels": LABELS, "label_descriptions": {"red": "like blood"}}
        client.post(CLASSIFY, json=body)

        assert world.worker.calls[0].body.descriptions == {"red": "like blood"}

    def test_equal_labels_count_once(self, client: FlaskClient):
        data = client.post(CLASSIFY, json={"text": TEXT, "labels": ["red", "red ", "green"]})

        assert list(data.get_json()["data"]["all_scores"]) == ["red", "green"]

    def test_one_label_alone_will_do(self, client: FlaskClient):
        data = client.post(CLASSIFY, json={"text": TEXT, "labels": ["red"]}).get_json()["data"]

        assert data["label"] == "red"

    def test_a_job_has_the_same_result(self, client: FlaskClient):
        body = {"text": TEXT, "labels": LABELS}
        now = client.post(CLASSIFY, json=body).get_json()
        job = client.post(CLASSIFY, json=body, headers={"Prefer": "respond-async"}).get_json()
        done = client.get(f"/v1/jobs/{job['id']}").get_json()

        assert done["result"] == now


class TestFewShot:
    def test_labels_are_those_of_the_examples(self, client: FlaskClient, world: World):
        response = client.post(FEW_SHOT, json={"text": TEXT, "examples": EXAMPLES})

        body = response.get_json()
        ProxyFewShotAnswer.model_validate(body, strict=True)
        assert body["data"].keys() == {"label", "confidence", "all_scores"}
        assert list(body["data"]["all_scores"]) == ["green", "red"]
        assert body["data"]["confidence"] == max(body["data"]["all_scores"].values())
        request = world.worker.calls[0].body
        assert request.examples == {label: tuple(texts) for label, texts in EXAMPLES.items()}
        assert request.examples_only
        assert response.headers["X-Engine"] == "embedding"


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "code", "field"),
        [
            ({"text": None}, "VALIDATION_ERROR", "text"),
            ({"text": 3}, "VALIDATION_ERROR", "text"),
            ({"text": " "}, "VALIDATION_ERROR", "text"),
            ({"text": ["a"]}, "VALIDATION_ERROR", "text"),
            ({"labels": None}, "VALIDATION_ERROR", "labels"),
            ({"labels": "red"}, "VALIDATION_ERROR", "labels"),
            ({"labels": []}, "INPUT_INVALID_LABELS", "labels"),
            ({"labels": ["red"], "multi_label": False}, "INPUT_INVALID_LABELS", "labels"),
            ({"labels": ["red", 1]}, "VALIDATION_ERROR", "labels[1]"),
            ({"labels": ["red", " "]}, "VALIDATION_ERROR", "labels[1]"),
            ({"labels": [str(i) for i in range(257)]}, "INPUT_LABEL_LIMIT_EXCEEDED", "labels"),
            ({"labels": ["red", "x" * 257]}, "VALIDATION_ERROR", "labels[1]"),
            ({"multi_label": "yes"}, "VALIDATION_ERROR", "multi_label"),
            ({"threshold": 1.5}, "VALIDATION_ERROR", "threshold"),
            ({"threshold": {"red": 0.5}}, "VALIDATION_ERROR", "threshold"),
            ({"label_descriptions": ["x"]}, "VALIDATION_ERROR", "label_descriptions"),
            ({"label_descriptions": {"red": 5}}, "VALIDATION_ERROR", "label_descriptions[red]"),
            ({"label_descriptions": {"pink": "x"}}, "VALIDATION_ERROR", "label_descriptions[pink]"),
            (
                {"label_descriptions": {"red": "x" * 2001}},
                "VALIDATION_ERROR",
                "label_descriptions[red]",
            ),
        ],
    )
    def test_of_classify(
        self, client: FlaskClient, changes: dict[str, object], code: str, field: str
    ):
        body = {"text": TEXT, "labels": LABELS, **changes}

        assert_refused(client.post(CLASSIFY, json=body), 400, code, field)

    @pytest.mark.parametrize(
        ("examples", "code", "field"),
        [
            (None, "VALIDATION_ERROR", "examples"),
            ([{"text": "a", "label": "red"}], "VALIDATION_ERROR", "examples"),
            ({}, "INPUT_INVALID_LABELS", "examples"),
            ({"red": ["a"]}, "INPUT_INVALID_LABELS", "examples"),
            ({"red": ["a"], "green": "b"}, "VALIDATION_ERROR", "examples[green]"),
            ({"red": ["a"], "green": []}, "VALIDATION_ERROR", "examples[green]"),
            ({"red": ["a"], "green": [1]}, "VALIDATION_ERROR", "examples[green][0]"),
            ({"red": ["a"], "green": [" "]}, "VALIDATION_ERROR", "examples[green][0]"),
            ({" ": ["b"], "red": ["a"]}, "VALIDATION_ERROR", "examples[0]"),
            ({"red": ["b"], "red ": ["a"]}, "VALIDATION_ERROR", "examples"),
        ],
    )
    def test_of_few_shot(self, client: FlaskClient, examples: object, code: str, field: str):
        response = client.post(FEW_SHOT, json={"text": TEXT, "examples": examples})

        assert_refused(response, 400, code, field)

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"text": "\xff"}'])
    def test_of_a_body_that_is_no_object(self, client: FlaskClient, data: bytes):
        assert_refused(client.post(CLASSIFY, data=data), 400, "VALIDATION_ERROR", None)

    def test_of_an_idempotency_key_of_another_request(self, client: FlaskClient):
        headers = {"Idempotency-Key": "order-4711"}
        first = client.post(CLASSIFY, json={"text": TEXT, "labels": LABELS}, headers=headers)
        assert first.status_code == 200

        other = client.post(CLASSIFY, json={"text": "b", "labels": LABELS}, headers=headers)

        assert_refused(other, 422, "VALIDATION_ERROR", None)
        assert other.get_json()["errors"][0]["field"] == "Idempotency-Key"

    def test_of_a_path_that_does_not_exist(self, client: FlaskClient):
        for path in ("/v1/proxy/text-clasify", f"{CLASSIFY}/"):
            assert_refused(client.post(path, json={}), 404, "RESOURCE_NOT_FOUND", None)

    def test_of_a_method(self, client: FlaskClient):
        assert_refused(client.get(FEW_SHOT), 405, "METHOD_NOT_ALLOWED", None)

    def test_of_a_key(self, world: World):
        client = world.app.test_client()
        assert_refused(client.post(CLASSIFY, json={}), 401, "AUTH_MISSING_API_KEY", None)

    def test_of_a_worker(self, client: FlaskClient, world: World):
        world.worker.error = TokenLimitExceeded("input[0]: has 9000 tokens")
        response = client.post(CLASSIFY, json={"text": TEXT, "labels": LABELS})

        assert_refused(response, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", None)
