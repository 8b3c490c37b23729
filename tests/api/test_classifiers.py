"""What an owner does with classifiers; making, rebuilding and judging them is tested beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.classifier import ClassifierAnswer, ClassifierList, VersionList
from shared import ids, object_keys
from shared.classifier_record import Classifier, with_version
from shared.classifier_store import ClassifierStore
from shared.messages import encode
from tests.api.conftest import World
from tests.classifiers import PROGRESSIVE, a_version, put_classifier, weights_of
from tests.problems import assert_problem

JINA = {
    *("classifier_id", "user_id", "model", "labels", "access", "updated_number", "used_number"),
    *("created_at", "updated_at", "used_at", "is_active", "is_latest", "metadata_"),
}
OURS = {"name", "description", "version", "aliases", "keep_examples"}
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PATCH", "", {"description": "mine now"}),
    ("DELETE", "", None),
    ("GET", "/versions", None),
    ("POST", "/rollback", {"version": 1}),
    ("GET", "/export", None),
    ("POST", "/rebuild", {"model": "tiny"}),
    ("DELETE", "/examples", None),
    ("POST", "/evaluate", {"input": [{"text": "a", "label": "x"}]}),
]
NAMES = [f"{method} {path}" for method, path, _ in CALLS]


@pytest.fixture
def put(world: World) -> Callable[..., Classifier]:
    """Puts a classifier on the store of the world."""
    return lambda **said: put_classifier(world.store, **said)


def train(world: World, record: Classifier, *, keep: int = 20) -> Classifier:
    """One more version, without the words that stand for its weights."""

    def more(now: Classifier) -> Classifier:
        version = a_version(now.latest.number + 1)
        report = ClassifierStore(store=world.store).report(now, now.latest.file)
        world.store.put(object_keys.report(now.account, now.id, version.file), encode(report))
        return with_version(now, version, labels=now.labels, keep=keep)

    return ClassifierStore(store=world.store).change(record.account, record.id, more)


class TestListing:
    def test_is_a_bare_list_newest_first(self, client: FlaskClient, put: Callable):
        older, newest, oldest = (put(hours=hours, versions=2) for hours in (1, 2, 0))
        put(account="other", hours=3)

        rows = client.get("/v1/classifiers").get_json()

        ClassifierList.model_validate(rows)
        assert [row["classifier_id"] for row in rows] == [newest.id, older.id, oldest.id]

    def test_a_row_has_the_fields_of_the_vendor_and_ours(self, client: FlaskClient, put: Callable):
        record = put(name="spam", versions=3, access="public")

        (row,) = client.get("/v1/classifiers").get_json()

        assert set(row) == JINA | OURS
        assert row == {
            "classifier_id": record.id,
            "user_id": "acme",
            "model": "tiny",
            "labels": ["x", "y"],
            "access": "public",
            "updated_number": 3,
            "used_number": 0,
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T15:00:00Z",
            "used_at": None,
            "is_active": True,
            "is_latest": True,
            "metadata_": {},
            "name": "spam",
            "description": "",
            "version": 3,
            "aliases": {},
            "keep_examples": False,
        }

    def test_of_none_is_empty(self, client: FlaskClient):
        assert client.get("/v1/classifiers").get_json() == []

    @pytest.mark.parametrize("data", [b"", b"{}", b'{"action": "list"}', b"no JSON", b"[1]"])
    def test_by_post_is_the_same_whatever_is_sent(
        self, client: FlaskClient, put: Callable, data: bytes
    ):
        put()

        answer = client.post("/v1/classifiers", data=data)

        assert answer.status_code == 200
        assert answer.get_json() == client.get("/v1/classifiers").get_json()

    def test_says_how_often_each_was_asked(self, client: FlaskClient, world: World, put: Callable):
        record = put()
        for _ in range(2):
            client.post("/v1/classify", json={"classifier_id": record.id, "input": "a"})
        world.services.uses.flush()

        (row,) = client.get("/v1/classifiers").get_json()

        assert row["used_number"] == 2
        assert row["used_at"] is not None
        detail = client.get(f"/v1/classifiers/{record.id}").get_json()
        assert (detail["used_number"], detail["used_at"]) == (2, row["used_at"])

    def test_passes_over_what_is_left_of_deleted_ones(
        self, client: FlaskClient, world: World, put: Callable
    ):
        put()
        world.store.put(object_keys.weights("acme", ids.classifier_id(), "1-left"), b"")

        assert len(client.get("/v1/classifiers").get_json()) == 1

    def test_of_many_is_whole(self, client: FlaskClient, put: Callable):
        made = {put(hours=hours).id for hours in range(60)}

        rows = client.get("/v1/classifiers").get_json()

        assert {row["classifier_id"] for row in rows} == made
        assert rows == sorted(rows, key=lambda row: row["created_at"], reverse=True)


class TestAccess:
    @pytest.mark.parametrize(("method", "path", "said"), CALLS, ids=NAMES)
    @pytest.mark.parametrize("access", ["private", "public"])
    def test_others_find_nothing(
        self, world: World, put: Callable, method: str, path: str, said: Any, access: str
    ):
        record = put(name="spam", access=access, versions=2, keep_examples=True)
        before = dict(world.store.objects)
        other = world.client(account="other")

        theirs = other.open(f"/v1/classifiers/{record.id}{path}", method=method, json=said)
        unknown = other.open(
            f"/v1/classifiers/{ids.classifier_id()}{path}", method=method, json=said
        )

        assert_problem(theirs, 404, "RESOURCE_NOT_FOUND", says="no such classifier")
        assert_problem(unknown, 404, "RESOURCE_NOT_FOUND", says="no such classifier")
        assert {name: world.store.objects[name] for name in before} == before

    @pytest.mark.parametrize(("method", "path", "said"), CALLS, ids=NAMES)
    def test_the_owner_is_answered(
        self, client: FlaskClient, put: Callable, method: str, path: str, said: Any
    ):
        put(name="spam", versions=2, keep_examples=True)

        answer = client.open(f"/v1/classifiers/spam{path}", method=method, json=said)

        assert answer.status_code == 200, answer.get_data(as_text=True)

    @pytest.mark.parametrize(
        ("method", "path", "said"),
        [*CALLS, ("POST", "", {}), ("POST", "/import", None)],
    )
    def test_needs_the_scope_to_train(
        self, world: World, put: Callable, method: str, path: str, said: Any
    ):
        put(name="spam")
        place = "/v1/classifiers" + ("/spam" if (method, path) in {c[:2] for c in CALLS} else "")
        url = f"{place}{path}"

        answer = world.client("classify", "jobs").open(url, method=method, json=said)

        assert_problem(answer, 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert_problem(
            world.app.test_client().open(url, method=method, json=said),
            401,
            "AUTH_MISSING_API_KEY",
        )

    @pytest.mark.parametrize(("method", "path", "said"), CALLS, ids=NAMES)
    def test_after_the_end_nothing_is_found(
        self, client: FlaskClient, put: Callable, method: str, path: str, said: Any
    ):
        record = put(name="spam", access="public", versions=2, keep_examples=True)
        client.delete("/v1/classifiers/spam")

        for ref in ("spam", record.id):
            answer = client.open(f"/v1/classifiers/{ref}{path}", method=method, json=said)
            assert_problem(answer, 404, "RESOURCE_NOT_FOUND")

    @pytest.mark.parametrize("ref", ["a@b@c", "a b", "spam@V3", "spam@v0", "x" * 200, "%09"])
    def test_what_is_no_reference_is_refused(self, client: FlaskClient, ref: str):
        answer = client.get(f"/v1/classifiers/{ref}")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id")

    def test_the_store_may_be_away(self, client: FlaskClient, world: World):
        client.get("/v1/classifiers")
        world.store.away = True

        assert_problem(client.get("/v1/classifiers"), 503, "SERVICE_UNAVAILABLE")
        assert_problem(client.get("/v1/classifiers/spam"), 503, "SERVICE_UNAVAILABLE")


class TestOne:
    def test_says_all_that_is_known(self, client: FlaskClient, put: Callable):
        record = put(name="spam", versions=2)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 1}})

        said = client.get("/v1/classifiers/spam").get_json()

        ClassifierAnswer.model_validate(said)
        assert set(said) == set(ClassifierAnswer.model_fields)
        updated_at = said.pop("updated_at")
        assert updated_at > said["created_at"]
        assert said == {
            "classifier_id": record.id,
            "user_id": "acme",
            "name": "spam",
            "description": "",
            "access": "private",
            "keep_examples": False,
            "closed_labels": False,
            "observe": True,
            "version": 2,
            "is_latest": True,
            "made_by": "train",
            "model": "tiny",
            "labels": [{"label": "x", "count": 2}, {"label": "y", "count": 2}],
            "num_samples": 8,
            "metrics": {
                "accuracy": 0.75,
                "log_loss": 0.5,
                "label_strength": 0.5,
                "trust": {"prior": 0.25, "examples": 0.75},
                "learning_curve": [
                    {"examples": 0, "accuracy": 0.0},
                    {"examples": 4, "accuracy": 0.75},
                ],
            },
            "remarks": [
                {
                    "kind": "few_examples",
                    "message": "Label 'x' has only 2 examples: send more of it.",
                    "labels": ["x"],
                    "items": [],
                    "value": 2.0,
                }
            ],
            "aliases": {"champion": 1},
            "versions": client.get("/v1/classifiers/spam/versions").get_json()["data"],
            "used_number": 0,
            "used_at": None,
            "created_at": "2026-01-01T12:00:00Z",
        }

    def test_the_curve_goes_through_all_calls_that_led_to_the_version(
        self, client: FlaskClient, world: World, put: Callable
    ):
        record = put(name="spam", versions=4)
        for version in record.versions:
            before = version.samples - 4
            curve = ((before, 0.5), (before + 3, 0.5 + version.number / 10))
            report = ClassifierStore(store=world.store).report(record, version.file)
            progressive = PROGRESSIVE.model_copy(update={"curve": curve})
            report = report.model_copy(update={"progressive": progressive})
            world.store.put(object_keys.report("acme", record.id, version.file), encode(report))

        def points(ref: str) -> list[int]:
            metrics = client.get(f"/v1/classifiers/{ref}").get_json()["metrics"]
            return [point["examples"] for point in metrics["learning_curve"]]

        assert points("spam") == [0, 3, 4, 7, 8, 11, 12, 15]
        assert points("spam@v2") == [0, 3, 4, 7]
        client.post("/v1/classifiers/spam/rollback", json={"version": 2})
        assert points("spam") == [0, 3, 4, 7]
        world.store.delete(object_keys.report("acme", record.id, record.versions[0].file))
        assert points("spam") == [4, 7]

    @pytest.mark.parametrize(
        ("ref", "version"), [("spam", 3), ("spam@v1", 1), ("spam@v3", 3), ("spam@champion", 2)]
    )
    def test_of_the_version_that_is_meant(
        self, client: FlaskClient, put: Callable, ref: str, version: int
    ):
        record = put(name="spam", versions=3)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 2}})

        for place in (ref, ref.replace("spam", record.id)):
            said = client.get(f"/v1/classifiers/{place}").get_json()
            assert said["version"] == version
            assert said["is_latest"] is (version == 3)
            assert said["labels"][0]["count"] == version

    @pytest.mark.parametrize(
        ("ref", "says"),
        [("spam@v9", "available versions: 1 to 2"), ("spam@best", "no alias 'best'")],
    )
    def test_a_version_that_is_not_there_is_not_found(
        self, client: FlaskClient, put: Callable, ref: str, says: str
    ):
        put(name="spam", versions=2)

        answer = client.get(f"/v1/classifiers/{ref}")

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND", says=says)

    def test_one_may_be_called_import(self, client: FlaskClient, put: Callable):
        record = put(name="import")

        assert client.get("/v1/classifiers/import").get_json()["classifier_id"] == record.id
        assert client.delete("/v1/classifiers/import").status_code == 200

    def test_a_name_of_any_letters_is_found(self, client: FlaskClient, put: Callable):
        record = put(name="größe%20?")

        said = client.get("/v1/classifiers/gr%C3%B6%C3%9Fe%2520%3F").get_json()

        assert said["classifier_id"] == record.id


class TestVersions:
    def test_are_listed_newest_first(self, client: FlaskClient, put: Callable):
        put(name="spam", versions=2)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 1, "best": 1}})

        said = client.get("/v1/classifiers/spam/versions").get_json()

        VersionList.model_validate(said)
        assert said["object"] == "list"
        assert said["data"] == [
            {
                "version": 2,
                "created_at": "2026-01-01T14:00:00Z",
                "made_by": "train",
                "of": None,
                "model": "tiny",
                "samples": 8,
                "label_count": 2,
                "accuracy": 0.75,
                "aliases": [],
                "is_latest": True,
                "candidate": False,
                "promoted_by": None,
                "rejected_by": None,
            },
            {
                "version": 1,
                "created_at": "2026-01-01T13:00:00Z",
                "made_by": "train",
                "of": None,
                "model": "tiny",
                "samples": 4,
                "label_count": 2,
                "accuracy": 0.75,
                "aliases": ["best", "champion"],
                "is_latest": False,
                "candidate": False,
                "promoted_by": None,
                "rejected_by": None,
            },
        ]

    def test_are_of_the_whole_classifier(self, client: FlaskClient, put: Callable):
        put(name="spam")

        answer = client.get("/v1/classifiers/spam@v1/versions")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id")


class TestChange:
    def test_of_each_field_leaves_the_others(self, client: FlaskClient, put: Callable):
        record = put(name="spam", versions=2)
        changes: list[dict[str, Any]] = [
            {"name": "ham"},
            {"description": "of mails"},
            {"access": "public"},
            {"keep_examples": True},
            {"aliases": {"champion": 1}},
        ]

        for said in changes:
            answer = client.patch(f"/v1/classifiers/{record.id}", json=said)
            assert answer.status_code == 200
            for field, value in said.items():
                assert answer.get_json()[field] == value

        (row,) = client.get("/v1/classifiers").get_json()
        assert {field: row[field] for said in changes for field in said} == {
            field: value for said in changes for field, value in said.items()
        }
        assert row["updated_at"] > "2026-01-01T14:00:00Z"
        assert row["version"] == 2

    def test_to_what_it_is_changes_no_time(self, client: FlaskClient, put: Callable):
        put(name="spam", versions=2)

        said = client.patch("/v1/classifiers/spam", json={"name": "spam", "access": "private"})

        assert said.get_json()["updated_at"] == "2026-01-01T14:00:00Z"

    def test_to_public_lets_others_classify_and_back_again_does_not(
        self, client: FlaskClient, world: World, put: Callable
    ):
        record = put(name="spam")
        other = world.client(account="other")

        def status() -> int:
            said = {"classifier_id": record.id, "input": "a"}
            return other.post("/v1/classify", json=said).status_code

        found = [status()]
        for access in ("public", "private", "public"):
            client.patch("/v1/classifiers/spam", json={"access": access})
            found.append(status())

        assert found == [404, 200, 404, 200]
        assert other.get("/v1/classifiers").get_json() == []

    def test_of_the_name(self, client: FlaskClient, put: Callable):
        record = put(name="spam")

        client.patch("/v1/classifiers/spam", json={"name": "ham"})

        assert client.get("/v1/classifiers/ham").get_json()["classifier_id"] == record.id
        assert_problem(client.get("/v1/classifiers/spam"), 404, "RESOURCE_NOT_FOUND")
        assert put(name="spam")

    def test_of_the_name_to_none(self, client: FlaskClient, put: Callable):
        record = put(name="spam")

        said = client.patch("/v1/classifiers/spam", json={"name": None}).get_json()

        assert said["name"] is None
        assert client.get(f"/v1/classifiers/{record.id}").status_code == 200
        assert_problem(client.get("/v1/classifiers/spam"), 404, "RESOURCE_NOT_FOUND")

    def test_to_a_name_that_another_has_is_a_conflict(self, client: FlaskClient, put: Callable):
        put(name="spam")
        put(name="ham")

        answer = client.patch("/v1/classifiers/spam", json={"name": "ham", "description": "new"})

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", field="name", says="'ham'")
        assert client.get("/v1/classifiers/spam").get_json()["description"] == ""

    def test_of_eight_to_one_name_at_once_succeeds_for_one(
        self, client: FlaskClient, world: World, put: Callable
    ):
        made = [put(name=f"n{i}") for i in range(8)]
        clients = [world.client() for _ in made]
        barrier = threading.Barrier(8)
        statuses: list[int] = []

        def rename(index: int) -> None:
            barrier.wait()
            url = f"/v1/classifiers/{made[index].id}"
            statuses.append(clients[index].patch(url, json={"name": "spam"}).status_code)

        threads = [threading.Thread(target=rename, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(statuses) == [200, *[409] * 7]
        names = [row["name"] for row in client.get("/v1/classifiers").get_json()]
        assert names.count("spam") == 1
        assert len(set(names)) == 8

    def test_of_aliases_sets_moves_and_takes_away(self, client: FlaskClient, put: Callable):
        put(name="spam", versions=3)

        def change(aliases: dict[str, int | None]) -> dict[str, int]:
            said = client.patch("/v1/classifiers/spam", json={"aliases": aliases}).get_json()
            found: dict[str, int] = said["aliases"]
            return found

        assert change({"champion": 1, "best": 2}) == {"champion": 1, "best": 2}
        assert change({"champion": 3}) == {"champion": 3, "best": 2}
        assert client.get("/v1/classifiers/spam@champion").get_json()["version"] == 3
        assert change({"champion": None}) == {"best": 2}
        assert_problem(client.get("/v1/classifiers/spam@champion"), 404, "RESOURCE_NOT_FOUND")

    def test_an_alias_keeps_its_version_from_being_trimmed(
        self, client: FlaskClient, world: World, put: Callable
    ):
        record = put(name="spam", versions=3)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 1}})

        train(world, record, keep=2)

        numbers = [
            each["version"]
            for each in client.get("/v1/classifiers/spam/versions").get_json()["data"]
        ]
        assert numbers == [4, 3, 1]
        assert client.get("/v1/classifiers/spam@champion").status_code == 200
        assert_problem(client.get("/v1/classifiers/spam@v2"), 404, "RESOURCE_NOT_FOUND")
        answer = client.patch("/v1/classifiers/spam", json={"aliases": {"best": 2}})
        assert_problem(answer, 422, "VALIDATION_ERROR", field="aliases[best]")

    @pytest.mark.parametrize(
        ("said", "field", "says"),
        [
            ({}, "body", "send at least one of name, description, access, keep_examples, closed"),
            ([], "body", "must be a JSON object"),
            ({"nmae": "ham"}, "nmae", "unknown field"),
            ({"n" * 5000: "ham"}, "n" * 39 + "…", "unknown field"),
            ({"name": ""}, "name", "1 to 128 characters"),
            ({"name": 3}, "name", "must be a string"),
            ({"name": "a b"}, "name", "without spaces"),
            ({"name": ".."}, "name", "dots"),
            ({"name": ids.classifier_id()}, "name", "form of a classifier id"),
            ({"description": "x" * 2001}, "description", "at most 2000"),
            ({"description": None}, "description", "must be a string"),
            ({"access": "secret"}, "access", "must be 'private' or 'public'"),
            ({"keep_examples": "yes"}, "keep_examples", "must be true or false"),
            ({"aliases": {"champion": 9}}, "aliases[champion]", "no version 9"),
            ({"aliases": {"champion": "v1"}}, "aliases[champion]", "must be a whole number"),
            ({"aliases": {"champion": True}}, "aliases[champion]", "must be a whole number"),
            ({"aliases": {"V 1": 1}}, "aliases[V 1]", "must be a name such as 'champion'"),
            ({"aliases": {f"a{i}": 1 for i in range(17)}}, "aliases", "at most 16"),
            ({"aliases": ["champion"]}, "aliases", "must be an object"),
        ],
    )
    def test_that_is_wrong_changes_nothing(
        self, client: FlaskClient, put: Callable, said: Any, field: str, says: str
    ):
        put(name="spam")
        before = client.get("/v1/classifiers/spam").get_json()

        answer = client.patch("/v1/classifiers/spam", json=said)

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field, says=says)
        assert client.get("/v1/classifiers/spam").get_json() == before

    def test_of_a_version_is_refused(self, client: FlaskClient, put: Callable):
        put(name="spam")

        answer = client.patch("/v1/classifiers/spam@v1", json={"description": "x"})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id", says="'@'")

    @pytest.mark.parametrize("data", [b"", b"{", b"no JSON"])
    def test_by_what_is_no_json_is_refused(self, client: FlaskClient, put: Callable, data: bytes):
        put(name="spam")

        answer = client.patch("/v1/classifiers/spam", data=data)

        assert_problem(answer, 422, "VALIDATION_ERROR", field="body")

    def test_by_too_much_is_refused(self, client: FlaskClient, put: Callable):
        put(name="spam")

        answer = client.patch("/v1/classifiers/spam", data=b"x" * 70_000)

        assert_problem(answer, 413, "VALIDATION_ERROR", field="body")


class TestRelabel:
    """A change of labels: a version that a job makes."""

    PATH = "/v1/classifiers/spam"

    def test_renames_merges_and_takes_away(self, client: FlaskClient, put: Callable):
        put(name="spam", labels=("a", "b", "c", "d"))
        client.patch(self.PATH, json={"aliases": {"champion": 1}})

        answer = client.patch(self.PATH, json={"labels": {"a": "b", "c": None, "d": "e"}})

        said = answer.get_json()
        assert answer.status_code == 200, said
        ClassifierAnswer.model_validate(said)
        assert [each["label"] for each in said["labels"]] == ["b", "e"]
        assert (said["version"], said["made_by"], said["is_latest"]) == (2, "relabel", True)
        assert said["aliases"] == {"champion": 1}
        old = client.get(f"{self.PATH}@v1").get_json()
        assert [each["label"] for each in old["labels"]] == ["a", "b", "c", "d"]

    def test_may_be_a_job(self, client: FlaskClient, put: Callable):
        put(name="spam", labels=("a", "b"))
        headers = {"Prefer": "respond-async"}

        answer = client.patch(self.PATH, json={"labels": {"a": "x"}}, headers=headers)

        assert (answer.status_code, answer.get_json()["kind"]) == (202, "relabel")
        assert answer.headers["Location"].endswith(answer.get_json()["id"])

    def test_with_the_same_key_is_done_once(self, client: FlaskClient, put: Callable):
        put(name="spam", labels=("a", "b"))
        headers = {"Idempotency-Key": "once"}

        first, again = (
            client.patch(self.PATH, json={"labels": {"a": "x"}}, headers=headers) for _ in range(2)
        )

        assert first.get_json() == again.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.get_json()["version"] == 2

    @pytest.mark.parametrize(
        ("labels", "status", "code", "says"),
        [
            ({"nope": "x"}, 422, "VALIDATION_ERROR", "labels[nope]"),
            ({"a": "x", "b": "x"}, 400, "INPUT_INVALID_LABELS", "at least 2"),
            ({"a": None}, 400, "INPUT_INVALID_LABELS", "at least 2"),
            ({"a": "a"}, 422, "VALIDATION_ERROR", "changes nothing"),
            ({}, 422, "VALIDATION_ERROR", "changes nothing"),
            ({"a": " \u200b"}, 422, "VALIDATION_ERROR", "must not be empty"),
            ({"a": "x" * 300}, 422, "VALIDATION_ERROR", "256 characters"),
            ({"a": 1}, 422, "VALIDATION_ERROR", "labels[a]"),
            (["a"], 422, "VALIDATION_ERROR", "labels"),
        ],
    )
    def test_that_is_wrong_changes_nothing(
        self, client: FlaskClient, put: Callable, labels: Any, status: int, code: str, says: str
    ):
        put(name="spam", labels=("a", "b"))

        answer = client.patch(self.PATH, json={"labels": labels})

        assert_problem(answer, status, code, says=says)
        assert client.get(self.PATH).get_json()["version"] == 1

    def test_is_sent_by_itself(self, client: FlaskClient, put: Callable):
        put(name="spam", labels=("a", "b"))

        answer = client.patch(self.PATH, json={"labels": {"a": "x"}, "description": "mine"})

        assert_problem(answer, 422, "VALIDATION_ERROR", says="without other fields")

    def test_of_a_version_is_refused(self, client: FlaskClient, put: Callable):
        put(name="spam", labels=("a", "b"))

        answer = client.patch(f"{self.PATH}@v1", json={"labels": {"a": "x"}})

        assert_problem(answer, 422, "VALIDATION_ERROR", says="must not include a version")


class TestDelete:
    def test_leaves_nothing_of_it(self, client: FlaskClient, world: World, put: Callable):
        record = put(name="spam", access="public", versions=3, keep_examples=True)
        other = put(name="ham")

        answer = client.delete("/v1/classifiers/spam")

        assert answer.status_code == 200
        assert set(answer.get_json()) == {"message"}
        assert not any(record.id in name for name in world.store.objects)
        (row,) = client.get("/v1/classifiers").get_json()
        assert row["classifier_id"] == other.id

    def test_frees_the_name(self, client: FlaskClient, put: Callable):
        put(name="spam")

        client.delete("/v1/classifiers/spam")

        assert put(name="spam")

    @pytest.mark.parametrize("ref", ["spam@v1", "spam@champion"])
    def test_of_a_version_alone_is_refused(self, client: FlaskClient, put: Callable, ref: str):
        put(name="spam", versions=2)

        answer = client.delete(f"/v1/classifiers/{ref}")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id")
        assert client.get("/v1/classifiers/spam").status_code == 200


class TestRollback:
    @pytest.mark.parametrize(
        ("ref", "said"),
        [
            ("spam", {"version": 1}),
            ("spam", {"alias": "champion"}),
            ("spam", {"version": 1, "alias": None}),
            ("spam@v1", {}),
            ("spam@v1", None),
            ("spam@champion", None),
        ],
    )
    def test_makes_a_version_that_is_the_old_one_again(
        self, client: FlaskClient, world: World, put: Callable, ref: str, said: Any
    ):
        record = put(name="spam", versions=3)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 1}})

        answer = client.post(f"/v1/classifiers/{ref}/rollback", json=said)

        found = answer.get_json()
        assert answer.status_code == 200, found
        assert (found["version"], found["made_by"], found["is_latest"]) == (4, "rollback", True)
        assert found["labels"] == [{"label": "x", "count": 1}, {"label": "y", "count": 1}]
        assert found["versions"][0]["of"] == 1
        assert [each["version"] for each in found["versions"]] == [4, 3, 2, 1]
        now, _ = ClassifierStore(store=world.store).load("acme", record.id)
        assert now.latest.file == record.versions[0].file
        assert client.get("/v1/classifiers/spam/export").data == weights_of(1)

    def test_brings_the_old_labels_back(self, client: FlaskClient, world: World, put: Callable):
        record = put(name="spam", versions=1)
        ClassifierStore(store=world.store).change(
            "acme",
            record.id,
            lambda now: with_version(now, a_version(2), labels=("x", "y", "z"), keep=20),
        )

        client.post("/v1/classifiers/spam/rollback", json={"version": 1})

        (row,) = client.get("/v1/classifiers").get_json()
        assert row["labels"] == ["x", "y"]

    @pytest.mark.parametrize("said", [{"version": 3}, {"alias": "champion"}])
    def test_to_the_latest_is_a_conflict(self, client: FlaskClient, put: Callable, said: Any):
        put(name="spam", versions=3)
        client.patch("/v1/classifiers/spam", json={"aliases": {"champion": 3}})

        answer = client.post("/v1/classifiers/spam/rollback", json=said)

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="version, 3, is that one")

    def test_to_where_it_was_rolled_back_to_is_a_conflict(self, client: FlaskClient, put: Callable):
        put(name="spam", versions=3)
        client.post("/v1/classifiers/spam/rollback", json={"version": 1})

        answer = client.post("/v1/classifiers/spam/rollback", json={"version": 1})

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="version, 4, is that one")

    @pytest.mark.parametrize("said", [{"version": 1}, {"version": 9}, {"alias": "best"}])
    def test_to_what_is_no_longer_or_never_was_there_is_not_found(
        self, client: FlaskClient, world: World, put: Callable, said: Any
    ):
        train(world, put(name="spam", versions=3), keep=2)

        answer = client.post("/v1/classifiers/spam/rollback", json=said)

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")

    @pytest.mark.parametrize(
        ("ref", "said", "field"),
        [
            ("spam", {}, "version"),
            ("spam", {"version": "3"}, "version"),
            ("spam", {"to": 3}, "to"),
            ("spam", {"version": 1, "alias": "champion"}, "alias"),
            ("spam@v1", {"version": 1}, "version"),
            ("spam@v1", {"alias": "champion"}, "alias"),
            ("spam", [1], "body"),
        ],
    )
    def test_that_is_wrong_is_refused(
        self, client: FlaskClient, put: Callable, ref: str, said: Any, field: str
    ):
        put(name="spam", versions=3)

        answer = client.post(f"/v1/classifiers/{ref}/rollback", json=said)

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)

    def test_with_the_same_key_is_done_once(self, client: FlaskClient, put: Callable):
        put(name="spam", versions=3)

        def roll_back(said: Any) -> Any:
            return client.post(
                "/v1/classifiers/spam/rollback", json=said, headers={"Idempotency-Key": "k"}
            )

        first, again = roll_back({"version": 1}), roll_back({"version": 1})

        assert first.get_json() == again.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert client.get("/v1/classifiers/spam").get_json()["version"] == 4
        assert_problem(roll_back({"version": 2}), 422, "VALIDATION_ERROR", field="Idempotency-Key")

    def test_keeps_as_many_versions_as_are_kept(self, make: Callable[..., World]):
        world = make(versions_kept=2)
        record = put_classifier(world.store, name="spam", versions=3)

        said = world.client().post("/v1/classifiers/spam/rollback", json={"version": 1}).get_json()

        assert [each["version"] for each in said["versions"]] == [4, 3]
        # Version 2 has gone with its files; 1 has gone as well, but its weights are those of 4.
        listed = list(world.store.list(object_keys.versions("acme", record.id)))
        assert len(listed) == 4
        assert world.client().get("/v1/classifiers/spam/export").data == weights_of(1)
