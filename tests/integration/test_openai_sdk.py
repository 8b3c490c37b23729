"""The official `openai` SDK against our server, on real processes; only its `base_url` is ours."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai._models import FinalRequestOptions
from openai.types import Batch

from tests.servers import HOST
from tests.stack import LABELS, Stack

pytestmark = pytest.mark.integration
ENDED = {"completed", "failed", "expired", "cancelled"}
ENDPOINT: Any = "/v1/classify"  # which their types do not know
ROWS = [{"id": f"r{i}", "text": f"a {'red' if i % 2 else 'green'} thing {i}"} for i in range(200)]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    with client_of(stack, stack.key) as client:
        yield client


def client_of(stack: Stack, key: str) -> OpenAI:
    return OpenAI(base_url=f"http://{HOST}:{stack.port}/v1", api_key=key, max_retries=0)


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def upload(client: OpenAI, data: bytes, name: str = "rows.jsonl") -> str:
    return client.files.create(file=(name, data), purpose="batch").id


def create(client: OpenAI, file: str, **ours: Any) -> Batch:
    """A batch of plain rows; `ours` is what the OpenAI API has not."""
    body = {"classify": {"labels": LABELS}, "id_column": "id", **ours}
    return client.batches.create(
        input_file_id=file, endpoint=ENDPOINT, completion_window="24h", extra_body=body
    )


def wait(client: OpenAI, batch: Batch, *, timeout_s: float = 60) -> Batch:
    until = time.monotonic() + timeout_s
    while (found := client.batches.retrieve(batch.id)).status not in ENDED:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_follows_a_batch_by_its_event_stream(client: OpenAI):
    batch = create(client, upload(client, jsonl(ROWS)))

    stream: openai.Stream[Any] = client.get(
        f"/batches/{batch.id}/events", cast_to=object, stream=True, stream_cls=openai.Stream[Any]
    )
    views = [dict(each) for each in stream]

    assert {view["id"] for view in views} == {batch.id}
    assert views[-1]["status"] == "completed"
    assert views[-1]["request_counts"]["completed"] == len(ROWS)


@pytest.mark.parametrize("path", ["/classify", "/train", "/jobs/job_none", "/batches/none"])
def test_shows_the_message_of_an_error_on_every_path(client: OpenAI, path: str):
    posted = path in {"/classify", "/train"}
    options: Any = FinalRequestOptions(
        method="post" if posted else "get", url=path, json_data={"input": 7} if posted else None
    )

    with pytest.raises(openai.APIStatusError) as caught:
        client.request(cast_to=object, options=options)

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"] in str(caught.value)
    assert caught.value.code is not None


def lines(client: OpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(line) for line in client.files.content(file).iter_lines()]


class TestFiles:
    def test_are_sent_from_disk_looked_at_read_and_deleted(self, client: OpenAI, tmp_path: Path):
        path = tmp_path / "größe.jsonl"
        path.write_bytes(jsonl(ROWS))

        with path.open("rb") as stream:
            file = client.files.create(file=stream, purpose="batch")
        found = client.files.retrieve(file.id)
        ready = client.files.wait_for_processing(file.id)
        content = client.files.content(file.id).read()
        deleted = client.files.delete(file.id)

        assert (file.object, file.purpose, file.status) == ("file", "batch", "processed")
        assert (file.filename, file.bytes) == ("größe.jsonl", path.stat().st_size)
        assert found == file == ready
        assert content == path.read_bytes()
        assert (deleted.id, deleted.deleted) == (file.id, True)
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)

    def test_may_be_large(self, client: OpenAI):
        data = b"0123456789abcde\n" * 2**21  # 32 MB

        file = upload(client, data)

        with client.files.with_streaming_response.content(file) as answer:
            size = sum(map(len, answer.iter_bytes()))
        assert size == len(data)
        client.files.delete(file)

    def test_expire_when_it_is_asked(self, client: OpenAI):
        file = client.files.create(
            file=("x.jsonl", b"{}"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )

        assert file.expires_at == file.created_at + 3600

    def test_are_listed_page_by_page(self, client: OpenAI):
        made = [upload(client, b"{}") for _ in range(5)]

        newest = [file.id for file in client.files.list(limit=2, purpose="batch")]
        oldest = [file.id for file in client.files.list(limit=2, order="asc")]

        assert set(made) <= set(newest)
        assert newest == sorted(newest)
        assert [each for each in oldest if each in newest] == newest[::-1]


class TestUploads:
    def test_are_cut_into_parts_by_the_client(self, client: OpenAI, tmp_path: Path):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(jsonl(ROWS))

        upload = client.uploads.upload_file_chunked(
            file=path, mime_type="application/jsonl", purpose="batch", part_size=5000
        )

        assert (upload.status, upload.bytes) == ("completed", path.stat().st_size)
        assert upload.file is not None
        assert upload.file.filename == "rows.jsonl"
        assert client.files.content(upload.file.id).read() == path.read_bytes()

    def test_take_parts_in_any_order(self, client: OpenAI):
        upload = client.uploads.create(
            bytes=6,
            filename="x.jsonl",
            mime_type="application/jsonl",
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        second, first = (
            client.uploads.parts.create(upload.id, data=piece) for piece in (b"{}\n", b"[]\n")
        )

        with pytest.raises(openai.BadRequestError) as caught:
            client.uploads.complete(upload.id, part_ids=[first.id, second.id], md5="0" * 32)
        done = client.uploads.complete(upload.id, part_ids=[first.id, second.id])

        assert caught.value.param == "md5"
        assert done.file is not None
        assert done.file.expires_at == done.file.created_at + 3600
        assert client.files.content(done.file.id).read() == b"[]\n{}\n"
        with pytest.raises(openai.ConflictError, match="completed"):
            client.uploads.cancel(upload.id)


class TestBatches:
    def test_work_through_plain_rows(self, client: OpenAI):
        rows = [*ROWS, {"id": "bad"}]
        file = upload(client, jsonl(rows))

        created = client.batches.create(
            input_file_id=file,
            endpoint=ENDPOINT,
            completion_window="24h",
            metadata={"team": "a"},
            output_expires_after={"anchor": "created_at", "seconds": 7200},
            extra_body={"classify": {"labels": LABELS}, "id_column": "id"},
        )
        ended = wait(client, created)

        assert created.object == "batch"
        assert created.status in {"validating", "in_progress"}
        assert created.metadata == {"team": "a"}
        assert ended.status == "completed"
        assert ended.request_counts is not None
        counts = ended.request_counts
        assert (counts.total, counts.completed, counts.failed) == (201, 200, 1)
        assert ended.errors is not None
        assert ended.errors.data is not None
        assert [error.line for error in ended.errors.data] == [201]
        output, errors = lines(client, ended.output_file_id), lines(client, ended.error_file_id)
        assert sorted(line["id"] for line in output) == sorted(row["id"] for row in ROWS)
        assert [line["id"] for line in errors] == ["bad"]
        assert {line["prediction"] for line in output} <= set(LABELS)
        assert ended.usage is not None
        assert ended.usage.total_tokens > 0
        assert ended.in_progress_at is not None
        assert ended.completed_at is not None
        assert ended.created_at <= ended.in_progress_at <= ended.completed_at
        made = client.files.retrieve(str(ended.output_file_id))
        assert made.purpose == "batch_output"
        assert made.expires_at == made.created_at + 7200

    def test_write_the_table_that_is_asked_for(self, client: OpenAI):
        table = "id;text\n" + "".join(f"{row['id']};{row['text']}\n" for row in ROWS[:3])
        file = upload(client, table.encode("utf-16"), "rows.csv")

        ended = wait(client, create(client, file, output_format="csv"))

        assert ended.status == "completed"
        assert ended.model_extra is not None
        assert "delimiter ';'" in ended.model_extra["format"]
        written = client.files.content(str(ended.output_file_id)).text
        assert written.splitlines()[0].startswith("id,text,prediction,score")
        assert len(written.splitlines()) == 4

    def test_work_through_requests(self, client: OpenAI):
        ask = {"input": "a red rose", "labels": LABELS}
        requests = [
            {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": ask},
            {"custom_id": "b", "method": "POST", "url": ENDPOINT, "body": {"input": "x"}},
        ]
        file = upload(client, jsonl(requests))

        created = client.batches.create(
            input_file_id=file, endpoint=ENDPOINT, completion_window="24h"
        )
        ended = wait(client, created)

        assert ended.status == "completed"
        (good,) = lines(client, ended.output_file_id)
        (bad,) = lines(client, ended.error_file_id)
        assert (good["custom_id"], good["response"]["status_code"]) == ("a", 200)
        assert good["response"]["body"]["data"][0]["prediction"] in LABELS
        assert good["error"] is None
        assert bad["custom_id"] == "b"
        assert bad["response"]["status_code"] == 422

    def test_that_fail_say_why(self, client: OpenAI):
        ended = wait(client, create(client, upload(client, b"")))

        assert ended.status == "failed"
        assert ended.failed_at is not None
        assert ended.errors is not None
        assert ended.errors.data is not None
        assert "no rows" in str(ended.errors.data[0].message)

    def test_are_cancelled_and_listed(self, client: OpenAI):
        file = upload(client, jsonl(ROWS * 200))
        made = [create(client, file, id_column=None) for _ in range(3)]

        cancelled = client.batches.cancel(made[0].id)
        ended = wait(client, made[0])
        listed = [batch.id for batch in client.batches.list(limit=2)]

        assert cancelled.status in {"cancelling", "cancelled"}
        assert ended.status == "cancelled"
        assert ended.cancelled_at is not None
        assert ended.request_counts is not None
        assert ended.request_counts.total == (
            ended.request_counts.completed + ended.request_counts.failed
        )
        assert {batch.id for batch in made} <= set(listed)
        assert listed == sorted(listed)
        assert client.batches.cancel(made[0].id).status == "cancelled"
        for batch in made[1:]:
            client.batches.cancel(batch.id)

    def test_are_followed_by_their_events(self, client: OpenAI, stack: Stack):
        batch = create(client, upload(client, jsonl(ROWS * 50)), id_column=None)

        answer = stack.call("GET", f"/v1/batches/{batch.id}/events", timeout_s=60)

        events = [block for block in answer.body.decode().split("\n\n") if "data: " in block]
        statuses = [json.loads(event.partition("data: ")[2])["status"] for event in events]
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert statuses[-1] == "completed"
        assert len(events) == len({event.splitlines()[0] for event in events})
        output = stack.call("GET", f"/v1/batches/{batch.id}/output")
        assert output.body.count(b"\n") == len(ROWS) * 50


class TestErrors:
    def test_of_a_wrong_key(self, stack: Stack):
        with (
            client_of(stack, "ph_wrong") as stranger,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            stranger.files.list()

        assert caught.value.type == "authentication_error"
        assert caught.value.code == "auth_invalid_api_key"
        assert caught.value.request_id is not None

    def test_of_unknown_things(self, client: OpenAI):
        for call in (
            lambda: client.files.retrieve("file-abc"),
            lambda: client.files.content("file-abc"),
            lambda: client.files.delete("file-abc"),
            lambda: client.batches.retrieve("batch_abc"),
            lambda: client.batches.cancel("batch_abc"),
        ):
            with pytest.raises(openai.NotFoundError, match="no such"):
                call()

    def test_of_wrong_requests_name_the_field(self, client: OpenAI):
        file = upload(client, b"{}")
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("input_file_id", {"input_file_id": "file-abc"}),
            ("endpoint", {"endpoint": "/v1/chat/completions"}),
            ("completion_window", {"completion_window": "soon"}),
            ("metadata", {"metadata": {str(i): "x" for i in range(17)}}),
            ("classify.labels", {"extra_body": {"classify": {"labels": ["one"]}}}),
        ]
        for param, said in wrong:
            body: dict[str, Any] = {
                "input_file_id": file,
                "endpoint": ENDPOINT,
                "completion_window": "24h",
                **said,
            }
            with pytest.raises(openai.BadRequestError) as caught:
                client.batches.create(**body)
            assert caught.value.param == param
            assert caught.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError, match="purpose"):
            client.files.create(file=io.BytesIO(b"{}"), purpose="fine-tune")
