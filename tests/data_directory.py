"""Makes the data directory of a release, which later releases must start on.

    python -m tests.data_directory tests/data_directories/0.1.tar.gz

holds a classifier with versions, an alias and examples, files, an upload of which a part is there,
a batch and jobs that have ended, keys, a webhook, an Idempotency-Key; and a job and a batch that
nothing has begun. `facts.json` in the archive names them. Made once by each release that changes
what is stored; never made anew by later code.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.services.keys import create_key
from shared.adapters.store_factory import store_of
from tests.stack import Stack, running_stack

AGES_S = 3_000_000_000.0  # nothing of it expires before 2120
SETTINGS = {
    "result_retention_s": AGES_S,
    "file_retention_s": AGES_S,
    "idempotency_retention_s": AGES_S,
}
EXAMPLES = [
    {"text": text, "label": label}
    for label, texts in {
        "billing": ["the invoice is wrong", "I was charged twice", "refund my payment"],
        "shipping": [
            "where is my parcel",
            "the parcel came late",
            "it was sent to a wrong address",
        ],
    }.items()
    for text in texts
]
ROWS = "id,text\n1,the invoice is wrong\n2,where is my parcel\n3,\n"
MORE_ROWS = "id,text\n1,refund my payment\n2,the parcel came late\n"
TRAIN_KEY = "train-tickets-once"


def main() -> None:
    """Write the archive that the first argument names."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "stack"
        with running_stack(folder, **SETTINGS) as stack:
            facts = fill(stack)
        (folder / "facts.json").write_text(json.dumps(facts, indent=1))
        with tarfile.open(sys.argv[1], "w:gz", compresslevel=9) as archive:
            for name in ("objects", "redis", "facts.json"):
                archive.add(folder / name, arcname=name, filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without the lock files of the directory store: they hold nothing."""
    return None if "/.locks/" in member.name else member


def fill(stack: Stack) -> dict[str, Any]:
    """Put one of everything into a running service; its names."""
    body = {"input": EXAMPLES, "name": "tickets", "keep_examples": True}
    classifier = _ok(stack.call("POST", "/v1/train", body, Idempotency_Key=TRAIN_KEY))
    ref = classifier["classifier_id"]
    _ok(stack.call("POST", "/v1/train", {"classifier_id": ref, "input": EXAMPLES[:2]}))
    _ok(stack.call("PATCH", f"/v1/classifiers/{ref}", {"aliases": {"champion": 1}}))
    ask = {"input": "my parcel is lost", "classifier_id": "tickets@champion"}
    answer = _ok(stack.call("POST", "/v1/classify", ask))
    webhook = _ok(
        stack.call(
            "POST",
            "/v1/webhooks",
            {"url": "https://hooks.example.invalid/pigeonhole", "events": ["job.succeeded"]},
        )
    )
    file = _upload(stack, "rows.csv", ROWS)
    batch = _ok(stack.call("POST", "/v1/batches", _batch(file["id"])))
    stack.until("the batch has ended", lambda: _status(stack, batch["id"]) == "completed")
    ended = stack.submit("a red rose")
    stack.until("the job has ended", lambda: stack.job(ended)["status"] == "succeeded")
    upload = _ok(
        stack.call(
            "POST",
            "/v1/uploads",
            {
                "filename": "part.csv",
                "purpose": "batch",
                "bytes": 2 * len(ROWS),
                "mime_type": "text/csv",
            },
        )
    )
    reader, _ = create_key(
        store_of(stack.settings),
        name="reader",
        account="acme",
        scopes=("classify",),
        created_at=datetime.now(UTC),
        expires_at=None,
    )
    more = _upload(stack, "more.csv", MORE_ROWS)
    stack.kill("worker")
    open_job = stack.submit("a green leaf")
    open_batch = _ok(stack.call("POST", "/v1/batches", _batch(more["id"])))
    return {
        "key": stack.key,
        "reader": reader,
        "classifier": ref,
        "answer": answer["data"][0],
        "webhook": webhook["id"],
        "file": file["id"],
        "batch": batch["id"],
        "job": ended,
        "upload": upload["id"],
        "open_job": open_job,
        "open_batch": open_batch["id"],
        "train_key": TRAIN_KEY,
        "train_answer": classifier,
    }


def _batch(file: str) -> dict[str, Any]:
    return {
        "input_file_id": file,
        "endpoint": "/v1/classify",
        "completion_window": "24h",
        "classify": {"classifier_id": "tickets"},
        "text_column": "text",
        "id_column": "id",
    }


def _upload(stack: Stack, name: str, text: str) -> dict[str, Any]:
    form = (
        '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: text/csv\r\n\r\n{text}\r\n--b--\r\n"
    )
    sent = {"Content_Type": "multipart/form-data; boundary=b"}
    return _ok(stack.call("POST", "/v1/files", form.encode(), **sent))


def _status(stack: Stack, batch: str) -> str:
    return str(_ok(stack.call("GET", f"/v1/batches/{batch}"))["status"])


def _ok(answer: Any) -> dict[str, Any]:
    assert answer.status < 300, answer.body
    return dict(answer.json())


if __name__ == "__main__":
    main()
