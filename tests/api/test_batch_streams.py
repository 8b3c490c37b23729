"""A batch while it goes on: its events, and what came out so far."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.http.concurrency import RESERVED_THREADS
from api.http.sse import EventFollower, of_batches
from api.schemas.openai.batch import BatchObject, BatchStatus
from api.services.batches import BatchService
from api.services.files import FileService
from shared import ids, object_keys
from shared.batches import PartReport
from shared.errors import WorkFailed
from shared.jobs import Progress
from shared.messages import encode
from tests.api.conftest import World
from tests.problems import assert_openai_error

ROWS = b'{"text": "a"}\n{"text": "b"}\n'


@pytest.fixture
def start(client: FlaskClient) -> Callable[[], str]:
    """Starts a batch of two rows; its id."""

    def start() -> str:
        said = {"purpose": "batch", "file": (io.BytesIO(ROWS), "rows.jsonl")}
        file = client.post("/v1/files", data=said).get_json()["id"]
        body = {"input_file_id": file, "classify": {"labels": ["x", "y"]}}
        return str(client.post("/v1/batches", json=body).get_json()["id"])

    return start


@pytest.fixture
def waiting(start: Callable[[], str], world: World) -> str:
    """A batch that no worker has met."""
    world.worker.asleep = True
    return start()


def events_of(stream: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The ids and the data of the events of a stream."""
    found = []
    for block in stream.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if "data" in lines:
            assert lines["event"] == "progress"
            found.append((lines["id"], json.loads(lines["data"])))
    return found


class TestEvents:
    def test_of_a_batch_that_has_ended_are_one(self, client: FlaskClient, start: Callable):
        batch = start()

        answer = client.get(f"/v1/batches/{batch}/events")

        assert answer.mimetype == "text/event-stream"
        ((_, found),) = events_of(answer.data)
        BatchObject.model_validate(found, strict=True)
        assert found == client.get(f"/v1/batches/{batch}").get_json()
        assert [frame.count(b"data: ") for frame in answer.data.split(b"\n\n")] == [1, 0]
        assert b"\nretry: 2000\n" in answer.data

    def test_go_on_after_the_last_that_was_seen(self, client: FlaskClient, start: Callable):
        path = f"/v1/batches/{start()}/events"
        ((last, _),) = events_of(client.get(path).data)

        nothing_new = client.get(path, headers={"Last-Event-ID": last})
        another = client.get(path, headers={"Last-Event-ID": "in_progress-2-1-0"})

        assert (nothing_new.status_code, nothing_new.data) == (204, b"")
        assert len(events_of(another.data)) == 1

    def test_follow_a_batch_to_its_end(self, client: FlaskClient, waiting: str, world: World):
        with closing(client.get(f"/v1/batches/{waiting}/events", buffered=False)) as answer:
            stream = answer.iter_encoded()
            first = next(stream) + next(stream)
            world.worker.asleep = False
            threading.Thread(target=world.worker.drain, args=("control",)).start()
            rest = b"".join(stream)

        assert [data["status"] for _, data in events_of(first)] == ["validating"]
        assert events_of(rest)[-1][1]["status"] == "completed"

    def test_are_for_a_bounded_number_of_listeners(
        self, make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ):
        world = make(api_threads=RESERVED_THREADS + 8)
        client = world.client()
        said = {"purpose": "batch", "file": (io.BytesIO(ROWS), "rows.jsonl")}
        body = {
            "input_file_id": client.post("/v1/files", data=said).get_json()["id"],
            "classify": {"labels": ["x", "y"]},
        }
        batch = client.post("/v1/batches", json=body).get_json()["id"]
        path = f"/v1/batches/{batch}/events"

        listening = [client.get(path, buffered=False) for _ in range(2)]
        third = client.get(path)
        for answer in listening:
            answer.close()
        again = client.get(path)

        assert_openai_error(third, 429)
        assert again.status_code == 200


class TestFollowing:
    @pytest.fixture
    def batches(self, world: World) -> BatchService:
        services = world.services
        return BatchService(
            submit=services.submit,
            jobs=services.jobs,
            files=FileService(store=world.store),
            resolve=services.resolve,
            ledger=world.ledger,
            store=world.store,
            buckets=world.services.buckets,
            uses=world.services.uses,
            default_model="tiny",
            file_retention_s=3600,
        )

    @pytest.fixture
    def events(self, batches: BatchService) -> EventFollower[BatchStatus]:
        return replace(of_batches(batches), interval_s=0.01, keep_alive_s=0.05, max_duration_s=60)

    @pytest.fixture
    def standing(self, batches: BatchService, waiting: str) -> BatchStatus:
        return batches.get("acme", waiting)

    def follow(
        self, events: EventFollower[BatchStatus], standing: BatchStatus, seen: str = ""
    ) -> Iterator[bytes]:
        stream = events.follow(standing, last_event_id=seen)
        assert next(stream) == b": connected\n"
        return stream

    def change(self, world: World, batch: str, completed: int) -> None:
        job = world.ledger.record(ids.job_id_of(batch))
        assert job is not None
        progress = Progress(total=9, completed=completed)
        assert world.ledger.replace(job, job.model_copy(update={"progress": progress}))

    def test_says_nothing_twice_but_that_it_is_there(
        self, events: EventFollower[BatchStatus], standing: BatchStatus, waiting: str, world: World
    ):
        stream = self.follow(events, standing)

        assert next(stream).startswith(b"retry: 2000\nid: validating-0-0-0\n")
        assert next(stream) == b": still here\n"
        self.change(world, waiting, 1)
        said = next(stream)
        while said.startswith(b":"):
            said = next(stream)
        assert said.startswith(b"id: validating-9-0-0\n")

    def test_begins_after_what_was_seen(
        self, events: EventFollower[BatchStatus], standing: BatchStatus
    ):
        stream = self.follow(events, standing, seen="validating-0-0-0")

        assert next(stream) == b": still here\n"

    def test_ends_after_its_longest_time(
        self, events: EventFollower[BatchStatus], standing: BatchStatus
    ):
        stream = self.follow(replace(events, max_duration_s=0.1), standing)

        assert len(events_of(b"".join(stream))) == 1

    def test_waits_out_a_store_that_is_away(
        self, events: EventFollower[BatchStatus], standing: BatchStatus, waiting: str, world: World
    ):
        stream = self.follow(events, standing)
        next(stream)

        world.store.away = world.ledger.away = True
        assert next(stream) == b": still here\n"
        world.store.away = world.ledger.away = world.worker.asleep = False
        world.worker.drain("control")

        assert events_of(b"".join(stream))[-1][1]["status"] == "completed"

    def test_ends_where_the_batch_is_forgotten(
        self, events: EventFollower[BatchStatus], standing: BatchStatus, waiting: str, world: World
    ):
        stream = self.follow(events, standing)
        next(stream)
        job = world.ledger.record(ids.job_id_of(waiting))
        assert job is not None
        world.ledger.finish_job(job, keep_s=0)
        for name in list(world.store.list(object_keys.JOBS)):
            world.store.delete(name)

        assert b"".join(stream).replace(b": still here\n", b"") == b""


class TestOutput:
    def put_part(self, world: World, batch: str, number: int, output: bytes) -> None:
        report = encode(PartReport(completed=1, failed=1, output_bytes=len(output)))
        place = object_keys.part_result("acme", ids.job_id_of(batch), number)
        world.store.put(place, report + b"\n" + output + b'{"error": 1}\n')

    def test_is_what_the_parts_have_put_out_so_far(
        self, client: FlaskClient, waiting: str, world: World
    ):
        large = b"".join(b'{"id": "%d"}\n' % i for i in range(10_000))
        self.put_part(world, waiting, 2, b'{"id": "c"}\n')
        self.put_part(world, waiting, 0, large)
        self.put_part(world, waiting, 10, b"")
        world.store.put(object_keys.part_rows("acme", ids.job_id_of(waiting), 1), b"rows")

        answer = client.get(f"/v1/batches/{waiting}/output")

        assert answer.mimetype == "application/jsonl"
        assert answer.data == large + b'{"id": "c"}\n'

    def test_of_nothing_is_empty(self, client: FlaskClient, waiting: str):
        answer = client.get(f"/v1/batches/{waiting}/output")

        assert (answer.status_code, answer.data) == (200, b"")

    def test_is_the_file_once_the_batch_has_ended(self, client: FlaskClient, start: Callable):
        batch = start()
        file = client.get(f"/v1/batches/{batch}").get_json()["output_file_id"]

        answer = client.get(f"/v1/batches/{batch}/output")

        assert [json.loads(line)["id"] for line in answer.data.splitlines()] == ["1", "2"]
        assert answer.data == client.get(f"/v1/files/{file}/content").data
        assert answer.content_length == len(answer.data)
        assert "_output.jsonl" in answer.headers["Content-Disposition"]

    def test_is_cut_short_rather_than_incomplete_where_parts_go(
        self, client: FlaskClient, waiting: str, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        self.put_part(world, waiting, 0, b"{}\n")
        self.put_part(world, waiting, 1, b"{}\n")
        answer = client.get(f"/v1/batches/{waiting}/output", buffered=False)
        stream = answer.iter_encoded()
        next(stream)
        world.store.delete(object_keys.part_result("acme", ids.job_id_of(waiting), 1))

        with pytest.raises(Exception, match="has just ended"):
            next(stream)
        answer.close()

    def test_of_a_batch_without_any_is_not_found(
        self, client: FlaskClient, world: World, start: Callable
    ):
        world.worker.error = WorkFailed("given up")

        assert_openai_error(client.get(f"/v1/batches/{start()}/output"), 404)
