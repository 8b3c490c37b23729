"""Batches of texts in the form of the Classer API: states, URLs, and what is refused."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.text_batch import result_lines
from tests.api.conftest import SETTINGS, World, make_world
from tests.problems import assert_problem
from workers.keeper.deletion_limit import DeletionLimit
from workers.keeper.retention import expire_text_batches

LABELS = ["red", "green", "blue"]
TEXTS = b'{"text": "a red rose"}\nno json\n\n{"text": "a green leaf"}\n'


@pytest.fixture
def client(world: World) -> FlaskClient:
    return world.client()


def create(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/batch", json={"labels": LABELS, **body})
    assert answer.status_code == 201, answer.get_json()
    made: dict[str, Any] = answer.get_json()
    return made


def local(url: str) -> str:
    """The path and query of a URL, as the client of the test takes them."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def upload(world: World, made: dict[str, Any], texts: bytes = TEXTS) -> TestResponse:
    """Send the texts without a key."""
    form = {**made["upload_fields"], "file": (io.BytesIO(texts), "texts.jsonl")}
    return world.app.test_client().post(local(made["upload_url"]), data=form)


def test_a_batch_waits_for_its_texts(world: World, client: FlaskClient):
    made = create(client)

    standing = client.get(f"/v1/batch/{made['job_id']}").get_json()

    assert made.keys() == {"job_id", "upload_url", "upload_fields", "input_key"}
    assert standing["status"] == "pending"
    assert [standing[f"requests_{kind}"] for kind in ("total", "completed", "failed")] == [0, 0, 0]
    assert_problem(client.post(f"/v1/batch/{made['job_id']}/start"), 409, "CONFLICT_RESOURCE_BUSY")
    assert upload(world, made).status_code == 204
    assert client.get(f"/v1/batch/{made['job_id']}").get_json()["estimated_tokens"] > 0


def test_the_form_of_an_object_store_is_handed_on(world: World, client: FlaskClient):
    world.store.presigns = True

    made = create(client)

    assert made["upload_url"] == "https://store.test/"
    assert made["upload_fields"]["key"] == made["input_key"]


def test_a_started_batch_takes_no_other_texts(world: World, client: FlaskClient):
    made = create(client)
    upload(world, made)

    started = client.post(f"/v1/batch/{made['job_id']}/start")

    assert started.status_code == 202
    assert started.get_json() == {"job_id": made["job_id"], "status": "processing"}
    assert upload(world, made).status_code == 409


def test_the_newest_batches_are_listed_first(client: FlaskClient):
    made = [create(client)["job_id"] for _ in range(22)]

    listed = [each["job_id"] for each in client.get("/v1/batch").get_json()]

    assert len(listed) == 20
    assert set(listed) <= set(made)
    assert made[0] not in listed or made[1] not in listed


def test_a_url_without_a_key_is_good_for_one_use_of_one_batch(world: World, client: FlaskClient):
    made, other = create(client), create(client)
    path = local(made["upload_url"])
    anyone = world.app.test_client()

    for wrong in (
        path.replace(made["job_id"], other["job_id"]),
        path.replace("/input", "/results"),
        path.replace("expires=", "expires=9"),
        path[:-4],
        path.partition("?")[0],
    ):
        method = anyone.get if "/results" in wrong else anyone.post
        assert_problem(method(wrong), 404, "RESOURCE_NOT_FOUND", says="wrong or has expired")


def test_a_deleted_batch_is_gone_with_its_urls(world: World, client: FlaskClient):
    made = create(client)
    upload(world, made)

    deleted = client.delete(f"/v1/batch/{made['job_id']}")

    assert deleted.get_json() == {"job_id": made["job_id"], "deleted": True}
    assert client.get(f"/v1/batch/{made['job_id']}").status_code == 404
    assert upload(world, made).status_code == 404


def test_a_batch_of_another_account_is_not_found(world: World, client: FlaskClient):
    path = f"/v1/batch/{create(client)['job_id']}"
    other = world.client(account="other")

    for answer in (other.get(path), other.post(f"{path}/start"), other.delete(path)):
        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")
    assert other.get("/v1/batch").get_json() == []


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"labels": None}, 422, "labels"),
        ({"labels": ["red", "red"]}, 422, "labels"),
        ({"labels": [str(i) for i in range(201)]}, 400, "labels"),
        ({"mode": "many"}, 422, "mode"),
        ({"threshold": 0.5}, 422, "threshold"),
        ({"mode": "multi", "threshold": 2}, 422, "threshold"),
        ({"text": "red"}, 422, "text"),
        ({"image": "iVBORw0KGgo="}, 422, "image"),
        ({"labels": None, "classifier": "nothing"}, 404, "classifier"),
        ({"priority": "now"}, 422, "priority"),
    ],
)
def test_what_is_wrong_is_refused_at_once(
    client: FlaskClient, changes: dict[str, Any], status: int, field: str | None
):
    answer = client.post("/v1/batch", json={"labels": LABELS, **changes})

    assert answer.status_code == status
    assert answer.get_json()["details"]["field"] == field


def test_a_batch_expires_like_its_texts_and_once_started_like_its_job():
    now = [1e9]
    world = make_world(clock=lambda: now[0])
    client = world.client()
    waiting, started = create(client), create(client)
    upload(world, started)
    assert client.post(f"/v1/batch/{started['job_id']}/start").status_code == 202

    def kept() -> set[str]:
        return {each["job_id"] for each in client.get("/v1/batch").get_json()}

    now[0] += SETTINGS.result_retention_s - 1
    assert kept() == {waiting["job_id"], started["job_id"]}
    now[0] += 2
    assert kept() == {waiting["job_id"]}
    assert_problem(client.get(f"/v1/batch/{started['job_id']}"), 404, "RESOURCE_NOT_FOUND")
    now[0] = 1e9 + SETTINGS.file_retention_s + 1
    assert kept() == set()
    assert expire_text_batches(world.store, now=now[0], limit=DeletionLimit("few", wait_s=1)) == 2


def test_the_line_of_a_failed_text_names_its_field():
    def line(number: int, message: str, param: str | None) -> dict[str, Any]:
        return {"line": number, "error": {"message": message, "param": param}}

    lines = [
        line(1, "is null: there is no text", "text"),
        line(2, "text: has too many tokens", "text"),
        line(3, "is not valid JSON", None),
    ]

    errors = [json.loads(each)["error"] for each in result_lines(lines, multi=False)]

    assert errors == [
        "text: is null: there is no text",
        "text: has too many tokens",
        "is not valid JSON",
    ]
