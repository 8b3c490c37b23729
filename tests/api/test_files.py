"""/v1/files, as the OpenAI API has it."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse, encode_multipart

from api.http.concurrency import RESERVED_THREADS
from api.http.multipart import MAX_FORM_BYTES
from api.schemas.openai.file import FileDeleted, FileList, FileObject
from shared import ids, object_keys
from shared.batches import StoredFile
from shared.errors import StoreUnavailable
from shared.messages import encode
from tests.api.conftest import World, make_world
from tests.problems import assert_openai_error

UNKNOWN = ids.file_id(1, 1)
ROWS = b'{"text": "a"}\n{"text": "b"}\n'
EXPIRY = ("expires_after[anchor]", "expires_after[seconds]")


@pytest.fixture
def send(client: FlaskClient) -> Callable[..., TestResponse]:
    """Sends a file; `fields` stand beside it."""
    return lambda data=ROWS, name="rows.jsonl", headers=None, **fields: send_by(
        client, data, name, headers, **fields
    )


def send_by(
    client: FlaskClient,
    data: bytes = ROWS,
    name: str = "rows.jsonl",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> TestResponse:
    said = {"purpose": "batch", **fields, "file": FileStorage(io.BytesIO(data), name)}
    boundary, sent = encode_multipart({k: v for k, v in said.items() if v is not None})
    content_type = f"multipart/form-data; boundary={boundary}"
    return client.post("/v1/files", data=sent, content_type=content_type, headers=headers)


Send = Callable[..., TestResponse]


def contents(world: World) -> list[str]:
    return [name for name in world.store.objects if name.endswith("/content")]


class TestSending:
    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("rows.jsonl", "application/jsonl"),
            ("Rows.CSV", "text/csv"),
            ("rows.csv.gz", "application/gzip"),
            ("rows.parquet", "application/vnd.apache.parquet"),
            ("rows", "application/octet-stream"),
            ("page.html", "application/octet-stream"),
            ("drawing.svg", "application/octet-stream"),
        ],
    )
    def test_keeps_the_bytes_with_the_media_type_of_a_table(
        self, send: Send, world: World, name: str, media_type: str
    ):
        file = send(name=name).get_json()

        assert world.store.media_types[object_keys.file_content("acme", file["id"])] == media_type

    def test_makes_a_file(self, send: Send, client: FlaskClient):
        answer = send()

        assert answer.status_code == 200
        file = answer.get_json()
        FileObject.model_validate(file, strict=True)
        assert ids.is_file_id(file["id"])
        assert (file["bytes"], file["filename"]) == (len(ROWS), "rows.jsonl")
        assert (file["purpose"], file["status"]) == ("batch", "processed")
        assert file["expires_at"] == file["created_at"] + 30 * 86400
        assert client.get(f"/v1/files/{file['id']}").get_json() == file

    def test_takes_the_fields_after_the_file_too(self, client: FlaskClient):
        answer = client.post(
            "/v1/files", data={"file": (io.BytesIO(ROWS), "x.jsonl"), "purpose": "batch"}
        )

        assert answer.get_json()["bytes"] == len(ROWS)

    def test_keeps_a_file_as_long_as_is_asked(self, send: Send):
        file = send(**dict(zip(EXPIRY, ("created_at", "7200"), strict=True))).get_json()

        assert file["expires_at"] == file["created_at"] + 7200

    @pytest.mark.parametrize(
        ("said", "param"),
        [
            (("created_at", "60"), "expires_after.seconds"),
            (("created_at", str(10**9)), "expires_after.seconds"),
            (("created_at", "soon"), "expires_after.seconds"),
            (("created_at", None), "expires_after.seconds"),
            (("last_active_at", "7200"), "expires_after.anchor"),
            ((None, "7200"), "expires_after.anchor"),
        ],
    )
    def test_refuses_another_time(
        self, send: Send, world: World, said: tuple[str | None, str | None], param: str
    ):
        answer = send(**dict(zip(EXPIRY, said, strict=True)))

        assert_openai_error(answer, 400, param=param)
        assert contents(world) == []

    @pytest.mark.parametrize("purpose", ["fine-tune", "", None])
    def test_refuses_another_purpose(self, send: Send, world: World, purpose: str | None):
        assert_openai_error(send(purpose=purpose), 400, param="purpose")
        assert contents(world) == []

    def test_refuses_another_purpose_that_stands_after_the_file(
        self, client: FlaskClient, world: World
    ):
        answer = client.post(
            "/v1/files", data={"file": (io.BytesIO(ROWS), "x.jsonl"), "purpose": "fine-tune"}
        )

        assert_openai_error(answer, 400, param="purpose", says="must be one of batch")
        assert contents(world) == []

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"{}", "application/json"),
            (b"", "multipart/form-data; boundary=x"),
            (b"--x\r\n", "multipart/form-data; boundary=x"),
            (ROWS, ""),
        ],
    )
    def test_refuses_what_is_no_form(self, client: FlaskClient, body: bytes, content_type: str):
        answer = client.post("/v1/files", data=body, content_type=content_type)

        assert_openai_error(answer, 400)

    def test_refuses_a_form_without_a_file(self, client: FlaskClient):
        answer = client.post(
            "/v1/files", data={"purpose": "batch"}, content_type="multipart/form-data"
        )

        assert_openai_error(answer, 400, param="file", says="is missing")

    def test_refuses_a_file_above_the_bound(self, make: Callable[..., World]):
        world = make(max_file_bytes=2000)
        client = world.client()

        fits = send_by(client, b"x" * 2000)
        large = send_by(client, b"x" * 2001)
        announced = send_by(client, b"x" * (2001 + MAX_FORM_BYTES))

        assert fits.status_code == 200
        assert_openai_error(large, 413, param="file", says="at most 2000 bytes")
        assert_openai_error(announced, 413, param="file", says="at most 2000 bytes")
        assert len(contents(world)) == 1

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [("größe.jsonl", "größe.jsonl"), ("../../etc/passwd", "passwd"), ("x" * 999, "x" * 255)],
    )
    def test_names_a_file_by_the_last_part_of_its_name(self, send: Send, sent: str, kept: str):
        assert send(name=sent).get_json()["filename"] == kept

    def test_sent_twice_with_one_key_is_one_file(
        self, send: Send, client: FlaskClient, world: World
    ):
        first = send(headers={"Idempotency-Key": "k"})
        again = send(headers={"Idempotency-Key": "k"})
        other = send(b"{}", headers={"Idempotency-Key": "k"})

        assert again.get_json() == first.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert_openai_error(other, 422, param="Idempotency-Key")
        assert len(contents(world)) == 1

    def test_of_bytes_that_the_store_refuses_leaves_nothing(
        self, send: Send, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        put = world.store.put

        def refuse(name: str, data: Any, **conditions: Any) -> str:
            if name.endswith("file.json"):
                raise StoreUnavailable("the object store's disk is full")
            return put(name, data, **conditions)

        monkeypatch.setattr(world.store, "put", refuse)

        assert_openai_error(send(), 503, says="disk is full")
        assert contents(world) == []

    def test_is_bounded_in_number(self, make: Callable[..., World]):
        world = make(api_threads=RESERVED_THREADS + 8)
        client = world.client()
        busy: list[TestResponse] = []
        put = world.store.put

        def slow(name: str, data: Any, **conditions: Any) -> str:
            if name.endswith("/content") and len(busy) < 9:
                busy.append(send_by(client))
            return put(name, data, **conditions)

        world.store.put = slow  # type: ignore[method-assign]
        send_by(client)

        assert_openai_error(next(a for a in busy if a.status_code != 200), 429)


class TestContent:
    def test_is_what_was_sent(self, send: Send, client: FlaskClient):
        data = bytes(range(256)) * 3000
        file = send(data, name='größe "1".bin').get_json()

        answer = client.get(f"/v1/files/{file['id']}/content")

        assert answer.data == data
        assert answer.content_length == len(data)
        assert answer.mimetype == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")

    @pytest.mark.parametrize("name", ["größe.csv", "日本.csv", 'a"b;c\\\U0001f600.csv', "ü" * 1000])
    def test_says_any_name_in_a_header_that_every_server_sends(
        self, send: Send, client: FlaskClient, name: str
    ):
        file = send(b"x", name).get_json()

        header = client.get(f"/v1/files/{file['id']}/content").headers["Content-Disposition"]

        assert header.isascii()
        assert len(header) < 4096
        assert parse_options_header(header)[1]["filename"] == file["filename"]

    def test_is_closed_where_nobody_reads_it(
        self, send: Send, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        path = f"/v1/files/{send().get_json()['id']}/content"
        opened: list[io.BytesIO] = []

        def open_(name: str, *, start: int, end: int) -> io.BytesIO:
            opened.append(io.BytesIO(world.store.get(name).data[start:end]))
            return opened[-1]

        monkeypatch.setattr(world.store, "open", open_)
        for _ in range(20):  # more than there are slots
            client.head(path).close()
            client.get(path).close()

        assert len(opened) == 20  # none for HEAD
        assert all(stream.closed for stream in opened)

    def test_open_downloads_leave_slots_to_other_calls(self, send: Send, client: FlaskClient):
        path = f"/v1/files/{send().get_json()['id']}/content"
        body = {"input": "a", "labels": ["x", "y"]}
        with ExitStack() as opened:
            statuses = []
            while 429 not in statuses and len(statuses) < 100:
                response = client.get(path)
                opened.callback(response.close)
                statuses.append(response.status_code)

            assert statuses[0] == 200
            assert statuses[-1] == 429
            assert client.post("/v1/classify", json=body).status_code == 200
        assert client.get(path).status_code == 200


class TestListing:
    @pytest.fixture
    def sent(self, world: World) -> list[str]:
        """Files of five seconds, the newest first; the third is what a batch has made."""
        found = []
        for second in range(5):
            file = StoredFile(
                id=ids.file_id(second * 1000, second),
                purpose="batch_output" if second == 2 else "batch",
                filename="x",
                bytes=1,
                created_at=second,
            )
            world.store.put(object_keys.file("acme", file.id), encode(file))
            world.store.put(object_keys.file_content("acme", file.id), b"x")
            found.insert(0, file.id)
        return found

    def test_is_newest_first_in_pages(self, client: FlaskClient, sent: list[str]):
        first = client.get("/v1/files?limit=3").get_json()
        second = client.get(f"/v1/files?limit=3&after={first['last_id']}").get_json()

        FileList.model_validate(first, strict=True)
        assert [file["id"] for file in first["data"] + second["data"]] == sent
        assert (first["has_more"], second["has_more"]) == (True, False)
        assert (first["first_id"], first["last_id"]) == (sent[0], sent[2])

    def test_may_be_oldest_first(self, client: FlaskClient, sent: list[str]):
        first = client.get("/v1/files?limit=3&order=asc").get_json()
        second = client.get(f"/v1/files?order=asc&after={first['last_id']}").get_json()

        assert [file["id"] for file in first["data"] + second["data"]] == sent[::-1]

    def test_may_be_of_one_purpose(self, client: FlaskClient, sent: list[str]):
        made = client.get("/v1/files?purpose=batch_output").get_json()
        others = client.get("/v1/files?purpose=batch&limit=4").get_json()

        assert [file["id"] for file in made["data"]] == [sent[2]]
        assert len(others["data"]) == 4
        assert others["has_more"] is False

    def test_passes_over_bytes_that_became_no_file(self, client: FlaskClient, world: World):
        world.store.put(object_keys.file_content("acme", UNKNOWN), b"x")

        assert client.get("/v1/files").get_json()["data"] == []
        assert_openai_error(client.get(f"/v1/files/{UNKNOWN}"), 404)

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("limit=0", "limit"),
            ("limit=10001", "limit"),
            ("after=x", "after"),
            ("order=x", "order"),
        ],
    )
    def test_of_a_wrong_page_is_refused(self, client: FlaskClient, query: str, param: str):
        assert_openai_error(client.get(f"/v1/files?{query}"), 400, param=param)


class TestDeleting:
    def test_ends_a_file(self, send: Send, client: FlaskClient, world: World):
        file = send().get_json()["id"]

        answer = client.delete(f"/v1/files/{file}")

        FileDeleted.model_validate(answer.get_json(), strict=True)
        assert answer.get_json() == {"id": file, "object": "file", "deleted": True}
        assert_openai_error(client.get(f"/v1/files/{file}"), 404)
        assert_openai_error(client.delete(f"/v1/files/{file}"), 404)
        assert not list(world.store.list("files/"))


@pytest.mark.parametrize("file", [UNKNOWN, "file-", "..", "x" * 300])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
def test_an_unknown_file(client: FlaskClient, method: str, path: str, file: str):
    assert_openai_error(client.open(f"/v1/files/{file}{path}", method=method), 404)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
def test_a_file_of_another_account_is_unknown(send: Send, world: World, method: str, path: str):
    file = send().get_json()["id"]
    other = world.client(account="other")

    assert_openai_error(other.open(f"/v1/files/{file}{path}", method=method), 404)
    assert other.get("/v1/files").get_json()["data"] == []


def test_a_file_that_has_expired_is_gone():
    now = 1_000_000.0
    world = make_world(clock=lambda: now)
    client = world.client()
    file = send_by(client, **dict(zip(EXPIRY, ("created_at", "3600"), strict=True))).get_json()

    now += 3601

    assert_openai_error(client.get(f"/v1/files/{file['id']}/content"), 404)
    assert client.get("/v1/files").get_json()["data"] == []


def test_every_error_has_the_body_of_the_openai_api(world: World, client: FlaskClient):
    nobody = world.app.test_client()

    assert_openai_error(nobody.get("/v1/files"), 401)
    assert_openai_error(world.client("jobs").get("/v1/files"), 403)
    assert_openai_error(client.get("/v1/files/x/y/z"), 404)
    assert "GET" in client.put("/v1/files").headers["Allow"]
    assert_openai_error(client.put("/v1/files"), 405)
    world.store.away = True
    assert_openai_error(client.get("/v1/files"), 503)
