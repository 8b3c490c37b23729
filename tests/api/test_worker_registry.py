"""Which device's queues a model's work goes to, by who lives."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import redis

from api.services.worker_registry import WorkerRegistry
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.errors import BrokerFull, BrokerUnavailable, ModelNotFound, Unavailable
from shared.member_reports import WorkerReport
from shared.messages import encode, queues_of
from shared.model_catalogue import ModelEntry
from shared.ports import Ledger
from tests.servers import HOST, Proxy


@pytest.fixture
def members(ledger: Ledger) -> WorkerRegistry:
    return WorkerRegistry(ledger, fresh_s=0.0)


def live(ledger: Ledger, device: str, *models: str, ttl_s: float = 60) -> None:
    report = WorkerReport(device=device, queues=queues_of(device, models), models=models)
    ledger.report("worker", device, encode(report), ttl_s=ttl_s)


def model(device: str) -> ModelEntry:
    return ModelEntry.model_validate({"name": "m", "engine": "hashing", "device": device})


def test_a_model_that_prefers_a_gpu_goes_to_the_cpu_while_no_gpu_worker_lives(
    ledger: Ledger, members: WorkerRegistry
):
    live(ledger, "cpu", "m")
    assert members.device_for(model("gpu-preferred")) == "cpu"

    live(ledger, "gpu", "m")
    assert members.device_for(model("gpu-preferred")) == "gpu"

    live(ledger, "gpu", "m", ttl_s=0)
    assert members.device_for(model("gpu-preferred")) == "cpu"


def test_a_redis_that_takes_no_reports_is_not_one_without_workers(
    ledger: Ledger, members: WorkerRegistry, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise BrokerFull("Redis rejects writes: its disk is full", retry_after_s=10)

    monkeypatch.setattr(ledger, "report", full)

    for _ in range(2):
        with pytest.raises(BrokerFull) as refusal:
            members.device_for(model("cpu"))
        assert refusal.value.retry_after_s == 10
    assert members.usual_device(model("cpu")) == "cpu"  # a job waits


def test_a_worker_that_holds_other_models_does_not_count(ledger: Ledger, members: WorkerRegistry):
    live(ledger, "gpu", "other")
    live(ledger, "cpu", "m")

    assert members.device_for(model("gpu-preferred")) == "cpu"


@pytest.mark.parametrize(
    ("device", "alive", "wanted"),
    [
        ("gpu-only", "cpu", "gpu"),
        ("cpu", "gpu", "cpu"),
        ("gpu-preferred", None, "gpu or cpu"),
    ],
)
def test_without_a_worker_calls_are_told_which_one_is_missing_and_what_to_do(
    ledger: Ledger, members: WorkerRegistry, device: str, alive: str | None, wanted: str
):
    if alive:
        live(ledger, alive, "m")

    with pytest.raises(
        Unavailable, match=rf"no running {wanted} worker offers m;.*pigeonhole-server models pull m"
    ) as caught:
        members.device_for(model(device))

    assert caught.value.retry_after_s


def test_a_model_that_no_running_worker_holds_is_named_as_missing(
    ledger: Ledger, members: WorkerRegistry
):
    live(ledger, "cpu", "another")

    with pytest.raises(ModelNotFound, match=r"no running worker holds it.*models pull m"):
        members.device_for(model("cpu"))


def test_a_model_whose_worker_restarts_is_expected_back(ledger: Ledger, members: WorkerRegistry):
    live(ledger, "cpu", "m")
    members.workers()
    live(ledger, "cpu", "another")

    with pytest.raises(Unavailable) as caught:
        members.device_for(model("cpu"))

    assert caught.value.retry_after_s


@pytest.mark.parametrize(
    ("device", "queue"), [("gpu-only", "gpu"), ("cpu", "cpu"), ("gpu-preferred", "cpu")]
)
def test_a_durable_job_waits_for_a_worker(members: WorkerRegistry, device: str, queue: str):
    assert members.usual_device(model(device)) == queue


def test_one_look_serves_the_calls_of_a_moment(redis_client: redis.Redis, redis_url: str):
    proxy = Proxy(int(urlsplit(redis_url).port or 0))
    ledger = RedisLedger(connect(f"redis://{HOST}:{proxy.port}/0", timeout_s=1))
    members = WorkerRegistry(ledger, fresh_s=60.0)
    live(ledger, "cpu", "m")
    members.device_for(model("cpu"))

    proxy.cut()

    assert members.device_for(model("cpu")) == "cpu"
    with pytest.raises(BrokerUnavailable):
        WorkerRegistry(ledger, fresh_s=60.0).device_for(model("cpu"))


def test_models_are_held_together_only_by_one_worker(ledger: Ledger, members: WorkerRegistry):
    both = [model("cpu"), ModelEntry(name="nli", engine="cross_encoder")]
    live(ledger, "cpu", "m")
    live(ledger, "gpu", "nli")
    assert not members.holds(both)
    assert members.holds(both[:1])

    live(ledger, "gpu", "m", "nli", ttl_s=0.05)
    assert members.holds(both)
    live(ledger, "gpu", "nli", ttl_s=0)
    assert not members.holds(both)
    assert members.holds(both, lately=True)
