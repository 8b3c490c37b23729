"""Training and classifying by classifiers, on real processes: two workers, and S3 over the wire."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.servers import moto_server
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration

TICKETS = [
    {"text": "Inspect your roof for damage, then call a roofer", "label": "team1"},
    {"text": "Check the fuse box before you call an electrician", "label": "team2"},
    {"text": "The sink drips, tighten the valve", "label": "team3"},
]


def train(stack: Stack, *pairs: tuple[str, str], **said: Any) -> dict[str, Any]:
    headers = said.pop("headers", {})
    body = {"input": [{"text": text, "label": label} for text, label in pairs], **said}
    answer = stack.call("POST", "/v1/train", body, **headers)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def ask(stack: Stack, ref: str, text: str, **said: Any) -> dict[str, Any]:
    body = {"classifier_id": ref, "input": text, **said}
    answer = stack.call("POST", "/v1/classify", body)
    assert answer.status == 200, answer.body
    return dict(answer.json()["data"][0])


def answered(stack: Stack) -> dict[str, Any] | None:
    """What "kept" says of gamma, or None while Redis is on its way back."""
    body = {"classifier_id": "kept", "input": "gamma"}
    answer = stack.call("POST", "/v1/classify", body)
    return dict(answer.json()["data"][0]) if answer.status == 200 else None


def get(stack: Stack, path: str) -> Any:
    answer = stack.call("GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service of two workers."""
    with running_stack(tmp_path_factory.mktemp("pair"), workers=2) as running:
        yield running


def test_the_support_tickets(pair: Stack):
    made = pair.call("POST", "/v1/train", {"input": TICKETS, "access": "private"}).json()
    assert made["num_samples"] == 3
    assert made["version"] == 1
    classifier_id = made["classifier_id"]
    more = train(
        pair,
        ("The router lost its connection", "team4"),
        ("The invoice is wrong", "team5"),
        classifier_id=classifier_id,
    )
    assert more["version"] == 2
    found = ask(pair, classifier_id, "The invoice of last month is wrong")
    assert found["prediction"] == "team5"
    assert [p["label"] for p in found["predictions"]] == [f"team{n}" for n in range(1, 6)]
    assert ask(pair, f"{classifier_id}@v1", "The invoice")["prediction"] in {
        "team1", "team2", "team3",
    }  # fmt: skip


def test_labels_are_renamed_merged_and_taken_away(pair: Stack):
    pairs = (("a red rose", "red"), ("crimson coat", "crimsn"), ("a blue sky", "blue"))
    more = (("green grass", "green"), ("scarlet flag", "scarlet"))
    train(pair, *pairs, *more, name="misspelt", keep_examples=True)
    labels = {"crimsn": "crimson", "scarlet": "red", "blue": None}

    changed = pair.call("PATCH", "/v1/classifiers/misspelt", {"labels": labels})

    assert changed.status == 200, changed.body
    counts = {row["label"]: row["count"] for row in changed.json()["labels"]}
    assert counts == {"red": 2, "crimson": 1, "green": 1}
    assert (changed.json()["version"], changed.json()["made_by"]) == (2, "relabel")
    found = ask(pair, "misspelt", "crimson coat", return_fit=True)
    assert found["prediction"] == "crimson"
    assert 0 <= found["fit"] <= 1
    assert ask(pair, "misspelt", "what is this", unknown_below=1)["prediction"] is None
    old = ask(pair, "misspelt@v1", "crimson coat")
    assert old["prediction"] == "crimsn"
    rebuilt = pair.call("POST", "/v1/classifiers/misspelt/rebuild", {"model": "tiny"})
    assert rebuilt.status == 200, rebuilt.body
    assert sorted(rebuilt.json()["labels"]) == ["crimson", "green", "red"]


def test_eight_trainers_at_once_lose_nothing(pair: Stack):
    made = train(pair, ("a red rose", "red"), ("green grass", "green"), name="crowded")

    def add(number: int) -> int:
        text, label = f"thing{number} of its own", f"label{number}"
        return int(train(pair, (text, label), classifier_id=made["classifier_id"])["version"])

    with ThreadPoolExecutor(8) as pool:
        versions = sorted(pool.map(add, range(8)))
    assert versions == list(range(2, 10))
    detail = get(pair, "/v1/classifiers/crowded")
    counts = {entry["label"]: entry["count"] for entry in detail["labels"]}
    assert counts == {"red": 1, "green": 1, **{f"label{n}": 1 for n in range(8)}}
    listed = get(pair, "/v1/classifiers/crowded/versions")["data"]
    assert [row["version"] for row in listed] == list(range(9, 0, -1))
    assert len(ask(pair, "crowded", "thing3 of its own")["predictions"]) == 10


def test_an_update_is_seen_by_the_next_call_on_every_worker(pair: Stack):
    made = train(pair, ("alpha", "x"), ("beta", "y"), name="fresh")
    for round_ in range(3):
        train(pair, (f"word{round_}", f"new{round_}"), classifier_id=made["classifier_id"])
        for frozen, other in (("worker", "worker2"), ("worker2", "worker")):
            answered = len(pair.events(other, "call.done"))
            pair.freeze(frozen)
            try:
                assert len(ask(pair, "fresh", "word")["predictions"]) == 3 + round_
            finally:
                pair.send(frozen, signal.SIGCONT)
            assert len(pair.events(other, "call.done")) > answered


def test_versions_aliases_and_rollback(pair: Stack):
    train(pair, ("alpha", "x"), ("beta", "y"), name="steady")
    before = ask(pair, "steady", "alpha")
    moved = pair.call("PATCH", "/v1/classifiers/steady", {"aliases": {"champion": 1}})
    assert moved.status == 200, moved.body
    train(pair, ("alpha", "y"), classifier_id="steady", num_iters=100)
    assert ask(pair, "steady@champion", "alpha") == before
    assert ask(pair, "steady@v1", "alpha") == before
    assert ask(pair, "steady", "alpha") != before
    back = pair.call("POST", "/v1/classifiers/steady/rollback", {"version": 1})
    assert back.status == 200, back.body
    assert ask(pair, "steady", "alpha") == before
    assert train(pair, ("gamma", "z"), classifier_id="steady")["version"] == 4


def test_export_and_import(pair: Stack):
    train(pair, ("alpha", "x"), ("beta", "y"), name="original")
    exported = pair.call("GET", "/v1/classifiers/original/export")
    assert exported.status == 200
    made = pair.call(
        "POST",
        "/v1/classifiers/import?name=copy",
        exported.body,
        Content_Type="application/octet-stream",
    )
    assert made.status == 200, made.body
    assert ask(pair, "copy", "alpha") == ask(pair, "original", "alpha")
    broken = pair.call(
        "POST",
        "/v1/classifiers/import?name=broken",
        exported.body[:-100],
        Content_Type="application/octet-stream",
    )
    assert broken.status == 422, broken.body
    assert pair.call("GET", "/v1/classifiers/broken").status == 404


def test_a_file_of_examples_an_evaluation_and_its_drawings(pair: Stack):
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["label", "text"])
    rows.writerows(
        (label, f"a {label} thing\nnumber {n}") for n in range(600) for label in ("red", "green")
    )
    made = pair.call(
        "POST",
        "/v1/train?name=many&num_iters=2&keep_examples=true",
        table.getvalue().encode(),
        Content_Type="text/csv",
    )
    assert made.status == 200, made.body
    assert made.json()["num_samples"] == 1200
    job = get(pair, f"/v1/jobs/{made.json()['job_id']}")
    assert job["progress"] == {"total": 1200, "completed": 1200, "failed": 0}
    judged = pair.call(
        "POST",
        "/v1/classifiers/many/evaluate",
        {
            "input": [
                *({"text": f"some {c}", "label": c} for c in ("red", "green") for _ in range(20)),
                {"text": "unknown"},
            ]
        },
    )
    assert judged.status == 200, judged.body
    found = judged.json()
    assert found["num_samples"] == 40
    assert found["accuracy"] == 1.0
    assert found["confusion_matrix"]["counts"] == [[20, 0], [0, 20]]
    assert [w["index"] for w in found["most_worth_labelling"]] == [40]
    for kinds in found["plots"].values():
        for kind, url in kinds.items():
            drawn = pair.call("GET", url)
            assert drawn.status == 200
            assert drawn.body.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    rebuilt = pair.call("POST", "/v1/classifiers/many/rebuild", {"model": "tiny"})
    assert rebuilt.status == 200, rebuilt.body
    assert rebuilt.json()["version"] == 2
    forgotten = pair.call("DELETE", "/v1/classifiers/many/examples")
    assert forgotten.status == 200
    assert pair.call("POST", "/v1/classifiers/many/rebuild", {"model": "tiny"}).status == 409


def test_train_and_evaluate_read_the_files_that_batches_read(pair: Stack):
    table = "Extract\n:text:label\n0:café, red; so:red\n1:naïve, green; so:green\n"
    for data in (table.encode("cp1252"), table.encode("utf-16"), gzip.compress(table.encode())):
        for path in ("/v1/train", "/v1/classifiers/odd/evaluate"):
            said = "?skip_rows=1" + ("&name=odd" if path == "/v1/train" else "")
            made = pair.call("POST", path + said, data, Content_Type="text/csv")
            assert made.status == 200, made.body
            assert made.json()["num_samples"] == 2
        pair.call("DELETE", "/v1/classifiers/odd")


def test_what_is_wrong_with_a_file_is_named_by_its_lines(pair: Stack):
    data = b'text,label\n"one,\ntwo",a\n"so" called,b\n,c\n'
    answer = pair.call("POST", "/v1/train", data, Content_Type="text/csv")

    assert answer.status == 422, answer.body
    faults = [(each["field"], each["message"]) for each in answer.json()["errors"]]
    assert [field for field, _ in faults] == ["file line 4", "file line 5.text"]
    assert "has a quote within field 1" in faults[0][1]


def test_nothing_of_the_examples_stays_on_the_store(pair: Stack):
    secret = "zanzibarquux"
    train(pair, (f"about {secret}", "x"), ("beta", "y"), name="private-words")
    data = f"text,label\n{secret} one,x\ntwo,y\n".encode()
    for said in ("?name=private-file", "?num_iters=0", "?text_column=none"):
        pair.call("POST", f"/v1/train{said}", data, Content_Type="text/csv")

    def kept() -> list[Path]:
        objects = (p for p in (pair.folder / "objects").rglob("*") if p.is_file())
        return [path for path in objects if secret.encode() in path.read_bytes()]

    pair.until("the examples are forgotten", lambda: not kept(), timeout_s=60)


def test_a_deleted_classifier_is_gone_everywhere(pair: Stack):
    made = train(pair, ("alpha", "x"), ("beta", "y"), name="doomed")
    assert pair.call("DELETE", "/v1/classifiers/doomed").status == 200
    for ref in ("doomed", made["classifier_id"]):
        assert pair.call("GET", f"/v1/classifiers/{ref}").status == 404
        body = {"classifier_id": ref, "input": "alpha"}
        assert pair.call("POST", "/v1/classify", body).status == 404
    again = train(pair, ("alpha", "x"), ("beta", "y"), name="doomed")
    assert again["version"] == 1


def test_a_durable_job_keeps_the_version_it_was_given(pair: Stack):
    made = train(pair, ("alpha", "x"), ("beta", "y"), name="pinned")
    body = {"classifier_id": "pinned", "input": ["alpha", "beta"]}
    accepted = pair.call("POST", "/v1/classify", body, Prefer="respond-async")
    assert accepted.status == 202
    job = accepted.json()["id"]
    pair.until("it ends", lambda: pair.job(job)["status"] == "succeeded")
    result = get(pair, f"/v1/jobs/{job}/result")
    assert [p["label"] for p in result["data"][0]["predictions"]] == ["x", "y"]
    assert made["version"] == 1


@pytest.mark.timeout(180)
def test_the_same_on_s3_and_after_redis_was_emptied(tmp_path: Path):
    with ExitStack() as up:
        server = up.enter_context(moto_server())
        access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        boto3.client(
            "s3", endpoint_url=server.url, region_name="us-east-1", **access
        ).create_bucket(Bucket="pigeons")
        stack = up.enter_context(
            running_stack(
                tmp_path,
                object_store="s3://pigeons/prod",
                s3_endpoint=server.url,
                s3_access_key="id",
                s3_secret_key="secret",
            )
        )
        train(stack, ("alpha", "x"), ("beta", "y"), name="kept")
        train(stack, ("gamma", "z"), classifier_id="kept")
        before = ask(stack, "kept", "gamma")
        stack.wipe_redis()
        stack.until("it answers as before", lambda: answered(stack) == before)
        with ThreadPoolExecutor(4) as pool:
            versions = sorted(
                pool.map(
                    lambda n: train(stack, (f"w{n}", f"l{n}"), classifier_id="kept")["version"],
                    range(4),
                )
            )
        assert versions == [3, 4, 5, 6]
        exported = stack.call("GET", "/v1/classifiers/kept@v2/export")
        assert exported.status == 200
        size = int.from_bytes(exported.body[:8], "little")
        assert "pigeonhole" in json.loads(exported.body[8 : 8 + size])["__metadata__"]
