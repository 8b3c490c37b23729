"""Every example of the OpenAPI document, sent to a whole service."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.app import OPERATIONS
from api.openapi import examples
from api.openapi.model import Operation
from tests.stack import Answer, Stack

EXAMPLES = {operation.name: operation.example for operation in OPERATIONS}
pytestmark = pytest.mark.integration

MODEL = "all-MiniLM-L6-v2"  # in the document; the service of the test has another
ROWS = b"id,text\n1,The parcel never arrived.\n2,\n"  # of which the second fails
ALSO = {
    "cancelBatch": {409},  # it may have ended before
    "cancelJob": {409},
    "downloadTextBatchResults": {404},  # its URL is signed
    "getRetrainingPlot": {404},  # it had too few examples to compare two versions
    "promoteRetrainingRun": {409},  # it had too few examples, and waits for nobody
    "rejectRetrainingRun": {409},
    "rollBackRetraining": {409},  # nothing was promoted
    "startTextBatch": {409},  # it was started before
    "uploadTexts": {404},  # its URL is signed
    "createUploadPartUrls": {400},  # the store of the test is a directory
}


class Things:
    """What the ids of the examples stand for, made as far as a call needs it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._made: dict[str, str] = {MODEL: "tiny"}

    def put(self, text: str) -> str:
        """A text with real ids in the place of those of the examples."""
        for placeholder, make in {
            examples.BATCH_ID: self.batch,
            examples.DELIVERY_ID: self.delivery,
            examples.FILE_ID: self.file,
            examples.JOB_ID: self.job,
            examples.KEY_ID: self.key,
            examples.PART_ID: self.part,
            examples.RUN_ID: self.run,
            examples.TEXT_BATCH_ID: self.text_batch,
            examples.UPLOAD_ID: self.upload,
            examples.WEBHOOK_ID: self.webhook,
        }.items():
            if placeholder in text and placeholder not in self._made:
                self._made[placeholder] = make()
        for placeholder, real in self._made.items():
            text = text.replace(placeholder, real)
        return text

    def json(self, method: str, path: str, body: object = None) -> Any:
        answer = self._stack.call(method, path, body)
        assert answer.status in {200, 201, 202}, answer.body
        return answer.json()

    def has_classifier(self) -> bool:
        return self._stack.call("GET", f"/v1/classifiers/{examples.CLASSIFIER}").status == 200

    def classifier(self) -> None:
        if not self.has_classifier():
            self.json("POST", "/v1/train", EXAMPLES["train"])

    def no_classifier(self) -> None:
        if self.has_classifier():
            self.json("DELETE", f"/v1/classifiers/{examples.CLASSIFIER}")

    def second_version(self) -> None:
        self.classifier()
        body = {"classifier_id": examples.CLASSIFIER, "input": EXAMPLES["train"]["input"]}
        self.json("POST", "/v1/train", body)

    def retraining(self) -> None:
        self.classifier()
        path = f"/v1/classifiers/{examples.CLASSIFIER}/retraining"
        self.json("PUT", path, EXAMPLES["putRetraining"])

    def run(self) -> str:
        """One that has ended."""
        path = f"/v1/classifiers/{examples.CLASSIFIER}/retraining/runs"
        job = self.json("POST", path, EXAMPLES["startRetrainingRun"])["id"]
        self._ended(f"/v1/jobs/{job}", "succeeded")
        return str(self.json("GET", path)["data"][0]["id"])

    def key(self) -> str:
        return str(self.json("POST", "/v1/keys", EXAMPLES["createKey"])["id"])

    def file(self) -> str:
        return str(sent_form(self._stack, "/v1/files", {"file": ROWS, "purpose": b"batch"})["id"])

    def batch(self) -> str:
        body = {"input_file_id": self.file(), "classify": {"labels": ["delivery", "billing"]}}
        batch = str(self.json("POST", "/v1/batches", body)["id"])
        self._ended(f"/v1/batches/{batch}", "completed")
        return batch

    def job(self) -> str:
        """An evaluation, which has a result and drawings."""
        self.classifier()
        path = f"/v1/classifiers/{examples.CLASSIFIER}/evaluate"
        answer = self._stack.call(
            "POST", path, EXAMPLES["evaluateClassifier"], Prefer="respond-async"
        )
        job = str(answer.json()["id"])
        self._ended(f"/v1/jobs/{job}", "succeeded")
        return job

    def upload(self) -> str:
        return str(self.json("POST", "/v1/uploads", EXAMPLES["createUpload"])["id"])

    def part(self) -> str:
        upload = self.put(examples.UPLOAD_ID)
        data = EXAMPLES["sendUploadPart"]["data"].encode()
        return str(sent_form(self._stack, f"/v1/uploads/{upload}/parts", {"data": data})["id"])

    def text_batch(self) -> str:
        """One that is completed."""
        made = self.json("POST", "/v1/batch", EXAMPLES["createTextBatch"])
        data, content_type = form({"file": EXAMPLES["uploadTexts"]["file"].encode()})
        path = made["upload_url"].partition(str(self._stack.port))[2]
        sent = self._stack.call("POST", path, data, Content_Type=content_type)
        assert sent.status == 204, sent.body
        batch = f"/v1/batch/{made['job_id']}"
        self.json("POST", f"{batch}/start")
        self._ended(batch, "completed")
        return str(made["job_id"])

    def webhook(self) -> str:
        return str(self.json("POST", "/v1/webhooks", EXAMPLES["createWebhook"])["id"])

    def delivery(self) -> str:
        webhook = self.put(examples.WEBHOOK_ID)
        return str(self.json("POST", f"/v1/webhooks/{webhook}/test")["id"])

    def _ended(self, path: str, status: str) -> None:
        self._stack.until(status, lambda: self.json("GET", path)["status"] == status)


def form(fields: dict[str, bytes]) -> tuple[bytes, str]:
    """A form, of which the first field is a file, and its media type."""
    pieces = []
    for index, (name, value) in enumerate(fields.items()):
        file = '; filename="mail.csv"' if index == 0 else ""
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        pieces += [head.encode(), value, b"\r\n"]
    return b"".join([*pieces, b"--edge--\r\n"]), "multipart/form-data; boundary=edge"


def sent_form(stack: Stack, path: str, fields: dict[str, bytes]) -> Any:
    data, content_type = form(fields)
    answer = stack.call("POST", path, data, Content_Type=content_type)
    assert answer.status == 200, answer.body
    return answer.json()


def exported(stack: Stack) -> bytes:
    return stack.call("GET", f"/v1/classifiers/{examples.CLASSIFIER}/export").body


def file_of(media_type: str) -> bytes:
    """The example of a file; one of bytes has what the others say."""
    csv = examples.FILES["text/csv"].encode()
    if media_type == "application/gzip":
        return gzip.compress(csv)
    if media_type == "application/zstd":
        return pa.Codec("zstd").compress(csv, asbytes=True)
    if media_type == "application/vnd.apache.parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(EXAMPLES["train"]["input"]), sink)
        return sink.getvalue()
    return examples.FILES[media_type].encode()


def bodies(operation: Operation, stack: Stack) -> dict[str, bytes]:
    """The example of each media type of the body."""
    found: dict[str, bytes] = {}
    if operation.body is not None:
        found["application/json"] = json.dumps(operation.example).encode()
    for media_type, shape in operation.uploads.items():
        if media_type == "application/octet-stream":
            found[media_type] = exported(stack)
        elif shape is None:
            found[media_type] = file_of(media_type)
        else:
            fields = {n: str(v).encode() for n, v in operation.example.items()}
            if operation.name == "importClassifier":
                fields["file"] = exported(stack)
            data, content_type = form(fields)
            found[content_type] = data
    return found or {"": b""}


def send(
    operation: Operation, stack: Stack, things: Things, media_type: str, data: bytes
) -> Answer:
    query = {}
    path = operation.path
    for parameter in operation.parameters:
        example = examples.PARAMETERS.get(parameter.name)
        if parameter.where == "path":
            path = path.replace(f"{{{parameter.name}}}", str(example))
        elif parameter.where == "query" and example is not None and operation.method == "get":
            query[parameter.name] = example
    path = things.put(path) + (f"?{urlencode(query)}" if query else "")
    headers = {"Content_Type": media_type} if media_type else {}
    return stack.call(operation.method.upper(), path, data or None, **headers)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_of_each_operation_works(stack: Stack, operation: Operation):
    prepare: dict[str, Callable[[Things], object]] = {
        "train": Things.no_classifier,
        "rollBackClassifier": Things.second_version,
    }
    usual = Things.retraining if "Retraining" in operation.tag else Things.classifier
    prepare.get(operation.name, usual)(Things(stack))
    for media_type, data in bodies(operation, stack).items():
        things = Things(stack)
        if media_type.startswith(("application/json", "multipart/")) and b"\0" not in data:
            data = things.put(data.decode()).encode()

        answer = send(operation, stack, things, media_type, data)

        expected = {*operation.answers, *ALSO.get(operation.name, ())} - {503}
        assert answer.status in expected, (media_type, answer.body)
