"""What operators and readers look at: models, health, metrics, documents."""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future, wait
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from api.services import readiness
from api.services.metrics import ApiMetrics
from shared.member_reports import MemberReport
from shared.messages import encode
from tests.api.conftest import CATALOGUE, World
from tests.prefixed_ledger import PrefixedLedger
from tests.problems import assert_problem
from tests.waiting import wait_until


class TestModels:
    def test_are_listed_with_what_serves_them(self, client: FlaskClient):
        models = client.get("/v1/models").get_json()

        assert models["object"] == "list"
        assert models["data"][0] == {
            "id": "tiny",
            "object": "model",
            "created": models["data"][1]["created"],
            "owned_by": "pigeonhole",
            "kind": "embedding",
            "engines": ["embedding"],
            "models": [],
            "unsupported_languages": [],
            "aliases": ["toy"],
            "device": "cpu",
            "languages": ["en"],
            "available": True,
            "texts_served_by": None,
            "state": "loaded",
            "last_used": None,
        }
        assert models["data"][1]["available"] is False

    def test_are_unavailable_while_redis_is_away(self, client: FlaskClient, world: World):
        world.ledger.away = True

        assert [m["available"] for m in client.get("/v1/models").get_json()["data"]] == [False] * 2


class TestHealth:
    def test_of_the_process(self, client: FlaskClient, world: World):
        world.ledger.away = world.store.away = True

        assert client.get("/health/live").get_json() == {"status": "ok"}

    def test_is_ready_when_an_item_came_back(self, client: FlaskClient, world: World):
        answer = client.get("/health/ready")

        assert answer.status_code == 200
        assert answer.get_json()["ready"] is True
        assert set(answer.get_json()["parts"].values()) == {"ok"}
        assert len(world.worker.calls) == 1

    @pytest.mark.parametrize(
        ("away", "missing"),
        [
            ("ledger", {"redis", "keeper", "worker", "model"}),
            ("store", {"object_store"}),
        ],
    )
    def test_names_what_is_missing(
        self, client: FlaskClient, world: World, away: str, missing: set[str]
    ):
        getattr(world, away).away = True

        answer = client.get("/health/ready")

        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        parts = answer.get_json()["parts"]
        assert {part for part, said in parts.items() if said != "ok"} == missing

    def test_says_whose_clock_is_off_and_is_ready_all_the_same(
        self, client: FlaskClient, world: World
    ):
        ahead = MemberReport(clock_offset_s=691200.0)
        world.ledger.report("keeper", "second", encode(ahead), ttl_s=60)

        answer = client.get("/health/ready")

        assert answer.status_code == 200
        assert answer.get_json()["clocks"] == {
            "api": "ok",
            "keeper": "691200.0 s ahead of Redis",
            "worker": "ok",
        }
        told = client.get("/metrics").get_data(as_text=True)
        assert 'pigeonhole_clock_offset_seconds{role="keeper"} 691200.0' in told

    def test_is_not_ready_when_the_worker_lives_but_does_not_answer(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(readiness, "LIMIT_S", 0.6)  # of which a worker has all but 0.5
        monkeypatch.setattr(readiness, "wait", lambda futures, timeout: wait(futures, 60))
        world.worker.asleep = True

        parts = client.get("/health/ready").get_json()["parts"]

        assert parts["worker"] == "ok"
        assert parts["model"].startswith("no answer within")

    def test_what_hangs_is_named_at_the_limit(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        released, limits = threading.Event(), []

        def until_one_is_left(futures: list[Future[object]], timeout: float) -> None:
            limits.append(timeout)
            wait_until(lambda: sum(not future.done() for future in futures) == 1)

        monkeypatch.setattr(readiness, "wait", until_one_is_left)
        monkeypatch.setattr(world.store, "get", lambda name: released.wait(60))

        parts = client.get("/health/ready").get_json()["parts"]
        released.set()

        assert limits == [3.0]
        assert parts["object_store"] == "no response within 3 s"
        assert parts["model"] == "ok"

    def test_many_probes_cost_what_one_does(self, world: World, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(readiness, "_FRESH_S", 60)
        threads = [
            threading.Thread(target=world.app.test_client().get, args=("/health/ready",))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(world.worker.calls) == 1


class TestMetrics:
    def test_count_answers_by_route(self, client: FlaskClient):
        client.get("/v1/jobs/secret")
        client.get("/secret")
        client.open("/v1/jobs", method="BREW")

        text = client.get("/metrics").get_data(as_text=True)

        counted = 'pigeonhole_http_requests_total{method="%s",route="%s",status="%d"} 1.0'
        assert counted % ("GET", "/v1/jobs/<job_id>", 404) in text
        assert counted % ("GET", "none", 404) in text
        assert 'method="other"' in text
        assert "secret" not in text
        assert 'pigeonhole_queue_waiting{model="tiny",queue="cpu.standard"} 0.0' in text
        assert 'pigeonhole_live_processes{role="worker"} 1.0' in text

    def test_count_what_waits_by_queue_and_by_models_of_the_catalogue(
        self, client: FlaskClient, world: World
    ):
        for queue in ("cpu.bulk.tiny", "cpu.bulk.gone", "cpu.bulk.gone-too", "tpu.bulk.tiny"):
            world.ledger.enqueue_call(queue, b"{}", bound=9)

        text = client.get("/metrics").get_data(as_text=True)

        assert 'pigeonhole_queue_waiting{model="tiny",queue="cpu.bulk"} 1.0' in text
        assert 'pigeonhole_queue_waiting{model="other",queue="cpu.bulk"} 2.0' in text
        assert 'pigeonhole_queue_waiting{model="tiny",queue="other"} 1.0' in text
        assert "gone" not in text

    def test_are_scraped_while_redis_is_away(self, client: FlaskClient, world: World):
        world.ledger.away = True

        answer = client.get("/metrics")

        assert answer.status_code == 200
        assert answer.mimetype == "text/plain"
        assert "pigeonhole_queue_waiting" not in answer.get_data(as_text=True)

    def test_two_apps_do_not_share_counts(self):
        one, other = (ApiMetrics(PrefixedLedger(), CATALOGUE) for _ in range(2))

        one.count(method="GET", route="/", status=200, seconds=0.1)

        assert b'route="/"' in one.text()
        assert b'route="/"' not in other.text()


class TestDocuments:
    def test_the_page_loads_nothing_from_elsewhere(self, client: FlaskClient):
        page = client.get("/docs/").get_data(as_text=True)
        sources = re.findall(r'(?:src|href)="([^"]+)"', page)

        assert sources
        assert all(source.startswith("./") for source in sources)
        for source in sources:
            with client.get(urljoin("/docs/", source)) as answer:
                assert answer.status_code == 200
        assert "://" not in page
        assert '"validatorUrl": null' in page

    def test_the_document_is_served(self, client: FlaskClient):
        assert client.get("/openapi.json").get_json()["openapi"] == "3.1.0"

    def test_nothing_beside_the_page_is_served(self, client: FlaskClient):
        assert_problem(client.get("/docs/../main.py"), 404, "RESOURCE_NOT_FOUND")
