"""Classifiers as files: export and import."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.concurrency import RESERVED_THREADS
from shared import object_keys
from shared.dialects.training import TrainAnswer
from shared.errors import ModelNotFound, NotFound
from tests.api.conftest import World
from tests.classifier_files import classifier_file, safetensors, weights_file
from tests.classifiers import put_classifier, weights_of
from tests.problems import assert_problem

IMPORT = "/v1/classifiers/import"
FILE: dict[str, Any] = {"data": classifier_file()}
MANY = tuple(f"label{number}" for number in range(200))  # of a file of some 100 KB


@pytest.fixture
def send(client: FlaskClient) -> Callable[..., TestResponse]:
    """Sends a file to be imported; `query` says what beside it."""

    def send(
        data: bytes | None = None, headers: dict[str, str] | None = None, **query: str
    ) -> TestResponse:
        return client.post(
            IMPORT,
            data=classifier_file() if data is None else data,
            query_string=query,
            headers=headers,
            content_type="application/octet-stream",
        )

    return send


def uploads(world: World) -> list[str]:
    return [name for name in world.store.objects if name.endswith("/upload")]


class TestExport:
    @pytest.mark.parametrize(("ref", "number"), [("spam", 2), ("spam@v1", 1), ("spam@best", 1)])
    def test_gives_the_bytes_of_the_version_that_is_meant(
        self, client: FlaskClient, world: World, ref: str, number: int
    ):
        put_classifier(world.store, name="spam", versions=2)
        client.patch("/v1/classifiers/spam", json={"aliases": {"best": 1}})

        answer = client.get(f"/v1/classifiers/{ref}/export")

        assert answer.status_code == 200
        assert answer.data == weights_of(number)
        assert answer.content_length == len(answer.data)
        assert answer.mimetype == "application/octet-stream"
        name = f'attachment; filename="spam-v{number}.safetensors"'
        assert answer.headers["Content-Disposition"] == name

    @pytest.mark.parametrize("name", ['a"b', "größe", "猫", "...", "-rf", None, "x" * 128])
    def test_names_the_file_in_plain_letters(
        self, client: FlaskClient, world: World, name: str | None
    ):
        record = put_classifier(world.store, name=name)

        answer = client.get(f"/v1/classifiers/{record.id}/export")

        said = answer.headers["Content-Disposition"]
        assert re.fullmatch(
            r'attachment; filename="[A-Za-z0-9][\w.-]*-v1\.safetensors"', said, re.A
        )

    def test_of_a_large_file_is_whole_and_closes_it(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        record = put_classifier(world.store, name="spam")
        data = weights_file(arrays=bytes(range(256)) * 4096)
        world.store.put(object_keys.weights("acme", record.id, record.latest.file), data)
        opened = self._watch(world, monkeypatch)

        answer = client.get("/v1/classifiers/spam/export")
        assert answer.data == data
        answer.close()

        assert [stream.closed for stream in opened] == [True, True]  # its header first

    def test_closes_the_file_where_nobody_reads_it_to_the_end(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        put_classifier(world.store, name="spam")
        opened = self._watch(world, monkeypatch)

        client.head("/v1/classifiers/spam/export").close()
        client.get("/v1/classifiers/spam/export").close()

        assert [stream.closed for stream in opened] == [True, True, True]

    def test_a_range_of_it_goes_on_with_the_same_version(self, client: FlaskClient, world: World):
        record = put_classifier(world.store, name="spam")
        data = weights_file(arrays=bytes(range(256)) * 40)
        world.store.put(object_keys.weights("acme", record.id, record.latest.file), data)
        path = "/v1/classifiers/spam/export"
        etag = client.get(path).headers["ETag"]

        rest = client.get(path, headers={"Range": "bytes=500-", "If-Range": etag})
        other = client.get(path, headers={"Range": "bytes=500-", "If-Range": '"other"'})

        assert (rest.status_code, rest.data) == (206, data[500:])
        assert (other.status_code, other.data) == (200, data)

    def test_may_be_imported_again(self, client: FlaskClient, world: World, send: Callable):
        put_classifier(world.store, name="spam", labels=("p", "q"))

        answer = send(client.get("/v1/classifiers/spam/export").data, name="copy")

        assert answer.status_code == 200
        assert client.get("/v1/classifiers/copy").get_json()["labels"][0]["label"] == "p"

    @pytest.mark.parametrize("data", [b"", b"abc", b"\xff" * 50, b"\2\0\0\0\0\0\0\0[]"])
    def test_of_what_is_no_file_is_an_error_of_ours_and_closes_it(
        self, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, data: bytes
    ):
        record = put_classifier(world.store, name="spam")
        world.store.put(object_keys.weights("acme", record.id, record.latest.file), data)
        opened = self._watch(world, monkeypatch)

        answer = client.get("/v1/classifiers/spam/export")

        assert_problem(answer, 500, "INTERNAL_ERROR")
        assert [stream.closed for stream in opened] == [True]

    def test_of_weights_that_are_gone_is_not_found(self, client: FlaskClient, world: World):
        record = put_classifier(world.store, name="spam")
        world.store.delete(object_keys.weights("acme", record.id, record.latest.file))

        assert_problem(client.get("/v1/classifiers/spam/export"), 404, "RESOURCE_NOT_FOUND")

    def _watch(self, world: World, monkeypatch: pytest.MonkeyPatch) -> list[BinaryIO]:
        """The streams that are opened from now on."""
        opened: list[BinaryIO] = []

        def open_(name: str, *, start: int, end: int) -> BinaryIO:
            opened.append(io.BytesIO(world.store.get(name).data[start:end]))
            return opened[-1]

        monkeypatch.setattr(world.store, "open", open_)
        return opened


class TestImport:
    def test_makes_a_classifier(self, client: FlaskClient, send: Callable):
        answer = send(name="spam", description="of mails", access="public", keep_examples="true")

        said = answer.get_json()
        assert answer.status_code == 200, said
        TrainAnswer.model_validate(said)
        assert said["version"] == 1
        made = client.get("/v1/classifiers/spam").get_json()
        assert made["classifier_id"] == said["classifier_id"]
        assert (made["description"], made["access"], made["made_by"]) == (
            *("of mails", "public"),
            "import",
        )
        assert made["keep_examples"] is True
        assert made["metrics"] is None

    def test_hands_the_bytes_to_the_worker_beside_its_job(self, world: World, send: Callable):
        world.worker.asleep = True
        data = classifier_file(MANY)

        job = send(data, headers={"Prefer": "respond-async"}).get_json()

        assert world.store.get(object_keys.upload("acme", job["id"])).data == data

    @pytest.mark.parametrize("model", ["tiny", "toy"])
    def test_may_say_which_model_the_file_must_be_of(self, send: Callable, model: str):
        assert send(model=model).status_code == 200
        assert send(classifier_file(model="toy"), model=model).status_code == 200

    def test_of_another_model_is_refused(self, world: World, send: Callable):
        answer = send(model="absent")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="model", says="tiny, not absent")
        assert uploads(world) == []

    @pytest.mark.parametrize(
        ("data", "query"), [(weights_file(model="big"), {}), (weights_file(), {"model": "big"})]
    )
    def test_of_a_model_that_is_not_offered_is_refused(
        self, send: Callable, data: bytes, query: dict[str, str]
    ):
        assert_problem(send(data, **query), 400, ModelNotFound.code, field="model", says="Known")

    def test_of_a_model_that_is_not_offered_names_it(self, send: Callable):
        answer = send(weights_file(model="tinny"))

        says = "the file is of 'tinny': no such model; did you mean tiny? Known models: "
        assert_problem(answer, 400, ModelNotFound.code, field="model", says=says)

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "is empty"),
            (b"abc", "is not a safetensors file"),
            (b"\0" * 100, "is not a safetensors file"),
            (b"\xff" * 100, "is not a safetensors file"),
            ((50).to_bytes(8, "little") + b"{", "its header is not JSON"),
            ((4).to_bytes(8, "little") + b"abcd", "its header is not JSON"),
            ((2).to_bytes(8, "little") + b"\xff\xff", "its header is not JSON"),
            ((2).to_bytes(8, "little") + b"[]", "is not a classifier"),
            ((200_000).to_bytes(8, "little") + b"[" * 200_000, "its header is not JSON"),
            (safetensors(None), "is not a classifier"),
            (safetensors({"format": "pt"}), "is not a classifier"),
            (safetensors("pigeonhole"), "is not a classifier"),
            (safetensors({"pigeonhole": 1}), "is not a classifier"),
            (safetensors({"pigeonhole": "no JSON"}), "its header is not JSON"),
            (safetensors({"pigeonhole": "[]"}), "has an invalid classifier"),
            (weights_file(schema=2), "this version supports 1"),
            (weights_file(model=None), "model is missing"),
            (weights_file(labels="p"), "labels must be a list"),
            (weights_file(dimensions=0), "dimensions must be at least 1"),
        ],
    )
    def test_of_what_is_no_file_of_ours_is_refused(
        self, world: World, send: Callable, data: bytes, says: str
    ):
        answer = send(data)

        assert_problem(answer, 422, "VALIDATION_ERROR", field="file", says=says)
        assert uploads(world) == []

    def test_of_more_labels_than_allowed_is_refused(self, make: Callable[..., World]):
        client = make(max_classifier_labels=2).client()

        answer = client.post(IMPORT, data=weights_file(labels=["a", "b", "c"]))

        assert_problem(answer, 400, "INPUT_LABEL_LIMIT_EXCEEDED")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"name": "a b"}, "name"),
            ({"name": ""}, "name"),
            ({"access": "all"}, "access"),
            ({"keep_examples": "perhaps"}, "keep_examples"),
            ({"description": "x" * 2001}, "description"),
            ({"nmae": "spam"}, "nmae"),
        ],
    )
    def test_with_a_wrong_word_in_the_query_is_refused(
        self, world: World, send: Callable, query: dict[str, str], field: str
    ):
        assert_problem(send(**query), 422, "VALIDATION_ERROR", field=field)
        assert uploads(world) == []

    def test_of_a_name_that_is_taken_is_a_conflict_and_leaves_nothing(
        self, world: World, send: Callable
    ):
        put_classifier(world.store, name="spam")

        assert_problem(send(name="spam"), 409, "CONFLICT_RESOURCE_BUSY", field="name")
        assert uploads(world) == []

    def test_of_one_too_many_is_refused_and_leaves_nothing(self, make: Callable[..., World]):
        world = make(max_classifiers=1)
        put_classifier(world.store)

        answer = world.client().post(IMPORT, data=weights_file())

        assert_problem(answer, 403, "AUTHZ_RESOURCE_LIMIT_EXCEEDED", says="max_classifiers")
        assert uploads(world) == []

    @pytest.mark.parametrize("chunked", [False, True])
    def test_of_too_many_bytes_is_refused_and_leaves_nothing(
        self, make: Callable[..., World], chunked: bool
    ):
        world = make(max_import_bytes=2048)
        data = weights_file(arrays=bytes(100_000))
        how: dict[str, Any] = {"data": data}
        if chunked:
            how = {
                "input_stream": io.BytesIO(data),
                "headers": {"Transfer-Encoding": "chunked"},
                "environ_overrides": {"wsgi.input_terminated": True},
            }

        answer = world.client().post(IMPORT, **how)

        assert_problem(answer, 413, "VALIDATION_ERROR", field="body", says="at most 2048 bytes")
        assert uploads(world) == []

    def test_in_chunks_is_whole(self, client: FlaskClient):
        answer = client.post(
            IMPORT,
            input_stream=io.BytesIO(classifier_file(MANY)),
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )

        assert answer.status_code == 200

    def test_of_a_body_that_ends_early_is_refused(self, client: FlaskClient, world: World):
        data = weights_file(arrays=bytes(1000))

        answer = client.post(
            IMPORT,
            input_stream=io.BytesIO(data),
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(data) + 1)},
        )

        assert_problem(answer, 422, "VALIDATION_ERROR", field="body", says="ended after")
        assert uploads(world) == []

    def test_may_be_a_job(self, client: FlaskClient, world: World, send: Callable):
        world.worker.asleep = True

        answer = send(headers={"Prefer": "respond-async"})

        job = answer.get_json()
        assert (answer.status_code, job["kind"]) == (202, "import")
        assert uploads(world) == [object_keys.upload("acme", job["id"])]

    def test_with_the_same_key_is_done_once(self, client: FlaskClient, world: World):
        def send(data: bytes, **query: str) -> TestResponse:
            return client.post(
                IMPORT, data=data, query_string=query, headers={"Idempotency-Key": "k"}
            )

        first = send(classifier_file(), name="spam")
        again = send(classifier_file(), name="spam")

        assert first.status_code == 200
        assert first.get_json() == again.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(uploads(world)) <= 1
        assert len(client.get("/v1/classifiers").get_json()) == 1
        for other in (send(classifier_file(), name="ham"), send(classifier_file(examples=2))):
            assert_problem(other, 422, "VALIDATION_ERROR", field="Idempotency-Key")
        assert len(uploads(world)) <= 1

    @pytest.mark.parametrize("fields_first", [True, False])
    def test_may_be_a_form(self, client: FlaskClient, world: World, fields_first: bool):
        fields = {"name": "spam", "keep_examples": "true", "description": ""}
        file = {"file": (io.BytesIO(classifier_file(MANY)), "x.safetensors")}
        form = {**fields, **file} if fields_first else {**file, **fields}

        answer = client.post(f"{IMPORT}?access=public", data=form)

        assert answer.status_code == 200, answer.get_json()
        made = client.get("/v1/classifiers/spam").get_json()
        assert (made["access"], made["keep_examples"]) == ("public", True)
        assert client.get("/v1/classifiers/spam/export").data == classifier_file(MANY)

    def test_as_a_form_is_the_same_call(self, client: FlaskClient):
        form = {"name": "spam", "file": (io.BytesIO(classifier_file()), "x")}

        first = client.post(IMPORT, data=form, headers={"Idempotency-Key": "k"})
        again = client.post(
            f"{IMPORT}?name=spam", data=classifier_file(), headers={"Idempotency-Key": "k"}
        )

        assert first.get_json() == again.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"

    @pytest.mark.parametrize(
        ("form", "status", "field", "says"),
        [
            ({"name": "spam"}, 422, "file", "is missing: send it as this part"),
            ({"file": "no file"}, 422, "file", "is missing: give it a filename"),
            ({"file": (b"abc", "x")}, 422, "file", "is not a safetensors file"),
            ({"file": (b"", "x")}, 422, "file", "is empty"),
            ({"file": (weights_file(), "x"), "nmae": "y"}, 422, "nmae", "unknown field"),
            ({"file": (weights_file(), "x"), "name": "a b"}, 422, "name", "without spaces"),
            ({"file": (weights_file(), "x"), "access": "private"}, 422, "access", "send it once"),
            ({"file": (weights_file(), "x"), "model": "absent"}, 422, "model", "tiny, not absent"),
            ({"file": (bytes(5000), "x")}, 422, "file", "is not a safetensors file"),
            ({"file": (weights_file(arrays=bytes(5000)), "x")}, 413, "body", "at most 2048 bytes"),
        ],
    )
    def test_by_a_wrong_form_is_refused_and_leaves_nothing(
        self, make: Callable[..., World], form: dict[str, Any], status: int, field: str, says: str
    ):
        world = make(max_import_bytes=2048)
        data = {
            name: (io.BytesIO(said[0]), said[1]) if isinstance(said, tuple) else said
            for name, said in form.items()
        }

        answer = world.client().post(
            f"{IMPORT}?access=public", data=data, content_type="multipart/form-data"
        )

        assert_problem(answer, status, "VALIDATION_ERROR", field=field, says=says)
        assert uploads(world) == []

    def test_by_a_form_that_ends_early_is_refused(self, client: FlaskClient, world: World):
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'

        answer = client.post(
            IMPORT, data=head + weights_file(), content_type="multipart/form-data; boundary=x"
        )

        assert_problem(answer, 422, "VALIDATION_ERROR", field="body", says="ends early")
        assert uploads(world) == []

    def test_whose_job_fails_says_why(self, world: World, send: Callable):
        world.worker.error = NotFound("the upload has gone")

        assert_problem(send(), 404, "RESOURCE_NOT_FOUND", says="the upload has gone")

    def test_waits_only_where_a_slot_is_free(self, make: Callable[..., World]):
        world = make(api_threads=RESERVED_THREADS + 1, request_timeout_s=60.0)
        world.worker.asleep = True
        waiting = threading.Thread(target=world.client().post, args=(IMPORT,), kwargs=FILE)
        waiting.start()
        while not uploads(world):
            time.sleep(0.01)

        answer = world.client().post(IMPORT, **FILE)

        assert_problem(answer, 429, "RATE_CONCURRENCY_LIMIT_EXCEEDED")
        world.worker.asleep = False
        world.worker.drain("cpu.train.tiny")
        waiting.join()

    @pytest.mark.slow
    def test_that_takes_too_long_goes_on_as_a_job(self, world: World, send: Callable):
        world.worker.asleep = True

        answer = send()

        assert answer.status_code == 202
        assert answer.headers["Location"].startswith("/v1/jobs/job_")
