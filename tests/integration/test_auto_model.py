"""`model: "auto"` through a whole service: each text is answered by the model of its language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_batches import ended, lines, upload
from tests.keys import secret_of
from tests.stack import Stack, running_stack, store_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CATALOGUE = """
[auto]
english = "tiny"
multilingual = "wide"
aliases = ["jina-embeddings-v3"]
unsupported = ["ru"]

[[model]]
name = "tiny"
engine = "hashing"

[[model]]
name = "wide"
engine = "hashing"
"""
LABELS = ["red", "粉 色"]
INPUT = ["a red rose", "粉 色 的 花", "", "красная роза", "a red car"]
MODELS = ["tiny", "wide", "tiny", "wide", "tiny"]


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("auto")
    catalogue = folder / "auto.toml"
    catalogue.write_text(CATALOGUE)
    with running_stack(
        folder, ready_s=200, catalogue=catalogue, default_model="auto", models="tiny,wide"
    ) as running:
        yield running


def ask(stack: Stack, texts: list[str] = INPUT, **more: Any) -> dict[str, Any]:
    return {"input": texts, "labels": LABELS, "errors": "per_item", **more}


def check(data: list[dict[str, Any]]) -> None:
    assert [row.get("model", "tiny") for row in data] == MODELS
    assert [data[index]["prediction"] for index in (0, 1, 4)] == ["red", "粉 色", "red"]
    assert [index for index, row in enumerate(data) if "error" in row] == [2]
    warnings = {index: row["warnings"] for index, row in enumerate(data) if "warnings" in row}
    assert warnings == {3: ["language_not_supported"]}


def test_a_call_says_which_model_answered_and_counts_by_it(auto: Stack):
    answer = auto.call("POST", "/v1/classify", ask(auto))
    alone = [
        auto.call("POST", "/v1/classify", ask(auto, [text for text in texts if text], model=name))
        for name, texts in (("tiny", INPUT[::2]), ("wide", INPUT[1::2]))
    ]

    check(answer.json()["data"])
    assert answer.headers["x-model"] == "tiny, wide"
    total = sum(each.json()["usage"]["total_tokens"] for each in alone)
    assert answer.json()["usage"]["total_tokens"] == total
    scores = [row["predictions"] for each in alone for row in each.json()["data"]]
    found = [row["predictions"] for row in answer.json()["data"]]
    assert [found[0], found[4], found[1], found[3]] == scores


def test_the_vendors_shape_has_no_new_field(auto: Stack):
    body = {"input": INPUT[1], "labels": LABELS, "model": "jina-embeddings-v3"}

    answer = auto.call("POST", "/v1/classify", body)

    assert answer.headers["x-model"] == "wide"
    assert not answer.json()["data"][0].keys() & {"model", "warnings"}
    text = auto.call("POST", "/v1/classify", {"text": INPUT[1], "labels": LABELS})
    assert (text.headers["x-model"], text.json()["label"]) == ("wide", "粉 色")


def test_the_result_cache_remembers_the_model(auto: Stack):
    auto.call("POST", "/v1/classify", ask(auto, cache=True))

    answer = auto.call("POST", "/v1/classify", ask(auto, cache=True))

    data = answer.json()["data"]
    check(data)
    assert [row["cached"] for row in data] == [True, True, False, True, True]


def test_jobs_and_batches_do_the_same_and_count_as_calls(
    auto: Stack, monkeypatch: pytest.MonkeyPatch
):
    key = secret_of(store_of(auto.settings), "counted")
    monkeypatch.setattr(auto, "key", key)
    check(auto.call("POST", "/v1/classify", ask(auto)).json()["data"])
    job = auto.call("POST", "/v1/classify", ask(auto), Prefer="respond-async")
    assert (job.status, job.headers["x-model"]) == (202, "auto")
    auto.until("done", lambda: auto.job(job.json()["id"])["status"] == "succeeded")
    check(auto.job(job.json()["id"])["result"]["data"])

    asked = [
        {"custom_id": str(i), "method": "POST", "url": "/v1/classify", "body": ask(auto, [text])}
        for i, text in enumerate(INPUT)
    ]
    file = upload(auto, "\n".join(map(json.dumps, asked)).encode(), "asked.jsonl")
    body = {"input_file_id": file, "endpoint": "/v1/classify", "completion_window": "24h"}
    started = auto.call("POST", "/v1/batches", body)
    final = ended(auto, str(started.json()["id"]))
    rows = lines(auto, final["output_file_id"])
    check([row["response"]["body"]["data"][0] for row in rows])

    def by_model() -> dict[str, int]:
        found = auto.call("GET", "/v1/usage?group_by=model").json()["data"]
        return {row["group"]: row["requests"] for row in found}

    auto.until("counted", lambda: sum(by_model().values()) == 3)
    assert by_model() == {"auto": 3}


@pytest.mark.parametrize(
    ("texts", "model"), [(["a red rose", "a green leaf"], "tiny"), (["粉 色 花", "绿 叶"], "wide")]
)
def test_a_classifier_gets_the_model_of_its_examples(auto: Stack, texts: list[str], model: str):
    examples = [
        {"text": text, "label": label} for text, label in zip(texts, ("a", "b"), strict=True)
    ]

    made = auto.call("POST", "/v1/train", {"input": examples, "name": f"of-{model}"})

    assert made.status == 200, made.body
    shown = auto.call("GET", f"/v1/classifiers/of-{model}").json()
    assert shown["model"] == model
    body = {"input": texts, "classifier_id": f"of-{model}", "model": "jina-embeddings-v3"}
    answer = auto.call("POST", "/v1/classify", body)
    assert [row["prediction"] for row in answer.json()["data"]] == ["a", "b"]
    assert answer.headers["x-model"] == model


def test_the_list_of_models_names_what_neither_knows(auto: Stack):
    found = auto.call("GET", "/v1/models/jina-embeddings-v3").json()

    assert (found["id"], found["models"], found["available"]) == ("auto", ["tiny", "wide"], True)
    assert found["unsupported_languages"] == ["ru"]
