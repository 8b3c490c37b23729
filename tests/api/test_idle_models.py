"""Calls and probes of readiness while no worker has the model in memory."""

from __future__ import annotations

from flask.testing import FlaskClient

from shared.errors import Unavailable
from shared.member_reports import PROBE_ACCOUNT, WorkerReport
from shared.messages import encode
from tests.api.conftest import World

TEXTS = {"input": ["a long text " * 50, "b"], "labels": ["red", "green"]}


def report_cold(world: World, *, member: str = "tiny", failed: tuple[str, ...] = ()) -> None:
    report = WorkerReport(
        device="cpu",
        queues=("cpu.standard.tiny",),
        models=("tiny",),
        revisions={"tiny": "1"},
        cold=("tiny",),
        failed=failed,
        load_s={"tiny": 5.0},
    )
    world.ledger.report("worker", member, encode(report), ttl_s=3600)


def test_calls_that_do_not_wait_have_a_fixed_text_run_once(client: FlaskClient, world: World):
    report_cold(world)

    for _ in range(3):
        answer = client.post("/v1/classify", json=TEXTS, headers={"Prefer": "wait=1"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"

    (call,) = world.worker.calls
    assert (call.body.model, len(call.body.items), len(call.body.questions)) == ("tiny", 2, 1)
    assert not {item.text for item in call.body.items}.intersection(TEXTS["input"])


def test_it_is_run_also_where_the_first_item_is_cached(client: FlaskClient, world: World):
    texts = {**TEXTS, "cache": True}
    assert client.post("/v1/classify", json={**texts, "input": ["b"]}).status_code == 200
    report_cold(world)

    texts = {**texts, "input": ["b", "c"]}
    answer = client.post("/v1/classify", json=texts, headers={"Prefer": "wait=1"})

    assert answer.status_code == 503
    load = world.worker.calls[-1].body
    assert (load.cached, load.cache) == ((), False)
    assert all(item.text for item in load.items)


def test_a_probe_reaches_a_worker_also_where_the_model_is_cold(client: FlaskClient, world: World):
    report_cold(world)

    answer = client.get("/health/ready")

    assert (answer.status_code, answer.get_json()["models"]) == (200, {"tiny": "cold"})
    (probe,) = world.worker.calls
    assert probe.account == PROBE_ACCOUNT


def test_it_is_not_ready_where_the_model_cannot_be_loaded_again(client: FlaskClient, world: World):
    report_cold(world, failed=("tiny",))
    world.worker.error = Unavailable("the model tiny cannot be loaded again: OSError")

    answer = client.get("/health/ready")

    assert (answer.status_code, answer.get_json()["models"]) == (503, {"tiny": "failed"})
    assert answer.get_json()["parts"]["model"].endswith("cannot be loaded again: OSError")
    assert client.get("/v1/models/tiny").get_json()["state"] == "failed"


def test_one_worker_that_can_still_load_it_is_no_failure(client: FlaskClient, world: World):
    report_cold(world, failed=("tiny",))
    report_cold(world, member="other")

    assert client.get("/v1/models/tiny").get_json()["state"] == "cold"
