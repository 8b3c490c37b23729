"""The examples that a classifier keeps: rebuilding it from them, and forgetting them."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from shared import object_keys
from shared.classifier_record import Classifier
from shared.dialects.training import TrainAnswer
from shared.errors import StoreUnavailable
from tests.api.conftest import World
from tests.classifiers import put_classifier
from tests.problems import assert_problem


def kept(world: World, record: Classifier) -> list[str]:
    return list(world.store.list(object_keys.examples("acme", record.id)))


class TestRebuild:
    @pytest.mark.parametrize("model", ["tiny", "toy"])
    def test_makes_a_version(self, client: FlaskClient, world: World, model: str):
        record = put_classifier(world.store, name="spam", versions=2, keep_examples=True)

        answer = client.post("/v1/classifiers/spam/rebuild", json={"model": model})

        said = answer.get_json()
        assert answer.status_code == 200, said
        TrainAnswer.model_validate(said)
        assert (said["classifier_id"], said["version"]) == (record.id, 3)
        found = client.get("/v1/classifiers/spam").get_json()
        assert (found["made_by"], found["model"]) == ("rebuild", "tiny")

    def test_may_be_a_job(self, client: FlaskClient, world: World):
        put_classifier(world.store, name="spam", keep_examples=True)

        answer = client.post(
            "/v1/classifiers/spam/rebuild",
            json={"model": "absent"},
            headers={"Prefer": "respond-async"},
        )

        assert (answer.status_code, answer.get_json()["kind"]) == (202, "rebuild")

    @pytest.mark.parametrize("keep_examples", [True, False])
    def test_without_examples_is_a_conflict(
        self, client: FlaskClient, world: World, keep_examples: bool
    ):
        put_classifier(world.store, name="spam", keep_examples=True)
        client.delete("/v1/classifiers/spam/examples")
        client.patch("/v1/classifiers/spam", json={"keep_examples": keep_examples})

        answer = client.post("/v1/classifiers/spam/rebuild", json={"model": "tiny"})

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="keep_examples")

    @pytest.mark.parametrize(
        ("ref", "said", "status", "field"),
        [
            ("spam", {}, 422, "model"),
            ("spam", {"model": 1}, 422, "model"),
            ("spam", {"modle": "tiny"}, 422, "modle"),
            ("spam", {"model": "big"}, 400, "model"),
            ("spam@v1", {"model": "tiny"}, 422, "classifier_id"),
        ],
    )
    def test_that_is_wrong_is_refused(
        self, client: FlaskClient, world: World, ref: str, said: Any, status: int, field: str
    ):
        put_classifier(world.store, name="spam", keep_examples=True)

        answer = client.post(f"/v1/classifiers/{ref}/rebuild", json=said)

        code = "VALIDATION_ERROR" if status == 422 else "INPUT_MODEL_NOT_FOUND"
        assert_problem(answer, status, code, field=field)

    def test_with_the_same_key_is_done_once(self, client: FlaskClient, world: World):
        put_classifier(world.store, name="spam", keep_examples=True)

        def rebuild() -> Any:
            return client.post(
                "/v1/classifiers/spam/rebuild",
                json={"model": "tiny"},
                headers={"Idempotency-Key": "k"},
            ).get_json()

        assert rebuild() == rebuild()
        assert client.get("/v1/classifiers/spam").get_json()["version"] == 2

    @pytest.mark.slow
    def test_accepted_once_is_not_refused_when_the_examples_have_gone(
        self, client: FlaskClient, world: World
    ):
        put_classifier(world.store, name="spam", keep_examples=True)
        world.worker.asleep = True

        def rebuild() -> Any:
            return client.post(
                "/v1/classifiers/spam/rebuild",
                json={"model": "tiny"},
                headers={"Idempotency-Key": "k"},
            )

        first = rebuild()
        client.delete("/v1/classifiers/spam/examples")
        again = rebuild()

        assert (first.status_code, again.status_code) == (202, 202)
        assert first.headers["Location"] == again.headers["Location"]


class TestForgetting:
    def test_deletes_all_and_keeps_no_more(self, client: FlaskClient, world: World):
        record = put_classifier(world.store, name="spam", versions=3, keep_examples=True)

        answer = client.delete("/v1/classifiers/spam/examples")

        assert answer.status_code == 200
        assert set(answer.get_json()) == {"message", "deleted"}
        assert answer.get_json()["deleted"] == 3
        assert kept(world, record) == []
        assert client.get("/v1/classifiers/spam").get_json()["keep_examples"] is False

    def test_again_finds_nothing(self, client: FlaskClient, world: World):
        put_classifier(world.store, name="spam", keep_examples=True)

        deleted = [
            client.delete("/v1/classifiers/spam/examples").get_json()["deleted"] for _ in range(2)
        ]

        assert deleted == [1, 0]

    def test_goes_on_where_it_was_interrupted(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        record = put_classifier(world.store, name="spam", versions=3, keep_examples=True)
        delete = world.store.delete

        def once(name: str) -> None:
            monkeypatch.setattr(world.store, "delete", failing)
            delete(name)

        def failing(name: str) -> None:
            raise StoreUnavailable("the object store is away")

        monkeypatch.setattr(world.store, "delete", once)
        answer = client.delete("/v1/classifiers/spam/examples")
        assert_problem(answer, 503, "SERVICE_UNAVAILABLE")
        assert client.get("/v1/classifiers/spam").get_json()["keep_examples"] is False
        assert len(kept(world, record)) == 2

        monkeypatch.setattr(world.store, "delete", delete)
        answer = client.delete("/v1/classifiers/spam/examples")

        assert answer.get_json()["deleted"] == 2
        assert kept(world, record) == []

    def test_of_a_version_alone_is_refused(self, client: FlaskClient, world: World):
        put_classifier(world.store, name="spam")

        answer = client.delete("/v1/classifiers/spam@v1/examples")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id")
