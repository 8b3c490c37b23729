"""NLI and hybrid in real worker processes, with an NLI model that was trained for the tests.

The worker loads it from the catalogue, as it loads every other model.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.stack import TINY, Stack, running_stack
from tests.workers.inputs.documents import docx, paragraph, pdf, shown

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LABELS = ["sports", "billing", "delivery"]
TEXTS = ["my parcel was late", "a refund again", "one goal today"]
RIGHT = ["delivery", "billing", "sports"]
NLI = """
[[model]]
name = "tiny-nli"
aliases = ["acme/nli"]
engine = "cross_encoder"
checkpoint = "{checkpoint}"
"""


@pytest.fixture(scope="module")
def stack(nli_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service whose worker holds an NLI model beside the one that embeds."""
    folder = tmp_path_factory.mktemp("nli-stack")
    catalogue = folder / "models.toml"
    catalogue.write_text(TINY + NLI.format(checkpoint=nli_checkpoint))
    names = {"catalogue": catalogue, "models": "tiny,tiny-nli"}
    with running_stack(folder, ready_s=180, **names) as running:
        yield running


def classify(stack: Stack, **body: Any) -> tuple[dict[str, Any], str]:
    """The body of an answer, and the engine that its header names."""
    answer = stack.call("POST", "/v1/classify", {"input": TEXTS, "labels": LABELS} | body)
    assert answer.status == 200, answer.body
    return answer.json(), answer.headers["x-engine"]


@pytest.mark.parametrize(
    ("engine", "answers"), [("nli", "nli"), ("hybrid", "hybrid"), ("auto", "hybrid")]
)
def test_the_nli_model_decides_and_the_answer_names_the_engine(
    stack: Stack, engine: str, answers: str
):
    body, header = classify(stack, engine=engine)

    assert [row["prediction"] for row in body["data"]] == RIGHT
    assert (body["engine"], header) == (answers, answers)


def test_embeddings_answer_where_the_request_names_no_engine(stack: Stack):
    body, header = classify(stack)

    assert "engine" not in body
    assert header == "embedding"


def test_auto_embeds_where_there_are_too_many_labels(stack: Stack):
    many = [*LABELS, *(f"label {number}" for number in range(30))]

    assert classify(stack, engine="auto", labels=many)[1] == "embedding"


def test_a_template_reaches_the_model_and_many_labels_stand_alone(stack: Stack):
    body, _ = classify(stack, engine="nli", template="It deals with {label}.", multi_label=True)

    for row, right in zip(body["data"], RIGHT, strict=True):
        applies = [each["label"] for each in row["predictions"] if each["score"] > 0.5]
        assert applies == [right]


def test_cn8_calls_are_answered_by_the_nli_model(stack: Stack):
    def ask(**body: Any) -> dict[str, Any]:
        asked = {"text": TEXTS[0], "labels": LABELS} | body
        answer = stack.call("POST", "/v1/proxy/text-classify", asked)
        assert (answer.status, answer.headers["x-engine"]) == (200, "nli")
        data: dict[str, Any] = answer.json()["data"]
        return data

    alone, one = ask(), ask(multi_label=False)
    assert (alone["label"], one["label"]) == ("delivery", "delivery")
    assert list(alone["all_scores"]) == LABELS
    assert sum(one["all_scores"].values()) == pytest.approx(1.0, abs=1e-3)
    assert sum(alone["all_scores"].values()) != pytest.approx(1.0, abs=1e-3)
    assert list(ask(threshold=0.5)["all_scores"]) == ["delivery"]


def test_models_say_which_engines_they_offer(stack: Stack):
    models = stack.call("GET", "/v1/models").json()["data"]

    offered = {each["id"]: (each["kind"], each["engines"]) for each in models if each["available"]}
    assert offered == {
        "tiny": ("embedding", ["embedding", "hybrid"]),
        "tiny-nli": ("nli", ["nli", "hybrid"]),
    }


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_documents_are_compared_by_their_text_and_scans_fail_alone(stack: Stack, engine: str):
    image = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(image, "PDF")
    files = [
        pdf(shown(b"my parcel was late"), shown(b"the a was seen very late again")),
        docx(paragraph("a refund again")),
        image.getvalue(),
    ]
    items = [{"file": base64.b64encode(file).decode()} for file in files]

    body, header = classify(stack, input=items, engine=engine, errors="per_item")

    assert header == engine
    pdf_row, docx_row, scan_row = body["data"]
    assert (pdf_row["prediction"], docx_row["prediction"]) == ("delivery", "billing")
    assert (pdf_row["file"]["pages_read"], pdf_row["file"]["read_by"]) == (2, "text")
    assert scan_row["prediction"] is None
    assert f"a scan has none, and {engine} compares texts" in scan_row["error"]["message"]
    alone = stack.call(
        "POST", "/v1/classify", {"input": items[2:], "labels": LABELS, "engine": engine}
    )
    assert (alone.status, alone.json()["details"]["field"]) == (422, "input[0].file")
    pages = {"input": items[:1], "labels": LABELS, "engine": engine, "file_by": "pages"}
    refused = stack.call("POST", "/v1/classify", pages)
    assert (refused.status, refused.json()["details"]["field"]) == (422, "file_by")


def test_auto_embeds_documents(stack: Stack):
    file = base64.b64encode(docx(paragraph("a refund again"))).decode()

    assert classify(stack, input=[{"file": file}], engine="auto")[1] == "embedding"


def test_a_job_and_a_batch_are_answered_by_the_same_engine(stack: Stack):
    asked = {"input": TEXTS, "labels": LABELS, "engine": "nli", "model": "acme/nli"}
    job = stack.call("POST", "/v1/classify", asked, Prefer="respond-async, wait=30")
    assert [row["prediction"] for row in job.json()["data"]] == RIGHT
    assert job.headers["x-engine"] == "nli"

    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    form = (
        '--cut\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        '--cut\r\nContent-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
        f"{rows}\r\n--cut--\r\n"
    )
    kind = {"Content_Type": "multipart/form-data; boundary=cut"}
    file = stack.call("POST", "/v1/files", form.encode(), **kind).json()["id"]
    ask = {"labels": LABELS, "engine": "hybrid"}
    batch = stack.call("POST", "/v1/batches", {"input_file_id": file, "classify": ask}).json()
    path = f"/v1/batches/{batch['id']}"
    stack.until("completed", lambda: stack.call("GET", path).json()["status"] == "completed")
    output = stack.call("GET", path).json()["output_file_id"]
    lines = stack.call("GET", f"/v1/files/{output}/content").body.splitlines()

    assert [json.loads(line)["prediction"] for line in lines] == RIGHT


def test_an_equal_request_to_another_engine_misses_the_cache(stack: Stack):
    def lookup(engine: str) -> str:
        body = {"input": TEXTS, "labels": LABELS, "engine": engine, "cache": True}
        return stack.call("POST", "/v1/classify", body).headers["x-cache"]

    assert [lookup(each) for each in ("nli", "nli", "hybrid", "auto")] == [
        "MISS",
        "HIT",
        "MISS",
        "HIT",
    ]
