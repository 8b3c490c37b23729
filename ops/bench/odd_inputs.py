"""What a service open to many callers is sent in an hour: ordinary requests, and odd files.

Each kind of request is one function that sends it and gives the statuses of the answers. Everything
is made here from a seed, so two runs send the same; nothing of it is known to the service.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import random
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ops.bench import batch_runs, synthetic_media
from ops.bench.service import HOST, Service
from ops.bench.texts import WORDS

_ANSWER_LIMIT_S = 120.0
_POLL_S = 0.5
_FINAL = ("completed", "failed", "expired", "cancelled")
_JUST_UNDER, _FAR_OVER = 990_000, 1_600_000  # words of a document; a million tokens are the most
_BATCH_ROWS = 200


@dataclass(kw_only=True)
class OddInputSender:
    """One caller. `texts` are real ones or random words, `folder` takes files for a moment."""

    service: Service
    texts: Sequence[str]
    image_model: str
    folder: Path
    pick: random.Random
    jpegs: Sequence[bytes] = field(default_factory=lambda: synthetic_media.jpegs(32))
    trained: list[str] = field(default_factory=list)

    def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One call; its status and its body, as JSON where it is some."""
        connection = http.client.HTTPConnection(HOST, self.service.port, timeout=_ANSWER_LIMIT_S)
        headers = {
            "Authorization": f"Bearer {self.service.key}",
            "Content-Type": "application/json",
        }
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            received = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(received)
        except ValueError:
            return answer.status, None

    def words(self, count: int) -> str:
        """So many random words."""
        return " ".join(self.pick.choices(WORDS, k=count))

    def labels(self) -> list[str]:
        """Labels that no request had before."""
        return [f"{self.words(2)} {self.pick.randrange(10**9)}" for _ in range(4)]

    def classify(self, *items: object, **more: object) -> list[int]:
        """One classify call."""
        body = {"input": list(items), "labels": batch_runs.LABELS, **more}
        return [self.send("POST", "/v1/classify", body)[0]]

    def file(self, data: bytes, **more: object) -> list[int]:
        """A classify call for one document."""
        return self.classify({"file": base64.b64encode(data).decode()}, **more)

    def image(self, data: bytes) -> list[int]:
        """A classify call for one image."""
        image = {"image": base64.b64encode(data).decode()}
        return self.classify(image, model=self.image_model)


Kind = Callable[[OddInputSender], list[int]]


def short_texts(sender: OddInputSender) -> list[int]:
    """A few texts with labels of their own."""
    return sender.classify(*sender.pick.sample(sender.texts, 4), labels=sender.labels())


def many_texts(sender: OddInputSender) -> list[int]:
    """Two hundred texts."""
    return sender.classify(*sender.pick.sample(sender.texts, 200))


def described_labels(sender: OddInputSender) -> list[int]:
    """Sixty labels with long descriptions, all of them new."""
    labels = [f"{label} {n}" for n in range(15) for label in sender.labels()]
    described = {label: sender.words(40) for label in labels}
    return sender.classify(sender.texts[0], labels=labels, descriptions=described)


def long_text(sender: OddInputSender) -> list[int]:
    """A text near the limit of one input."""
    return sender.classify(sender.words(7_000))


def text_over_limit(sender: OddInputSender) -> list[int]:
    """A text that is refused for its length."""
    return sender.classify(sender.words(60_000))


def odd_words(sender: OddInputSender) -> list[int]:
    """Words that no tokenizer has met: random letters, emoji and one word of 20,000 letters."""
    strange = " ".join(f"{sender.pick.randrange(16**12):x}" for _ in range(500))
    return sender.classify(strange, "🦊" * 400 + "\u202e‮", "x" * 20_000)


def text_document(sender: OddInputSender) -> list[int]:
    """A plain text of 10,000 words."""
    return sender.file(sender.words(10_000).encode())


def document_under_limit(sender: OddInputSender) -> list[int]:
    """A document of nearly a million tokens, of equal windows: costs memory, and little time."""
    return sender.file(b"word " * _JUST_UNDER)


def document_over_limit(sender: OddInputSender) -> list[int]:
    """A document of more than a million tokens, which is refused."""
    text = sender.words(20_000).encode()
    return sender.file((text + b" ") * (_FAR_OVER // 20_000))


def pdf_text(sender: OddInputSender) -> list[int]:
    """A PDF of some pages, judged page by page too."""
    return sender.file(
        synthetic_media.pdf(sender.pick.randrange(1, 20), sender.pick.randrange(10**6)),
        per_page=True,
    )


def pdf_drawn(sender: OddInputSender) -> list[int]:
    """A PDF judged by its pages as images."""
    return sender.file(
        synthetic_media.pdf(4, sender.pick.randrange(10**6)),
        model=sender.image_model,
        file_by="both",
    )


def broken_documents(sender: OddInputSender) -> list[int]:
    """A PDF cut short, a DOCX that expands to 300 MB, a page of HTML, and noise."""
    noise = sender.pick.randbytes(100_000)
    whole = synthetic_media.pdf(10, 1)
    found = [whole[: len(whole) // 2], _docx(b"<w:t>" + b"x" * 300_000_000), b"<html>x", noise]
    return [status for data in found for status in sender.file(data)]


def docx(sender: OddInputSender) -> list[int]:
    """A DOCX of 3,000 words."""
    text = sender.words(3_000)
    paragraph = f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
    return sender.file(_docx(f"<w:body>{paragraph}</w:body>".encode()))


def images(sender: OddInputSender) -> list[int]:
    """Eight photos in one call."""
    chosen = sender.pick.sample(sender.jpegs, 8)
    items = [{"image": base64.b64encode(each).decode()} for each in chosen]
    return sender.classify(*items, model=sender.image_model)


def odd_images(sender: OddInputSender) -> list[int]:
    """An image cut short, one of 36 megapixels of one colour, and one that is none."""
    plain = io.BytesIO()
    Image.new("RGB", (6000, 6000), "red").save(plain, "PNG")
    found = [sender.jpegs[0][:2000], plain.getvalue(), b"GIF89a" + sender.pick.randbytes(500)]
    return [status for data in found for status in sender.image(data)]


def train(sender: OddInputSender) -> list[int]:
    """Make a classifier, go on with it, ask it, and delete every other one."""
    examples = [
        {"text": text, "label": f"label {n % 5}"}
        for n, text in enumerate(sender.pick.sample(sender.texts, 50))
    ]
    status, made = sender.send("POST", "/v1/train", {"input": examples, "num_iters": 3})
    if status != 200:
        return [status]
    name = made["classifier_id"]
    more = {"classifier_id": name, "input": examples[:10]}
    ask = {"classifier_id": name, "input": sender.pick.sample(sender.texts, 3)}
    statuses = [status, sender.send("POST", "/v1/train", more)[0]]
    statuses.append(sender.send("POST", "/v1/classify", ask)[0])
    evaluate = {"input": examples[10:40]}
    statuses.append(sender.send("POST", f"/v1/classifiers/{name}/evaluate", evaluate)[0])
    if sender.pick.random() < 0.5:
        statuses.append(sender.send("DELETE", f"/v1/classifiers/{name}")[0])
    return statuses


def parquet_batch(sender: OddInputSender) -> list[int]:
    """A batch of a Parquet file with a dictionary."""
    texts = sender.pick.sample(sender.texts, _BATCH_ROWS)
    table = pa.table({"id": [f"r{n}" for n in range(_BATCH_ROWS)], "text": texts})
    table = table.append_column("group", pa.array(["a", "b"] * (_BATCH_ROWS // 2)))
    place = _place(sender, "parquet")
    pq.write_table(table, place, use_dictionary=["group"])
    return _batch(sender, place)


def csv_batch(sender: OddInputSender) -> list[int]:
    """A batch of a CSV file, packed by gzip."""
    lines = [f'r{n},"{sender.words(20)}"' for n in range(_BATCH_ROWS)]
    place = _place(sender, "csv.gz")
    place.write_bytes(gzip.compress("\n".join(["id,text", *lines]).encode()))
    return _batch(sender, place)


def odd_batches(sender: OddInputSender) -> list[int]:
    """A Parquet file cut short, a row of 5 MB, and lines of no schema."""
    broken, long, foreign = (_place(sender, kind) for kind in ("parquet", "jsonl", "jsonl"))
    pq.write_table(pa.table({"id": ["a"] * 1000, "text": ["b" * 100] * 1000}), broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    long.write_text(json.dumps({"id": "a", "text": "x" * 5_000_000}) + "\n")
    foreign.write_text('{"a": [[[1]]]}\n' * 500)
    return [status for place in (broken, long, foreign) for status in _batch(sender, place)]


KINDS: dict[Kind, int] = {
    short_texts: 30,
    many_texts: 3,
    described_labels: 4,
    long_text: 4,
    text_over_limit: 4,
    odd_words: 6,
    text_document: 4,
    document_under_limit: 2,
    document_over_limit: 6,
    pdf_text: 6,
    pdf_drawn: 2,
    broken_documents: 2,
    docx: 4,
    images: 4,
    odd_images: 2,
    train: 5,
    parquet_batch: 2,
    csv_batch: 2,
    odd_batches: 1,
}
"""How often each is sent, of all."""


def _place(sender: OddInputSender, kind: str) -> Path:
    return sender.folder / f"{sender.pick.randrange(10**12)}.{kind}"


def _batch(sender: OddInputSender, place: Path) -> list[int]:
    """Send a file, make a batch of it, wait for its end, and delete the file."""
    try:
        file_id = batch_runs.upload(sender.service, place)
    finally:
        place.unlink()
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/classify",
        "completion_window": "24h",
        "classify": {"labels": batch_runs.LABELS},
        "id_column": "id",
    }
    status, batch = sender.send("POST", "/v1/batches", body)
    until = time.monotonic() + _ANSWER_LIMIT_S
    while status == 200 and batch["status"] not in _FINAL and time.monotonic() < until:
        time.sleep(_POLL_S)
        status, batch = sender.send("GET", f"/v1/batches/{batch['id']}")
    return [status, sender.send("DELETE", f"/v1/files/{file_id}")[0]]


def _docx(body: bytes) -> bytes:
    """A package of Word with so much in its document, which need not be well-formed."""
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{types}"><Override PartName="/word/document.xml" '
            f'ContentType="{main}"/></Types>',
        )
        package.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{relations}"><Relationship Id="r1" Type="{office}" '
            'Target="word/document.xml"/></Relationships>',
        )
        document = f'<w:document xmlns:w="{space}">'.encode() + body + b"</w:document>"
        package.writestr("word/document.xml", document)
    return packed.getvalue()
