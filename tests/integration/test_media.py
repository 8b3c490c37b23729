"""Images and documents through the whole service: real processes, a CLIP model of open_clip.

The model knows drawings of coloured shapes (`tests.tiny_clip`); documents are drawn and written
here.
"""

from __future__ import annotations

import base64
import csv
import http.server
import io
import json
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from classer import ClasserClient
from PIL import Image, ImageDraw

from tests.servers import HOST, moto_server
from tests.stack import Stack, running_stack
from tests.tiny_clip import LABELS, draw
from tests.workers.inputs.documents import docx, encrypted, paragraph, pdf, shown

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CATALOGUE = """
[[model]]
name = "shapes"
aliases = ["jina-clip-v2"]
engine = "open_clip"
checkpoint = "{folder}"
device = "gpu-preferred"
image_templates = ["{{label}}"]

[[model]]
name = "tiny"
engine = "hashing"
"""


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def drawing(colour: str, shape: str, seed: int = 0, kind: str = "PNG") -> bytes:
    return png(draw(colour, shape, random.Random(seed)).image.resize((200, 200)), kind)


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def scan(*drawings: bytes) -> bytes:
    """A PDF whose pages are nothing but images."""
    pages = [Image.open(io.BytesIO(each)).convert("RGB") for each in drawings]
    stream = io.BytesIO()
    pages[0].save(stream, "PDF", save_all=True, append_images=pages[1:])
    return stream.getvalue()


@contextmanager
def web(
    files: dict[str, bytes], *, host: str = HOST, moves: threading.Event | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server of these files; its address, and the paths that were asked for.

    What is not among them it answers with 404: once it `moves`, where that is given.
    """
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = files.get(self.path)
            if found is None and moves is not None:
                moves.wait(60)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}", asked
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
def slow_site() -> Iterator[tuple[str, list[str]]]:
    """A site of another host that has a circle, and never answers for anything else."""
    moves = threading.Event()
    with web({"/circle.png": drawing("red", "circle")}, host="127.0.0.2", moves=moves) as found:
        try:
            yield found
        finally:
            moves.set()


@pytest.fixture(scope="module")
def lake() -> Iterator[tuple[str, Any]]:
    """A server of buckets with one of the user's own, its address and a client of it."""
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    with moto_server() as server:
        s3 = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", **access)
        s3.create_bucket(Bucket="lake")
        yield server.url, s3


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    trained_clip: Path,
    site: tuple[str, list[str]],
    slow_site: tuple[str, list[str]],
    lake: tuple[str, Any],
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("media")
    catalogue = folder / "models.toml"
    catalogue.write_text(CATALOGUE.format(folder=trained_clip))
    ports = ",".join(address.rpartition(":")[2] for address, _ in (site, slow_site))
    with running_stack(
        folder / "stack",
        catalogue=catalogue,
        default_model="tiny",
        models="shapes,tiny",
        fetch_networks="127.0.0.0/8",
        fetch_ports=ports,
        s3_endpoint=lake[0],
        s3_access_key="id",
        s3_secret_key="secret",
        s3_inputs="s3://lake/",
        ready_s=180,
    ) as running:
        yield running


def predictions(body: dict[str, Any]) -> list[str | None]:
    return [each["prediction"] for each in body["data"]]


def test_texts_and_images_in_one_request(stack: Stack, site: tuple[str, list[str]]):
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
    assert body["usage"]["total_tokens"] > 3 * 1_000  # a tile for each of the three images


def test_images_need_no_model_named(stack: Stack):
    answer = stack.classify([{"image": data_uri(drawing("red", "cross"))}], labels=list(LABELS))

    assert answer.status == 200, answer.body
    assert predictions(answer.json()) == ["a red cross"]


def test_with_errors_per_item_one_that_cannot_be_read_fails_alone(
    stack: Stack, site: tuple[str, list[str]]
):
    inputs = [
        {"image": data_uri(drawing("red", "circle"))},
        {"image": f"{site[0]}/nowhere.png"},
        {"image": base64.b64encode(b"not an image at all").decode()},
        {"image": "http://169.254.169.254/latest/meta-data"},
        {"image": "file:///etc/passwd"[5:]},
    ]

    refused = stack.classify(inputs, labels=["a red circle", "a blue cross"])
    answer = stack.classify(inputs, labels=["a red circle", "a blue cross"], errors="per_item")

    assert (refused.status, refused.json()["errors"][0]["field"]) == (400, "input[1].image")
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
    assert [each["error"]["field"] for each in data[1:]] == [
        f"input[{i}].image" for i in range(1, 5)
    ]


def test_a_slow_host_costs_its_own_items_alone(
    stack: Stack, site: tuple[str, list[str]], slow_site: tuple[str, list[str]]
):
    slow, asked = slow_site
    hanging = [{"image": f"{slow}/{i}.png"} for i in range(40)]
    hanging += [{"file": f"{slow}/{i}.pdf"} for i in range(8)]
    inputs = [*hanging, {"image": f"{site[0]}/circle.png"}, {"text": "a red cross"}]

    answer = stack.classify(
        inputs,
        labels=list(LABELS),
        model="shapes",
        errors="per_item",
        headers={"Prefer": "wait=6"},
    )

    assert answer.status == 200, answer.body
    *late, near, text = answer.json()["data"]
    assert [near["prediction"], text["prediction"]] == ["a blue circle", "a red cross"]
    assert [each["error"]["code"] for each in late] == ["INPUT_FETCH_FAILED"] * 48
    assert "within the" in late[0]["error"]["message"]
    assert len(asked) == 4  # the share of one host; nobody waits for the others any more

    later = stack.classify([{"image": f"{slow}/circle.png"}], labels=list(LABELS))

    assert predictions(later.json()) == ["a red circle"], later.body
    assert len(asked) == 5


def test_another_scheme_is_refused(stack: Stack):
    answer = stack.classify([{"image": "file:///etc/passwd"}], labels=["a", "b"])

    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "input[0].image")


def test_an_address_asked_often_is_fetched_once(stack: Stack, site: tuple[str, list[str]]):
    before = site[1].count("/square.png")

    answer = stack.classify([{"image": f"{site[0]}/square.png"}] * 8, labels=list(LABELS))

    assert predictions(answer.json()) == ["a blue square"] * 8
    assert site[1].count("/square.png") == before + 1


def test_a_classifier_learns_new_words_from_images(stack: Stack):
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
        assert "name a model that reads images" in answer.json()["detail"]

    def test_a_scan_is_judged_by_its_pages_where_no_model_is_named(self, stack: Stack):
        """The model of the texts has 64 dimensions, that of the pages 96."""
        files = [scan(drawing("red", "circle", 3)), docx(paragraph("a blue square"))]
        items = [{"file": base64.b64encode(file).decode()} for file in files]
        labels = ["a red circle", "a blue square"]

        native = stack.classify(items, labels=labels)
        classer = [
            stack.call("POST", "/v1/classify", {**item, "labels": labels}).json() for item in items
        ]
        beside = {**items[0], "text": "a red circle", "labels": labels}
        together = stack.call("POST", "/v1/classify", beside).json()

        assert predictions(native.json()) == labels
        assert [row["file"]["read_by"] for row in native.json()["data"]] == ["pages", "text"]
        assert [each["label"] for each in classer] == labels
        assert [each.get("visual_tokens", 0) > 0 for each in classer] == [True, False]
        assert together["label"] == "a red circle"

    def test_an_uploaded_file_by_its_id(self, stack: Stack):
        sent = upload(stack, "a.txt", b"red, all red", "user_data")

        answer = stack.classify([{"file": sent}], model="tiny")
        missing = stack.classify([{"file": "file-" + "0" * 26}], model="tiny")

        assert predictions(answer.json()) == ["red"]
        assert missing.status == 422


def upload(stack: Stack, name: str, data: bytes, purpose: str) -> str:
    """Its file id."""
    edge = "-" * 8
    part = f"--{edge}\r\nContent-Disposition: form-data; name="
    form = (
        f'{part}"purpose"\r\n\r\n{purpose}\r\n{part}"file"; filename="{name}"\r\n\r\n'.encode()
        + data
        + f"\r\n--{edge}--\r\n".encode()
    )
    content_type = f"multipart/form-data; boundary={edge}"
    sent = stack.call("POST", "/v1/files", form, **{"Content-Type": content_type})
    assert sent.status == 200, sent.body
    return str(sent.json()["id"])


def ended(stack: Stack, **asked: object) -> tuple[dict[str, int], dict[str, Any], dict[str, str]]:
    """A batch that has run: its counts, its lines of output and its codes of errors, by id."""
    body = {"endpoint": "/v1/classify", "completion_window": "24h", **asked}
    made = stack.call("POST", "/v1/batches", body)
    assert made.status == 200, made.body
    path = f"/v1/batches/{made.json()['id']}"
    stack.until("ended", lambda: stack.call("GET", path).json()["status"] == "completed")
    batch = stack.call("GET", path).json()

    def content(file: str | None) -> str:
        return "" if file is None else stack.call("GET", f"/v1/files/{file}/content").body.decode()

    output = content(batch["output_file_id"])
    as_table = asked.get("output_format") == "csv"
    lines: Iterable[dict[str, Any]] = (
        csv.DictReader(io.StringIO(output, newline=""))
        if as_table
        else map(json.loads, output.splitlines())
    )
    errors = map(json.loads, content(batch["error_file_id"]).splitlines())
    return (
        batch["request_counts"],
        {line["id"]: line for line in lines},
        {line["id"]: line["error"]["code"] for line in errors},
    )


class TestBatches:
    def test_of_images_by_address(
        self, stack: Stack, site: tuple[str, list[str]], lake: tuple[str, Any]
    ):
        lake[1].put_object(Bucket="lake", Key="one/x.png", Body=drawing("green", "square"))
        rows = [
            {"sku": "1", "photo": f"{site[0]}/circle.png"},
            {"sku": "2", "photo": data_uri(drawing("red", "cross"))},
            {"sku": "3", "photo": f"{site[0]}/gone.png"},
            {"sku": "4", "photo": None},
            {"sku": "5", "photo": "s3://lake/one/x.png"},
        ]

        counts, lines, codes = ended(
            stack,
            input_file_id=upload(
                stack, "in.jsonl", "\n".join(map(json.dumps, rows)).encode(), "batch"
            ),
            id_column="sku",
            image_column="photo",
            classify={"labels": list(LABELS)},
        )

        assert counts == {"total": 5, "completed": 3, "failed": 2}
        found = {key: line["prediction"] for key, line in lines.items()}
        assert found == {"1": "a blue circle", "2": "a red cross", "5": "a green square"}
        assert codes == {"3": "input_fetch_failed", "4": "empty_image"}

    def test_of_all_images_below_a_prefix(self, stack: Stack, lake: tuple[str, Any]):
        for name, data in {
            "a.png": drawing("red", "circle"),
            "deep/er/b.webp": drawing("blue", "cross", kind="WEBP"),
            "c.txt": b"no image",
        }.items():
            lake[1].put_object(Bucket="lake", Key=f"photos/{name}", Body=data)

        counts, lines, codes = ended(
            stack,
            input_url="s3://lake/photos/",
            input_items="image",
            classify={"labels": list(LABELS)},
        )

        assert counts == {"total": 3, "completed": 2, "failed": 1}
        found = {key: line["prediction"] for key, line in lines.items()}
        assert found == {"a.png": "a red circle", "deep/er/b.webp": "a blue cross"}
        assert codes == {"c.txt": "input_unreadable"}

    def test_of_scanned_and_digital_documents(self, stack: Stack, lake: tuple[str, Any]):
        for name, data in {
            "scan.pdf": scan(drawing("red", "circle"), drawing("red", "circle", 1)),
            "digital.pdf": pdf(shown(b"a blue square")),
            "letter.docx": docx(paragraph("a green cross")),
            "locked.pdf": encrypted(b"a red circle", password=b"secret"),
            "cut.pdf": b"%PDF-1.7\nnothing more",
        }.items():
            lake[1].put_object(Bucket="lake", Key=f"papers/{name}", Body=data)
        labels = ["a red circle", "a blue square", "a green cross"]

        counts, lines, codes = ended(
            stack,
            input_url="s3://lake/papers/",
            input_items="file",
            classify={"labels": labels, "model": "shapes", "per_page": True},
        )

        assert counts == {"total": 5, "completed": 3, "failed": 2}
        found = {key: (line["prediction"], line["file"]["scanned"]) for key, line in lines.items()}
        assert found == {
            "scan.pdf": ("a red circle", True),
            "digital.pdf": ("a blue square", False),
            "letter.docx": ("a green cross", False),
        }
        assert [p["prediction"] for p in lines["scan.pdf"]["file"]["pages"]] == ["a red circle"] * 2
        assert codes == {"locked.pdf": "input_unreadable", "cut.pdf": "input_unreadable"}

    def test_of_a_column_of_documents(self, stack: Stack, lake: tuple[str, Any]):
        lake[1].put_object(Bucket="lake", Key="two/s.pdf", Body=scan(drawing("blue", "square")))
        sent = upload(stack, "digital.pdf", pdf(shown(b"a green circle")), "user_data")
        rows = f"id,paper\n1,s3://lake/two/s.pdf\n2,{sent}\n3,s3://lake/two/gone.pdf\n"

        counts, lines, codes = ended(
            stack,
            input_file_id=upload(stack, "in.csv", rows.encode(), "batch"),
            id_column="id",
            file_column="paper",
            classify={"labels": list(LABELS), "model": "shapes", "return_uncertainty": True},
            output_format="csv",
        )

        assert counts == {"total": 3, "completed": 2, "failed": 1}
        found = {key: line["prediction"] for key, line in lines.items()}
        assert found == {"1": "a blue square", "2": "a green circle"}
        assert [json.loads(lines[key]["file"])["read_by"] for key in ("1", "2")] == [
            "pages",
            "text",
        ]
        assert 0 < float(lines["1"]["margin"]) <= 1
        assert codes == {"3": "input_fetch_failed"}


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


def test_the_classer_sdk_sends_images_alone_beside_a_text_and_for_many_texts(stack: Stack):
    client = ClasserClient(api_key=stack.key)
    client.BASE_URL = f"http://{HOST}:{stack.port}"  # type: ignore[misc]
    circle = base64.b64encode(drawing("red", "circle")).decode()
    labels = list(LABELS)

    alone = client.classify(image=circle, labels=labels)
    several = client.classify(image=[circle, data_uri(drawing("red", "circle", 1))], labels=labels)
    beside = client.classify("a blue cross", labels, image=circle)
    many = client.classify_batch(["a red circle", ""], labels, image=circle)

    assert alone.label == several.label == "a red circle"
    assert alone.visual_tokens == 1000
    assert several.visual_tokens == 2000
    assert beside.tokens > beside.visual_tokens == 1000
    assert beside.confidence is not None
    assert alone.confidence is not None
    assert beside.confidence < alone.confidence  # the text says otherwise
    assert [each.label for each in many.results] == ["a red circle", None]
    assert many.results[0].visual_tokens == 1000
