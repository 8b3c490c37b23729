"""Calls with `cache`: equal items are answered once by a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from shared.errors import TokenLimitExceeded
from shared.member_reports import WorkerReport
from shared.messages import encode
from tests.api.conftest import SETTINGS, World, make_world
from tests.problems import assert_problem

Post = Callable[..., TestResponse]
TEXTS = [f"text number {i}" for i in range(10)]


def computed(world: World) -> list[list[str]]:
    """The texts that each call sent to the worker; those that the cache answered are empty."""
    return [[item.text for item in call.body.items] for call in world.worker.calls]


class TestHitAndMiss:
    def test_an_equal_call_is_answered_from_the_cache(self, post: Post, world: World):
        miss, hit = post(cache=True), post(cache=True)

        assert len(world.worker.calls) == 1
        assert (miss.headers["X-Cache"], hit.headers["X-Cache"]) == ("MISS", "HIT")
        assert len(hit.headers["X-Cache-Key"]) == 16
        assert miss.headers["X-Cache-Key"] == hit.headers["X-Cache-Key"]
        assert "X-Cache-Age" not in miss.headers
        assert 0 <= int(hit.headers["X-Cache-Age"]) < 60
        before, after = miss.get_json(), hit.get_json()
        assert [row.pop("cached") for row in before["data"]] == [False, False]
        assert [row.pop("cached") for row in after["data"]] == [True, True]
        assert before["usage"]["total_tokens"] == 4
        assert after["usage"] == {"total_tokens": 0, "prompt_tokens": 0}
        for old, new in zip(before["data"], after["data"], strict=True):
            assert new["prediction"] == old["prediction"]
            assert [p["label"] for p in new["predictions"]] == ["x", "y"]
            for was, now in zip(old["predictions"], new["predictions"], strict=True):
                assert now["score"] == pytest.approx(was["score"], abs=1e-6)

    @pytest.mark.parametrize("changes", [{}, {"cache": False}, {"cache": None}])
    def test_the_cache_is_off_unless_the_body_says_so(
        self, post: Post, world: World, changes: dict[str, object]
    ):
        answers = [post(**changes), post(**changes)]

        assert len(world.worker.calls) == 2
        assert not world.cache.entries
        for answer in answers:
            assert "X-Cache" not in answer.headers
            assert "cached" not in answer.get_json()["data"][0]

    def test_only_items_that_are_not_cached_are_computed(self, post: Post, world: World):
        post(input=TEXTS[:8], cache=True)
        answer = post(input=TEXTS, cache=True)

        assert computed(world)[1] == [""] * 8 + TEXTS[8:]
        assert world.worker.calls[1].body.cached == tuple(range(8))
        assert answer.headers["X-Cache"] == "MISS"
        rows = answer.get_json()["data"]
        assert [row["cached"] for row in rows] == [True] * 8 + [False] * 2
        plain = post(input=TEXTS).get_json()["data"]
        assert [row["prediction"] for row in rows] == [row["prediction"] for row in plain]

    def test_order_and_repetition_of_items_do_not_matter(self, post: Post, world: World):
        post(input=TEXTS[:2], cache=True)
        answer = post(input=[TEXTS[1], TEXTS[0], TEXTS[1]], cache=True)

        assert answer.headers["X-Cache"] == "HIT"
        plain = post(input=[TEXTS[1], TEXTS[0], TEXTS[1]]).get_json()["data"]
        predictions = [row["prediction"] for row in answer.get_json()["data"]]
        assert predictions == [row["prediction"] for row in plain]

    @pytest.mark.parametrize(
        "changes",
        [
            {"labels": ["y", "x"]},
            {"labels": ["x", "z"]},
            {"labels": {"g": ["x", "y"]}},
            {"descriptions": {"x": "the letter"}},
            {"template": "about {label}"},
            {"multi_label": True},
            {"threshold": 0.1},
            {"top_k": 1},
            {"scores": "raw"},
            {"return_uncertainty": True},
            {"input": ["A", "B"]},
        ],
    )
    def test_all_that_decides_about_an_answer_is_in_the_key(
        self, post: Post, changes: dict[str, object]
    ):
        post(cache=True)

        assert post(cache=True, **changes).headers["X-Cache"] == "MISS"

    def test_what_does_not_decide_about_an_answer_is_not(self, post: Post):
        post(cache=True)

        assert post(cache=True, errors="per_item", priority="fast").headers["X-Cache"] == "HIT"

    def test_an_entry_expires(self):
        now = [1e9]
        world = make_world(replace(SETTINGS, cache_ttl_s=60), clock=lambda: now[0])
        client = world.client()
        body = {"input": "a", "labels": ["x", "y"], "cache": True}
        client.post("/v1/classify", json=body)
        now[0] += 59
        hit = client.post("/v1/classify", json=body)
        now[0] += 2

        assert hit.headers["X-Cache-Age"] == "59"
        assert client.post("/v1/classify", json=body).headers["X-Cache"] == "MISS"

    def test_two_accounts_never_share(self, world: World):
        body = {"input": "a", "labels": ["x", "y"], "cache": True}
        answers = [
            world.client(account=account).post("/v1/classify", json=body)
            for account in ("acme", "umbrella")
        ]

        assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "MISS"]
        keys = {answer.headers["X-Cache-Key"] for answer in answers}
        assert len(keys) == 2


class TestClassifiers:
    def test_a_new_version_misses(self, client, world: World):
        trained = client.post(
            "/v1/train",
            json={"input": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]},
        ).get_json()
        body = {"classifier_id": trained["classifier_id"], "input": ["a"], "cache": True}

        first = client.post("/v1/classify", json=body)
        second = client.post("/v1/classify", json=body)
        client.post(
            "/v1/train",
            json={
                "classifier_id": trained["classifier_id"],
                "input": [{"text": "c", "label": "z"}],
            },
        )
        third = client.post("/v1/classify", json=body)

        assert [each.headers["X-Cache"] for each in (first, second, third)] == [
            "MISS",
            "HIT",
            "MISS",
        ]
        assert [p["label"] for p in second.get_json()["data"][0]["predictions"]] == ["x", "y"]
        assert [p["label"] for p in third.get_json()["data"][0]["predictions"]] == ["x", "y", "z"]

    def test_a_deleted_classifier_is_not_found(self, client, train: Post):
        classifier_id = train().get_json()["classifier_id"]
        body = {"classifier_id": classifier_id, "input": ["a"], "cache": True}
        client.post("/v1/classify", json=body)
        client.delete(f"/v1/classifiers/{classifier_id}")

        assert_problem(client.post("/v1/classify", json=body), 404, "RESOURCE_NOT_FOUND")


class TestRevisions:
    @pytest.mark.parametrize("revisions", [["2"], ["1", "2"]])
    def test_a_new_or_a_second_revision_misses(
        self, post: Post, world: World, revisions: list[str]
    ):
        post(cache=True)
        for number, revision in enumerate(revisions):
            report = WorkerReport(
                device="cpu", queues=(), models=("tiny",), revisions={"tiny": revision}
            )
            name = "tiny" if number == 0 else f"tiny{number}"
            world.ledger.report("worker", name, encode(report), ttl_s=60)

        assert post(cache=True).headers["X-Cache"] == "MISS"


class TestFaults:
    def test_a_call_goes_on_without_the_cache(self, post: Post, world: World):
        post(cache=True)
        world.cache.away = True
        answer = post(cache=True)

        assert answer.status_code == 200
        assert "X-Cache" not in answer.headers
        assert "cached" not in answer.get_json()["data"][0]

    def test_an_entry_that_cannot_be_read_is_a_miss(self, post: Post, world: World):
        post(cache=True)
        for key, (_, *times) in world.cache.entries.items():
            world.cache.entries[key] = (b"\x00broken", *times)

        assert post(cache=True).headers["X-Cache"] == "MISS"
        assert post(cache=True).headers["X-Cache"] == "HIT"

    def test_a_refusal_is_not_cached(self, post: Post, world: World):
        world.worker.error = TokenLimitExceeded("input[1]: has 9000 tokens")
        refused = post(cache=True)
        world.worker.error = None

        assert_problem(refused, 400, "INPUT_TOKEN_LIMIT_EXCEEDED")
        assert post(cache=True).headers["X-Cache"] == "MISS"

    def test_items_that_validation_refused_keep_their_errors(self, post: Post, world: World):
        post(input=["a"], cache=True)
        answer = post(input=["a", " ", "b"], errors="per_item", cache=True)

        assert world.worker.calls[1].body.cached == (0,)
        assert [each.index for each in world.worker.calls[1].body.refused] == [1]
        assert [row["cached"] for row in answer.get_json()["data"]] == [True, False, False]

    def test_with_no_room_for_a_cache_every_call_is_computed(self, make: Callable[..., World]):
        world = make(cache_bytes=0)
        client = world.client()
        body = {"input": "a", "labels": ["x", "y"], "cache": True}

        answers = [client.post("/v1/classify", json=body) for _ in range(2)]

        assert len(world.worker.calls) == 2
        assert all("X-Cache" not in answer.headers for answer in answers)


class TestSecrecy:
    def test_neither_texts_nor_labels_are_in_the_cache(self, post: Post, world: World):
        post(
            input=["confidential"],
            labels=["salaries", "salaries of staff"],
            descriptions={"salaries": "what people earn"},
            cache=True,
        )

        (key, (data, *_)) = next(iter(world.cache.entries.items()))
        for part in (*key[1:], data):
            assert b"confid" not in part
            assert b"salar" not in part
            assert b"earn" not in part

    def test_media_of_an_address_are_not_cached(self, world: World):
        """Another image may lie there tomorrow."""
        from shared.cached_results import keys_of
        from shared.types import ClassifyRequest, Item, Media

        request = ClassifyRequest(
            model="m",
            items=(
                Item(images=(Media(url="https://example.org/a.png"),)),
                Item(images=(Media(data="aGk="),)),
                Item(text="a"),
            ),
        )

        assert keys_of(request, secret=b"s", account="a", revision="1").keys() == {1, 2}


class TestClasser:
    """In this dialect the cache is on unless the body says otherwise."""

    def test_an_equal_text_is_cached(self, client, world: World):
        body = {"text": "a", "labels": ["x", "y"]}
        miss, hit = (client.post("/v1/classify", json=body) for _ in range(2))
        bypass = client.post("/v1/classify", json={**body, "cache": False})

        assert [each.get_json()["cached"] for each in (miss, hit, bypass)] == [False, True, False]
        assert hit.headers["X-Cache"] == "HIT"
        assert (hit.headers["X-Tokens-Used"], hit.get_json()["tokens"]) == ("0", 0)
        assert "X-Cache" not in bypass.headers
        assert len(world.worker.calls) == 2

    def test_only_the_other_texts_are_computed(self, client, world: World):
        body = {"texts": TEXTS[:2], "labels": ["x", "y"]}
        client.post("/v1/tag/batch", json=body)
        answer = client.post("/v1/tag/batch", json={**body, "texts": TEXTS[:3]}).get_json()

        assert [each["cache"]["hit"] for each in answer["results"]] == [True, True, False]
        assert [each["tokens"] > 0 for each in answer["results"]] == [False, False, True]
        assert computed(world)[1] == ["", "", TEXTS[2]]
