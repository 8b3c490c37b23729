"""The models on offer, and what becomes of a model that no worker holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from flask.testing import FlaskClient

from shared.member_reports import WorkerReport
from shared.messages import encode
from shared.model_catalogue import Catalogue, ModelEntry
from tests.api.conftest import CATALOGUE, EXAMPLES, SETTINGS, make_world
from tests.problems import assert_problem

TEXTS: dict[str, Any] = {"input": ["a", "b"], "labels": ["x", "y"]}
CLIP = ModelEntry(name="clip", aliases=("jina-clip-v2",), engine="open_clip")
WITH_CLIP = Catalogue([*CATALOGUE.entries.values(), CLIP], default="tiny")
NLI = ModelEntry(name="nli", engine="cross_encoder")
WITH_NLI = Catalogue([*CATALOGUE.entries.values(), NLI], default="tiny")
IMAGE = {"image": "data:image/png;base64,iVBORw0KGgo="}


@pytest.fixture
def client() -> FlaskClient:
    return make_world(catalogue=WITH_CLIP).client()


def test_are_listed_and_found_one_by_one(client: FlaskClient):
    listed = {model["id"]: model for model in client.get("/v1/models").get_json()["data"]}

    assert listed["tiny"] == client.get("/v1/models/toy").get_json()
    assert (listed["tiny"]["object"], listed["tiny"]["available"]) == ("model", True)
    assert listed["tiny"]["created"] > 1_500_000_000
    assert listed["tiny"]["texts_served_by"] is None
    assert (listed["clip"]["available"], listed["clip"]["texts_served_by"]) == (False, "tiny")


def test_tell_of_what_kind_they_are_and_which_engines_they_offer():
    world = make_world(catalogue=WITH_NLI)
    client = world.client()

    def offered() -> dict[str, tuple[str, list[str]]]:
        models = client.get("/v1/models").get_json()["data"]
        return {model["id"]: (model["kind"], model["engines"]) for model in models}

    assert offered() == {
        "tiny": ("embedding", ["embedding"]),
        "absent": ("embedding", ["embedding"]),
        "nli": ("nli", ["nli"]),
    }
    both = WorkerReport(device="cpu", queues=(), models=("tiny", "nli"))
    world.ledger.report("worker", "second", encode(both), ttl_s=60)

    assert offered() == {
        "tiny": ("embedding", ["embedding", "hybrid"]),
        "absent": ("embedding", ["embedding"]),
        "nli": ("nli", ["nli", "hybrid"]),
    }


def test_an_unknown_one_is_not_found(client: FlaskClient):
    assert_problem(client.get("/v1/models/none"), 404, "RESOURCE_NOT_FOUND", says="no such model")


class TestAnAliasOfAnImageModelThatNoWorkerHolds:
    MODEL = "jina-clip-v2"

    def test_serves_texts_by_the_default_model_and_says_so(self, client: FlaskClient):
        answer = client.post("/v1/classify", json={**TEXTS, "model": self.MODEL})

        assert answer.status_code == 200
        assert answer.headers["X-Model"] == "tiny"

    def test_trains_texts_by_the_default_model(self, client: FlaskClient):
        body = {"model": self.MODEL, "input": EXAMPLES, "name": "by-text"}

        answer = client.post("/v1/train", json=body)

        assert answer.status_code == 200
        assert client.get("/v1/classifiers/by-text").get_json()["model"] == "tiny"

    def test_refuses_texts_where_the_operator_does_not_allow_that(self):
        settings = replace(SETTINGS, text_fallback=False)
        client = make_world(settings, catalogue=WITH_CLIP).client()

        answer = client.post("/v1/classify", json={**TEXTS, "model": self.MODEL})

        assert_problem(
            answer,
            400,
            "INPUT_MODEL_NOT_FOUND",
            field="model",
            says="pigeonhole-server models pull clip",
        )
        assert "Retry-After" not in answer.headers
        listed = client.get("/v1/models/clip").get_json()
        assert listed["texts_served_by"] is None

    @pytest.mark.parametrize("model", ["jina-clip-v2", "clip"])
    def test_refuses_images(self, client: FlaskClient, model: str):
        body = {**TEXTS, "model": model, "input": ["a", IMAGE]}

        answer = client.post("/v1/classify", json=body)

        assert_problem(answer, 400, "INPUT_MODEL_NOT_FOUND", field="model")


class TestErrorsPerItemWhereNoWorkerReadsImages:
    """The texts are answered, and each image says how to get a model."""

    BODY: ClassVar[dict[str, Any]] = {**TEXTS, "errors": "per_item", "input": ["a", IMAGE, "b"]}

    @pytest.mark.parametrize("named", [{}, {"model": "jina-clip-v2"}])
    def test_images_fail_alone(self, client: FlaskClient, named: dict[str, str]):
        answer = client.post("/v1/classify", json={**self.BODY, **named})

        assert answer.status_code == 200, answer.get_json()
        assert answer.headers["X-Model"] == "tiny"

    @pytest.mark.parametrize("image", ["", "no base64 !", "ftp://host/x.png"])
    def test_an_image_that_is_refused_before_takes_no_text_with_it(
        self, client: FlaskClient, image: str
    ):
        body = {**self.BODY, "input": ["a", {"image": image}]}

        answer = client.post("/v1/classify", json=body)

        assert answer.status_code == 200, answer.get_json()
        text, refused = answer.get_json()["data"]
        assert text["prediction"] in TEXTS["labels"]
        assert refused["error"]["field"] == "input[1].image"

    def test_the_image_names_the_model(self, client: FlaskClient):
        headers = {"Prefer": "respond-async"}
        made = client.post("/v1/classify", json=self.BODY, headers=headers).get_json()

        assert made["progress"]["total"] == 3

    @pytest.mark.parametrize("model", ["clip", "jina-clip-v2"])
    def test_but_not_where_the_request_insists(self, model: str):
        settings = replace(SETTINGS, text_fallback=False)
        client = make_world(settings, catalogue=WITH_CLIP).client()

        answer = client.post("/v1/classify", json={**self.BODY, "model": model})

        assert_problem(answer, 400, "INPUT_MODEL_NOT_FOUND", field="model")


def test_texts_under_the_own_name_of_an_image_model_are_refused(client: FlaskClient):
    answer = client.post("/v1/classify", json={**TEXTS, "model": "clip"})

    assert_problem(answer, 400, "INPUT_MODEL_NOT_FOUND", field="model")


def test_every_answer_names_its_model(client: FlaskClient):
    answer = client.post("/v1/classify", json={**TEXTS, "model": "toy"})

    assert answer.headers["X-Model"] == "tiny"
