"""The vendor's own `classer` SDK against our server, on real processes; only `BASE_URL` is ours."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from classer import ClasserClient, ClasserError

from tests.servers import HOST
from tests.stack import Stack
from tests.workers.inputs.documents import docx, paragraph, pdf, shown

pytestmark = pytest.mark.integration
LABELS = ["red", "green", "blue"]


def client_of(stack: Stack, key: str | None = None) -> ClasserClient:
    client = ClasserClient(api_key=key or stack.key)
    client.BASE_URL = f"http://{HOST}:{stack.port}"  # type: ignore[misc]
    return client


@pytest.fixture(scope="module")
def client(stack: Stack) -> ClasserClient:
    return client_of(stack)


def test_classifies_a_text(client: ClasserClient):
    answer = client.classify("a red rose", LABELS, priority="fast", cache=False)

    assert answer.label == "red"
    assert answer.confidence is not None
    assert 0.34 < answer.confidence <= 1
    assert answer.tokens == 6
    assert answer.visual_tokens == 0
    assert answer.latency_ms > 0


def test_an_equal_request_is_answered_from_the_cache(client: ClasserClient):
    first, second = (client.classify("a red stone in the cache", LABELS) for _ in range(2))
    apart = client.classify("a red stone in the cache", LABELS, cache=False)
    items = client.classify_batch(["a red stone in the cache", "another one"], LABELS).results

    assert [first.cached, second.cached, apart.cached] == [False, True, False]
    assert (second.label, second.confidence) == (first.label, first.confidence)
    assert second.tokens == 0
    assert [each.cached for each in items] == [True, False]


def test_descriptions_decide_where_labels_do_not(client: ClasserClient):
    meant = {"hot": "ready to buy", "cold": "just browsing"}

    answers = [
        client.classify(text, ["hot", "cold"], descriptions=meant).label
        for text in ("ready to buy now", "just browsing around")
    ]

    assert answers == ["hot", "cold"]


def test_one_label_means_yes_or_no(client: ClasserClient):
    yes, no = (client.classify(text, ["red"]).confidence for text in ("red", "stones and leaves"))

    assert yes is not None
    assert no is not None
    assert yes > 0.5 > no


def test_tags_by_a_threshold_and_may_find_nothing(client: ClasserClient):
    found = client.tag("red", LABELS)
    everything = client.tag("red", LABELS, threshold=0.0)
    nothing = client.tag("stones and leaves", LABELS, threshold=1.0)

    assert [tag.label for tag in found.labels] == ["red"]
    assert len(everything.labels) == 3
    assert nothing.labels == []


def test_a_bad_text_of_a_batch_fails_alone(client: ClasserClient):
    texts = ["a red rose", "", "a green leaf"]

    classified = client.classify_batch(texts, LABELS, cache=False)
    tagged = client.tag_batch(texts, LABELS, threshold=0.0)

    assert [each.label for each in classified.results] == ["red", None, "green"]
    assert classified.results[1].error is not None
    assert classified.results[1].error.startswith("texts[1]")
    assert classified.total_tokens == 3 + 3 + 3
    assert [len(each.labels) for each in tagged.results] == [3, 0, 3]
    assert [each.error is None for each in tagged.results] == [True, False, True]


def test_reads_documents_by_their_path(client: ClasserClient, tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(pdf(shown(b"a green leaf")))
    (tmp_path / "a.docx").write_bytes(docx(paragraph("a blue sky")))

    labels = [
        client.classify(file=str(tmp_path / name), labels=LABELS).label
        for name in ("a.pdf", "a.docx")
    ]
    file = str(tmp_path / "a.pdf")
    beside = client.classify_batch(["red"], LABELS, file=file, cache=False).results

    assert labels == ["green", "blue"]
    assert beside[0].error is None
    assert beside[0].tokens == 1 + 3  # the text and the document, judged together


def test_a_saved_classifier_stands_for_labels(stack: Stack, client: ClasserClient):
    examples = [{"text": text, "label": text.split()[0]} for text in ("red rose", "green leaf")]
    body = {"name": "colours", "input": examples, "num_iters": 10}
    assert stack.call("POST", "/v1/train", body).status == 200

    answers = [client.classify("red rose", classifier=name) for name in ("colours", "colours@v1")]

    assert [each.label for each in answers] == ["red", "red"]
    assert client.tag("red rose", classifier="colours", threshold=0.0).labels[0].label == "red"


@pytest.mark.parametrize(
    ("labels", "changes", "status", "detail"),
    [
        (["red", "red"], {}, 422, "Labels must be unique"),
        (["red", "x" * 101], {}, 422, "labels[1]"),
        ([str(i) for i in range(201)], {}, 400, "at most 200 labels"),
        (None, {"classifier": "nothing"}, 404, "classifier"),
        (LABELS, {"classifier": "colours"}, 422, "either labels or a classifier"),
        (LABELS, {"file": "http://127.0.0.1/a.pdf"}, 400, "file"),
        (LABELS, {"file": "AAECAwQFBgcICQ=="}, 422, "file"),  # neither PDF nor DOCX
        (LABELS, {"image": "iVBORw0KGgo="}, 400, "model"),  # no worker has one that reads images
        (LABELS, {"image": ["iVBORw0KGgo="] * 21}, 422, "image"),
    ],
)
def test_the_reason_of_a_refusal_reaches_the_caller(
    client: ClasserClient,
    labels: list[str] | None,
    changes: dict[str, object],
    status: int,
    detail: str,
):
    with pytest.raises(ClasserError) as caught:
        client.classify("red", labels, **changes)  # type: ignore[arg-type]

    assert caught.value.status == status
    assert detail in str(caught.value.detail)


def test_no_labels_are_refused_before_a_request_is_sent(client: ClasserClient):
    with pytest.raises(ClasserError, match="must be provided"):
        client.classify("red", [])


def test_a_wrong_key_is_refused(stack: Stack):
    with pytest.raises(ClasserError) as caught:
        client_of(stack, "ph_wrong").classify("red", LABELS)

    assert caught.value.status == 401


@pytest.mark.parametrize("how", [{"mode": "single"}, {"mode": "multi", "threshold": 0.0}])
def test_a_batch_of_texts_goes_through_its_life(stack: Stack, how: dict[str, object]):
    texts = b'{"text": "a red rose"}\nno json\n\n{"text": ""}\n{"text": "a green leaf"}\n'
    made = stack.call("POST", "/v1/batch", {"labels": LABELS, **how})
    assert made.status == 201, made.body
    batch = made.json()
    form = {"data": batch["upload_fields"], "files": {"file": ("texts.jsonl", texts)}}
    assert httpx.post(batch["upload_url"], **form).status_code == 204

    path = f"/v1/batch/{batch['job_id']}"
    assert stack.call("POST", f"{path}/start").status == 202
    stack.until("completed", lambda: stack.call("GET", path).json()["status"] == "completed")
    standing = stack.call("GET", path).json()
    url = stack.call("GET", f"{path}/results").json()["download_url"]
    lines = [json.loads(line) for line in httpx.get(url).text.splitlines()]

    assert [standing[f"requests_{kind}"] for kind in ("total", "completed", "failed")] == [4, 2, 2]
    assert standing["actual_tokens"] >= 6
    assert ["error" in line for line in lines] == [False, True, True, True, False]
    for line, label in zip((lines[0], lines[4]), ("red", "green"), strict=True):
        best = line if how["mode"] == "single" else line["labels"][0]
        assert best["label"] == label
        assert best["confidence"] == round(best["confidence"], 4)
        assert line["tokens"] == 3
    assert stack.call("POST", f"{path}/start").status == 409
    assert stack.call("DELETE", path).json() == {"job_id": batch["job_id"], "deleted": True}
    assert httpx.get(url).status_code == 404
