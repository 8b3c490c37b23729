"""A download that broke off goes on where it stopped, as curl does it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.chaos.test_batches import ended, start, upload
from tests.servers import HOST
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def curl(stack: Stack, path: str, *options: str) -> str:
    """What curl prints."""
    url = f"http://{HOST}:{stack.port}{path}"
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {stack.key}", *options, url]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout


def assert_resumes(stack: Stack, path: str, whole: bytes, folder: Path) -> None:
    part = folder / "part"
    part.write_bytes(whole[: len(whole) // 3])

    sent = curl(stack, path, "-C", "-", "-o", str(part), "-w", "%{http_code} %{size_download}")

    assert part.read_bytes() == whole
    assert sent.split() == ["206", str(len(whole) - len(whole) // 3)]


def test_curl_resumes_a_file_and_an_output(stack: Stack, tmp_path: Path):
    data = os.urandom(3_000_000)
    file_id = upload(stack, data, "rows.bin")
    rows = b"\n".join(b'{"id": "%d", "text": "a red rose"}' % number for number in range(50))
    batch_id = start(stack, rows)
    ended(stack, batch_id)
    output = f"/v1/batches/{batch_id}/output"

    assert_resumes(stack, f"/v1/files/{file_id}/content", data, tmp_path)
    assert_resumes(stack, output, stack.call("GET", output).body, tmp_path)


def test_curl_resumes_a_classifier(stack: Stack, tmp_path: Path):
    lesson = [{"text": "a red rose", "label": "red"}, {"text": "green grass", "label": "green"}]
    trained = stack.call("POST", "/v1/train", {"input": lesson})
    path = f"/v1/classifiers/{trained.json()['classifier_id']}/export"

    assert_resumes(stack, path, stack.call("GET", path).body, tmp_path)


def test_head_and_a_range_behind_the_end(stack: Stack):
    file_id = upload(stack, b"x" * 1000, "rows.bin")
    path = f"/v1/files/{file_id}/content"

    head = stack.call("HEAD", path, Range="bytes=5-")
    behind = stack.call("GET", path, Range="bytes=1000-")

    assert (head.status, head.headers["content-length"], head.body) == (200, "1000", b"")
    assert (behind.status, behind.headers["content-range"]) == (416, "bytes */1000")
