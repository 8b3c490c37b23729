"""/v1/uploads, as the OpenAI API has it, and parts that go straight to the object store."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from api.schemas.openai import upload as wire
from api.schemas.openai.upload import UploadObject, UploadPart, UploadPartUrls
from shared import ids, object_keys
from shared.batches import UPLOAD_RETENTION_S
from shared.errors import StoreUnavailable
from tests.api.conftest import World, make_world
from tests.problems import assert_openai_error

UNKNOWN = ids.upload_id(1, 1)
PIECES = [b'{"text": "a"}\n', b'{"te', b'xt": "b"}\n']
WHOLE = b"".join(PIECES)
NEW: dict[str, Any] = {
    "bytes": len(WHOLE),
    "filename": "rows.jsonl",
    "mime_type": "application/jsonl",
    "purpose": "batch",
}


class Sender:
    """A client that sends uploads."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def new(self, **said: Any) -> TestResponse:
        body = {key: value for key, value in {**NEW, **said}.items() if value is not ...}
        return self.client.post("/v1/uploads", json=body)

    def begin(self, **said: Any) -> str:
        return str(self.new(**said).get_json()["id"])

    def part(self, upload: str, data: bytes = WHOLE, name: str = "data") -> TestResponse:
        boundary, sent = encode_multipart({name: FileStorage(io.BytesIO(data), "upload")})
        content_type = f"multipart/form-data; boundary={boundary}"
        path = f"/v1/uploads/{upload}/parts"
        return self.client.post(path, data=sent, content_type=content_type)

    def parts(self, upload: str, pieces: list[bytes] = PIECES) -> list[str]:
        return [self.part(upload, piece).get_json()["id"] for piece in pieces]

    def urls(self, upload: str, count: object = 2) -> TestResponse:
        return self.client.post(f"/v1/uploads/{upload}/part_urls", json={"count": count})

    def complete(self, upload: str, part_ids: object, **said: Any) -> TestResponse:
        body = {"part_ids": part_ids, **said}
        return self.client.post(f"/v1/uploads/{upload}/complete", json=body)

    def cancel(self, upload: str) -> TestResponse:
        return self.client.post(f"/v1/uploads/{upload}/cancel")


@pytest.fixture
def sender(client: FlaskClient) -> Sender:
    return Sender(client)


def left(world: World) -> list[str]:
    """Bytes on the store."""
    return [name for name in world.store.objects if "/parts/" in name or "/content" in name]


class TestCompleting:
    def test_makes_a_file_of_the_parts_in_the_order_asked(
        self, sender: Sender, client: FlaskClient, world: World
    ):
        upload = sender.new().get_json()
        second, third, first = sender.parts(upload["id"], [PIECES[1], PIECES[2], PIECES[0]])

        answer = sender.complete(upload["id"], [first, second, third])

        assert answer.status_code == 200, answer.data
        ended = answer.get_json()
        for each in (upload, ended):
            UploadObject.model_validate(each, strict=True)
        assert upload == {
            "id": upload["id"],
            "object": "upload",
            "bytes": len(WHOLE),
            "created_at": upload["created_at"],
            "expires_at": upload["created_at"] + 86400,
            "filename": "rows.jsonl",
            "purpose": "batch",
            "status": "pending",
            "file": None,
        }
        assert ended == {**upload, "status": "completed", "file": ended["file"]}
        file = ended["file"]
        assert client.get(f"/v1/files/{file['id']}").get_json() == file
        assert client.get(f"/v1/files/{file['id']}/content").data == WHOLE
        assert (file["bytes"], file["filename"], file["purpose"]) == (
            len(WHOLE),
            "rows.jsonl",
            "batch",
        )
        assert file["expires_at"] == file["created_at"] + 30 * 86400
        assert left(world) == [object_keys.file_content("acme", file["id"])]

    def test_keeps_the_file_as_long_as_is_asked(self, sender: Sender):
        upload = sender.begin(expires_after={"anchor": "created_at", "seconds": 7200})

        file = sender.complete(upload, sender.parts(upload)).get_json()["file"]

        assert file["expires_at"] == file["created_at"] + 7200

    def test_leaves_out_parts_that_are_not_named(self, sender: Sender, world: World):
        upload = sender.begin()
        sent = sender.parts(upload, [b"a part that was sent again", *PIECES])

        assert sender.complete(upload, sent[1:]).status_code == 200
        assert len(left(world)) == 1

    def test_asked_again_answers_the_same(self, sender: Sender, world: World):
        upload = sender.begin()
        parts = sender.parts(upload)

        first, again = sender.complete(upload, parts), sender.complete(upload, parts)

        assert again.get_json() == first.get_json()
        assert len(left(world)) == 1
        assert_openai_error(sender.complete(upload, parts[:1]), 409, says="is completed")

    def test_compares_the_md5(self, sender: Sender):
        upload = sender.begin()
        parts = sender.parts(upload)
        md5 = hashlib.md5(WHOLE, usedforsecurity=False).hexdigest()

        wrong = sender.complete(upload, parts, md5=md5[::-1])
        right = sender.complete(upload, parts, md5=md5.upper())

        assert_openai_error(wrong, 400, param="md5")
        assert right.status_code == 200

    @pytest.mark.parametrize(
        ("announced", "says"),
        [(len(WHOLE) + 1, f"have {len(WHOLE)} of the"), (len(WHOLE) - 1, "more than the")],
    )
    def test_of_another_size_is_refused_and_leaves_the_upload(
        self, sender: Sender, world: World, announced: int, says: str
    ):
        upload = sender.begin(bytes=announced)
        parts = sender.parts(upload)

        assert_openai_error(sender.complete(upload, parts), 400, param="part_ids", says=says)
        assert len(left(world)) == 3
        assert not list(world.store.list("files/"))
        assert sender.part(upload, b"x").status_code == 200

    def test_names_the_part_that_is_missing(self, sender: Sender):
        upload, other = sender.begin(), sender.begin()
        parts, theirs = sender.parts(upload), sender.parts(other)
        for wrong in ("", "part_", "../upload.json", ids.part_id(), theirs[0]):
            answer = sender.complete(upload, [parts[0], wrong])
            assert_openai_error(answer, 400, param="part_ids[1]", says="not a part of this upload")
        answer = sender.complete(upload, [*parts, parts[0]])
        assert_openai_error(answer, 400, param="part_ids[3]", says="twice")

    @pytest.mark.parametrize("part_ids", [[], None, "part_1", [1], ["x"] * 10_001])
    def test_of_no_list_of_parts_is_refused(self, sender: Sender, part_ids: object):
        answer = sender.complete(sender.begin(), part_ids)

        assert answer.get_json()["error"]["param"].startswith("part_ids")
        assert_openai_error(answer, 400)

    def test_by_two_at_once_makes_one_file(
        self, sender: Sender, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
    ):
        upload = sender.begin()
        parts = sender.parts(upload)
        put, inner = world.store.put, []

        def overtaken(name: str, data: Any, **conditions: Any) -> str:
            if name.endswith("/file.json") and not inner:
                inner.append(name)
                inner.append(sender.complete(upload, parts))
            return put(name, data, **conditions)

        monkeypatch.setattr(world.store, "put", overtaken)
        outer = sender.complete(upload, parts)

        assert inner[1].status_code == 200
        assert_openai_error(outer, 409, says="send the request again")
        assert sender.complete(upload, parts).get_json() == inner[1].get_json()
        (file,) = client.get("/v1/files").get_json()["data"]
        assert file == inner[1].get_json()["file"]
        assert len(left(world)) == 1

    @pytest.mark.parametrize("written", [False, True])
    def test_with_the_store_away_can_be_repeated(
        self,
        sender: Sender,
        client: FlaskClient,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        written: bool,
    ):
        upload = sender.begin()
        parts = sender.parts(upload)
        put = world.store.put

        def away(name: str, data: Any, **conditions: Any) -> str:
            if name.endswith("/upload.json"):
                if written:
                    put(name, data, **conditions)
                raise StoreUnavailable("the object store is away")
            return put(name, data, **conditions)

        with monkeypatch.context() as patched:
            patched.setattr(world.store, "put", away)
            assert_openai_error(sender.complete(upload, parts), 503)
        file = sender.complete(upload, parts).get_json()["file"]

        assert client.get(f"/v1/files/{file['id']}/content").data == WHOLE


class TestParts:
    def test_are_answered_with_their_ids(self, sender: Sender):
        upload = sender.begin()

        part = sender.part(upload).get_json()

        UploadPart.model_validate(part, strict=True)
        assert ids.is_part_id(part["id"])
        assert part["upload_id"] == upload

    def test_are_bounded(self, sender: Sender, world: World, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.routes.uploads.MAX_PART_BYTES", 20)
        upload = sender.begin(bytes=1000)

        assert sender.part(upload, b"x" * 20).status_code == 200
        assert_openai_error(sender.part(upload, b"x" * 21), 413, param="data", says="20 bytes")
        assert len(left(world)) == 1

    def test_are_no_longer_than_the_whole(self, sender: Sender):
        assert_openai_error(sender.part(sender.begin(bytes=3), b"1234"), 413, param="data")

    def test_are_sent_as_the_part_data(self, sender: Sender, client: FlaskClient, world: World):
        upload = sender.begin()

        assert_openai_error(sender.part(upload, name="file"), 400, param="data", says="is missing")
        answer = client.post(f"/v1/uploads/{upload}/parts", json={"data": "x"})
        assert_openai_error(answer, 400, param="Content-Type", says="as the part `data`")
        assert left(world) == []

    def test_cut_short_leave_nothing(self, client: FlaskClient, sender: Sender, world: World):
        path = f"/v1/uploads/{sender.begin()}/parts"
        sent = b'--x\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\nabc'
        for end in (b"", b"\r\n--x\r\nbroken"):
            answer = client.post(
                path, data=sent + end, content_type="multipart/form-data; boundary=x"
            )
            assert_openai_error(answer, 400)
        assert left(world) == []


class TestPartUrls:
    def test_take_parts_that_complete_names(
        self, sender: Sender, client: FlaskClient, world: World
    ):
        world.store.presigns = True
        upload = sender.begin()

        answer = sender.urls(upload, 3)

        assert answer.status_code == 200
        UploadPartUrls.model_validate(answer.get_json(), strict=True)
        made = answer.get_json()["data"]
        assert len({each["url"] for each in made}) == 3
        assert {each["expires_at"] - each["created_at"] for each in made} == {3600}
        for each, piece in zip(made, PIECES, strict=True):
            world.store.put(each["url"].split("store.test/")[1].split("?")[0], piece)
        file = sender.complete(upload, [each["id"] for each in made]).get_json()["file"]
        assert client.get(f"/v1/files/{file['id']}/content").data == WHOLE

    def test_that_took_nothing_are_missing_parts(self, sender: Sender, world: World):
        world.store.presigns = True
        upload = sender.begin()
        (part,) = sender.urls(upload, 1).get_json()["data"]

        answer = sender.complete(upload, [part["id"]])

        assert_openai_error(answer, 400, param="part_ids[0]", says="not sent yet")

    def test_end_with_the_upload(self):
        now = 1_000_000.0
        world = make_world(clock=lambda: now)
        world.store.presigns = True
        sender = Sender(world.client())
        upload = sender.begin()
        now += UPLOAD_RETENTION_S - 60

        (part,) = sender.urls(upload, 1).get_json()["data"]

        assert part["url"].endswith("?for=60")
        assert part["expires_at"] - part["created_at"] == 60

    def test_of_a_directory_are_refused_with_what_to_do(self, sender: Sender):
        upload = sender.begin()

        answer = sender.urls(upload)

        assert_openai_error(answer, 400, says=f"send the parts to /v1/uploads/{upload}/parts")

    @pytest.mark.parametrize("count", [0, -1, wire.MAX_URLS + 1, "3", None, 1.5])
    def test_of_a_wrong_number_are_refused(self, sender: Sender, count: object):
        assert_openai_error(sender.urls(sender.begin(), count), 400, param="count")


class TestBeginning:
    @pytest.mark.parametrize(
        ("said", "param"),
        [
            ({"bytes": 0}, "bytes"),
            ({"bytes": "10"}, "bytes"),
            ({"bytes": 6 * 2**30}, "bytes"),
            ({"bytes": ...}, "bytes"),
            ({"filename": ...}, "filename"),
            ({"purpose": ...}, "purpose"),
            ({"purpose": "fine-tune"}, "purpose"),
            ({"purpose": 3}, "purpose"),
            ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
            ({"expires_after": {"anchor": "now", "seconds": 7200}}, "expires_after.anchor"),
        ],
    )
    def test_of_a_wrong_file_is_refused(
        self, sender: Sender, world: World, said: dict[str, Any], param: str
    ):
        assert_openai_error(sender.new(**said), 400, param=param)
        assert not list(world.store.list("uploads/"))

    def test_does_without_what_is_not_needed(self, sender: Sender):
        assert sender.new(mime_type=...).status_code == 200

    def test_names_the_file_by_the_last_part_of_its_name(self, sender: Sender):
        assert sender.new(filename="../../größe.csv").get_json()["filename"] == "größe.csv"


class TestCancelling:
    def test_deletes_the_parts(self, sender: Sender, world: World):
        upload = sender.begin()
        parts = sender.parts(upload)

        answer = sender.cancel(upload)

        UploadObject.model_validate(answer.get_json(), strict=True)
        assert answer.get_json()["status"] == "cancelled"
        assert left(world) == []
        assert sender.cancel(upload).get_json() == answer.get_json()
        assert_openai_error(sender.part(upload), 409, says="is cancelled")
        assert_openai_error(sender.urls(upload), 409, says="is cancelled")
        assert_openai_error(sender.complete(upload, parts), 409, says="is cancelled")

    def test_comes_too_late_for_one_that_is_completed(self, sender: Sender, client: FlaskClient):
        upload = sender.begin()
        file = sender.complete(upload, sender.parts(upload)).get_json()["file"]

        assert_openai_error(sender.cancel(upload), 409, says="is completed")
        assert_openai_error(sender.part(upload), 409, says="is completed")
        assert client.get(f"/v1/files/{file['id']}").status_code == 200


CALLS: list[Callable[[Sender, str], TestResponse]] = [
    lambda sender, upload: sender.part(upload),
    lambda sender, upload: sender.urls(upload),
    lambda sender, upload: sender.complete(upload, ["x"]),
    lambda sender, upload: sender.cancel(upload),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("upload", [UNKNOWN, "upload_", "..", "x" * 300])
def test_an_unknown_upload(sender: Sender, call: Callable[..., TestResponse], upload: str):
    assert_openai_error(call(sender, upload), 404)


@pytest.mark.parametrize("call", CALLS)
def test_an_upload_of_another_account_is_unknown(
    sender: Sender, world: World, call: Callable[..., TestResponse]
):
    upload = sender.begin()

    assert_openai_error(call(Sender(world.client(account="other")), upload), 404)


@pytest.mark.parametrize("call", CALLS)
def test_an_upload_that_has_expired_is_gone(call: Callable[..., TestResponse]):
    now = 1_000_000.0
    world = make_world(clock=lambda: now)
    sender = Sender(world.client())
    upload = sender.begin()
    sender.part(upload)

    now += UPLOAD_RETENTION_S

    assert_openai_error(call(sender, upload), 404, says="may have expired")


def test_another_scope_is_refused(world: World):
    assert_openai_error(Sender(world.client("jobs")).new(), 403)
