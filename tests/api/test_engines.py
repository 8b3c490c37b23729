"""The option `engine` of classify calls: who answers, and where the answer says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.member_reports import WorkerReport
from shared.messages import encode, queues_of
from shared.model_catalogue import Catalogue, ModelEntry
from tests.api.conftest import CATALOGUE, EXAMPLES, World, make_world
from tests.fake_pairs import FixedPairs
from tests.problems import assert_problem
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pairs import PairScorer
from workers.microbatching.microbatcher import Microbatcher

BODY: dict[str, Any] = {"input": ["a", "b"], "labels": ["x", "y"]}
NLI = ModelEntry(name="nli", aliases=("acme/nli",), engine="cross_encoder")
WITH_NLI = Catalogue([*CATALOGUE.entries.values(), NLI], default="tiny")


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose worker also holds an NLI model."""
    made, encoder = make_world(catalogue=WITH_NLI), FixedPairs()
    models = ("tiny", "nli")
    report = WorkerReport(device="cpu", queues=queues_of("cpu", models), models=models)
    made.ledger.report("worker", "second", encode(report), ttl_s=60)
    with Microbatcher(encoder, budget_tokens=4096, name="nli") as batcher:
        model = LoadedModel(entry=NLI, pairs=PairScorer(encoder, batcher))
        made.worker.bench.models["nli"] = model
        yield made


@pytest.fixture
def without_nli() -> FlaskClient:
    return make_world(catalogue=WITH_NLI).client()


@pytest.mark.parametrize(
    ("engine", "answers", "model"),
    [
        ("embedding", "embedding", "tiny"),
        ("nli", "nli", "nli"),
        ("hybrid", "hybrid", "tiny"),
        ("auto", "hybrid", "tiny"),
    ],
)
def test_the_answer_says_which_engine_answered(world: World, engine: str, answers: str, model: str):
    answer = world.client().post("/v1/classify", json={**BODY, "engine": engine})

    assert answer.status_code == 200, answer.get_json()
    assert (answer.headers["X-Engine"], answer.headers["X-Model"]) == (answers, model)
    assert answer.get_json()["engine"] == answers


def test_a_body_without_the_option_is_answered_as_ever(world: World):
    answer = world.client().post("/v1/classify", json=BODY)

    assert answer.headers["X-Engine"] == "embedding"
    assert answer.get_json().keys() == {"usage", "data"}


def test_hybrid_waits_in_the_queue_of_the_nli_model(world: World):
    world.client().post("/v1/classify", json={**BODY, "engine": "hybrid", "model": "acme/nli"})

    request = world.worker.calls[-1].body
    assert (request.model, request.queue_model) == ("tiny", "nli")


def test_a_job_says_its_engine_too(world: World):
    client = world.client()
    headers = {"Prefer": "respond-async, wait=5"}

    answer = client.post("/v1/classify", json={**BODY, "engine": "hybrid"}, headers=headers)

    assert answer.headers["X-Engine"] == "hybrid"
    assert answer.get_json()["engine"] == "hybrid"


def test_without_an_nli_model_auto_embeds_and_the_others_say_what_to_get(
    without_nli: FlaskClient,
):
    auto = without_nli.post("/v1/classify", json={**BODY, "engine": "auto"})
    assert auto.get_json()["engine"] == "embedding"

    for engine in ("nli", "hybrid"):
        answer = without_nli.post("/v1/classify", json={**BODY, "engine": engine})
        says = "pigeonhole-server models pull nli"
        assert_problem(answer, 400, "INPUT_MODEL_NOT_FOUND", field="engine", says=says)


def test_more_pairs_than_allowed_are_refused_with_the_limit(world: World):
    body = {"input": ["a"] * 100, "labels": [str(n) for n in range(50)], "engine": "nli"}

    answer = world.client().post("/v1/classify", json=body)

    assert_problem(answer, 400, "INPUT_LABEL_LIMIT_EXCEEDED", field="engine", says="at most 4096")
    body["engine"] = "hybrid"
    assert world.client().post("/v1/classify", json=body).status_code == 200


def test_an_nli_model_learns_nothing(world: World):
    answer = world.client().post("/v1/train", json={"model": "nli", "input": EXAMPLES})

    assert_problem(answer, 422, "VALIDATION_ERROR", field="model", says="is an NLI model")
