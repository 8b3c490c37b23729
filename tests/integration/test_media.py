"""Pictures and documents through the whole service: real processes, a CLIP model of open_clip.

The model knows drawings of coloured shapes (`tests.tiny_clip`); documents are drawn and written
here.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.servers import HOST
from tests.stack import Stack, running_stack
from tests.tiny_clip import LABELS, draw

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CATALOGUE = """
[[model]]
name = "shapes"
aliases = ["jina-clip-v2"]
engine = "open_clip"
checkpoint = "{folder}"
device = "gpu-preferred"
picture_templates = ["{{label}}"]

[[model]]
name = "tiny"
engine = "hashing"
"""


def png(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def drawing(colour: str, shape: str, seed: int = 0, kind: str = "PNG") -> bytes:
    return png(draw(colour, shape, random.Random(seed)).picture.resize((200, 200)), kind)


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def scan(*drawings: bytes) -> bytes:
    """A PDF whose pages are nothing but pictures."""
    pages = [Image.open(io.BytesIO(each)).convert("RGB") for each in drawings]
    stream = io.BytesIO()
    pages[0].save(stream, "PDF", save_all=True, append_images=pages[1:])
    return stream.getvalue()


@contextmanager
def web(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server of these files; its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = files.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[str, list[str]]]:
    files = {f"/{shape}.png": drawing("blue", shape) for shape in ("circle", "cross", "square")}
    with web(files) as found:
        yield found


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, trained_clip: Path, site: tuple[str, list[str]]
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("media")
    catalogue = folder / "models.toml"
    catalogue.write_text(CATALOGUE.format(folder=trained_clip))
    port = site[0].rpartition(":")[2]
    with running_stack(
        folder / "stack",
        catalogue=catalogue,
        default_model="tiny",
        models="shapes,tiny",
        fetch_networks="127.0.0.0/8",
        fetch_ports=port,
        ready_s=180,
    ) as running:
        yield running


def predictions(body: dict[str, Any]) -> list[str | None]:
    return [each["prediction"] for each in body["data"]]


def test_texts_and_pictures_in_one_request(stack: Stack, site: tuple[str, list[str]]):
    """The vendor's second example: three texts and three images, four labels."""
    labels = ["a red circle", "a blue square", "a green cross", "a blue circle"]
    inputs = [
        {"text": "a red circle"},
        {"text": "a blue square"},
        {"text": "a green cross"},
        {"image": base64.b64encode(drawing("red", "circle")).decode()},
        {"image": data_uri(drawing("green", "cross"))},
        {"image": f"{site[0]}/circle.png"},
    ]

    answer = stack.classify(inputs, labels=labels, model="jina-clip-v2")

    assert answer.status == 200, answer.body
    body = answer.json()
    assert predictions(body) == [
        "a red circle",
        "a blue square",
        "a green cross",
        "a red circle",
        "a green cross",
        "a blue circle",
    ]
    assert body["usage"]["total_tokens"] > 3 * 1_000  # a tile for each of the three pictures


def test_pictures_need_no_model_named(stack: Stack):
    answer = stack.classify([{"image": data_uri(drawing("red", "cross"))}], labels=list(LABELS))

    assert answer.status == 200, answer.body
    assert predictions(answer.json()) == ["a red cross"]


def test_one_that_cannot_be_read_fails_alone(stack: Stack, site: tuple[str, list[str]]):
    inputs = [
        {"image": data_uri(drawing("red", "circle"))},
        {"image": f"{site[0]}/nowhere.png"},
        {"image": base64.b64encode(b"not a picture at all").decode()},
        {"image": "http://169.254.169.254/latest/meta-data"},
        {"image": "file:///etc/passwd"[5:]},
    ]

    answer = stack.classify(inputs, labels=["a red circle", "a blue cross"])

    assert answer.status == 200, answer.body
    data = answer.json()["data"]
    assert data[0]["prediction"] == "a red circle"
    codes = [each["error"]["code"] for each in data[1:]]
    assert codes == [
        "INPUT_FETCH_FAILED",
        "INPUT_UNREADABLE",
        "INPUT_FETCH_FAILED",
        "INPUT_UNREADABLE",
    ]
    assert all(each["prediction"] is None for each in data[1:])


def test_another_scheme_is_refused(stack: Stack):
    answer = stack.classify([{"image": "file:///etc/passwd"}], labels=["a", "b"])

    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "input[0].image")


def test_an_address_asked_often_is_fetched_once(stack: Stack, site: tuple[str, list[str]]):
    before = site[1].count("/square.png")

    answer = stack.classify([{"image": f"{site[0]}/square.png"}] * 8, labels=list(LABELS))

    assert predictions(answer.json()) == ["a blue square"] * 8
    assert site[1].count("/square.png") == before + 1


def test_a_classifier_learns_new_words_from_pictures(stack: Stack):
    words = {"circle": "flurb", "square": "quonk", "cross": "zibble"}
    examples = [
        {"image": data_uri(drawing(colour, shape, seed)), "label": word}
        for seed in range(4)
        for colour in ("red", "blue", "green")
        for shape, word in words.items()
    ]
    made = stack.call("POST", "/v1/train", {"input": examples, "name": "words", "num_iters": 5})
    assert made.status == 200, made.body

    unseen = [(shape, seed) for shape in words for seed in range(100, 110)]
    answer = stack.call(
        "POST",
        "/v1/classify",
        {
            "classifier_id": "words",
            "input": [{"image": data_uri(drawing("yellow", shape, s))} for shape, s in unseen],
        },
    )

    assert answer.status == 200, answer.body
    right = [p == words[s] for p, (s, _) in zip(predictions(answer.json()), unseen, strict=True)]
    assert sum(right) >= 28, right


def test_a_broken_example_teaches_nothing(stack: Stack):
    examples = [
        {"image": data_uri(drawing("red", "circle")), "label": "a"},
        {"image": data_uri(b"GIF89a broken"), "label": "b"},
    ]

    answer = stack.call("POST", "/v1/train", {"input": examples, "name": "never"})

    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "input[1].image")
    assert stack.call("GET", "/v1/classifiers/never").status == 404


class TestDocuments:
    def test_a_scan_is_judged_by_its_pages(self, stack: Stack):
        pdf = scan(drawing("red", "circle"), drawing("red", "circle", 1), drawing("blue", "cross"))

        answer = stack.classify(
            [{"file": base64.b64encode(pdf).decode()}],
            labels=list(LABELS),
            model="shapes",
            per_page=True,
        )

        assert answer.status == 200, answer.body
        (said,) = answer.json()["data"]
        assert (said["file"]["scanned"], said["file"]["read_by"]) == (True, "pages")
        assert [page["prediction"] for page in said["file"]["pages"]] == [
            "a red circle",
            "a red circle",
            "a blue cross",
        ]

    def test_a_scan_for_a_model_of_texts_says_what_to_do(self, stack: Stack):
        pdf = base64.b64encode(scan(drawing("red", "circle"))).decode()

        answer = stack.classify([{"file": pdf}], labels=["red", "green"], model="tiny")

        assert answer.status == 422
        assert "name a model that reads pictures" in answer.json()["detail"]

    def test_an_uploaded_file_by_its_id(self, stack: Stack):
        edge = "-" * 8
        form = (
            f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            f"red, all red\r\n--{edge}--\r\n"
        )
        sent = stack.call(
            "POST",
            "/v1/files",
            form.encode(),
            **{"Content-Type": f"multipart/form-data; boundary={edge}"},
        )
        assert sent.status == 200, sent.body

        answer = stack.classify([{"file": sent.json()["id"]}], model="tiny")
        missing = stack.classify([{"file": "file-" + "0" * 26}], model="tiny")

        assert predictions(answer.json()) == ["red"]
        assert missing.status == 422


def test_a_batch_of_pictures_by_address(stack: Stack, site: tuple[str, list[str]]):
    rows = [
        {"sku": "1", "photo": f"{site[0]}/circle.png"},
        {"sku": "2", "photo": data_uri(drawing("red", "cross"))},
        {"sku": "3", "photo": f"{site[0]}/gone.png"},
        {"sku": "4", "photo": None},
    ]
    lines = "\n".join(map(json.dumps, rows))
    edge = "-" * 8
    form = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        f"{lines}\r\n--{edge}--\r\n"
    )
    sent = stack.call(
        "POST",
        "/v1/files",
        form.encode(),
        **{"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    made = stack.call(
        "POST",
        "/v1/batches",
        {
            "input_file_id": sent.json()["id"],
            "endpoint": "/v1/classify",
            "completion_window": "24h",
            "id_column": "sku",
            "image_column": "photo",
            "classify": {"labels": list(LABELS)},
        },
    )
    assert made.status == 200, made.body
    path = f"/v1/batches/{made.json()['id']}"

    stack.until("ended", lambda: stack.call("GET", path).json()["status"] == "completed")

    batch = stack.call("GET", path).json()
    assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    output = stack.call("GET", f"/v1/files/{batch['output_file_id']}/content").body
    found = {line["id"]: line["prediction"] for line in map(json.loads, output.splitlines())}
    assert found == {"1": "a blue circle", "2": "a red cross"}
    errors = stack.call("GET", f"/v1/files/{batch['error_file_id']}/content").body
    codes = {line["id"]: line["error"]["code"] for line in map(json.loads, errors.splitlines())}
    assert codes == {"3": "input_fetch_failed", "4": "empty_text"}


def test_odd_sizes_and_kinds(stack: Stack):
    wide = Image.new("RGB", (1200, 40), "white")
    ImageDraw.Draw(wide).ellipse((590, 5, 620, 35), fill="red")
    inputs = [
        {"image": data_uri(drawing("red", "circle", kind="JPEG"))},
        {"image": data_uri(drawing("red", "circle", kind="WEBP"))},
        {"image": data_uri(png(Image.open(io.BytesIO(drawing("red", "circle"))).convert("P")))},
        {"image": data_uri(png(wide))},
    ]

    answer = stack.classify(inputs, labels=list(LABELS))

    assert answer.status == 200, answer.body
    assert predictions(answer.json())[:3] == ["a red circle"] * 3
