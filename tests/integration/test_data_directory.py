"""A data directory that an earlier release wrote: this one starts on it and goes on."""

from __future__ import annotations

import json
import re
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import ids
from tests.data_directory import EXAMPLES, ROWS, SETTINGS
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.integration
RELEASES = sorted((Path(__file__).parents[1] / "data_directories").glob("*.tar.gz"))


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: path.name)
def old(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    facts = json.loads((folder / "facts.json").read_text())
    give_a_day(folder / "objects", facts)
    with running_stack(folder, **SETTINGS) as stack:
        stack.key = facts["key"]
        yield stack, facts


def give_a_day(objects: Path, facts: dict[str, Any]) -> None:
    """From now, to the open batch and the upload: both end a day after they were made."""
    now = time.time()
    batch = objects / "jobs.d/acme.d" / f"{ids.job_id_of(facts['open_batch'])}.d" / "request.json"
    until = datetime.fromtimestamp(now, UTC) + timedelta(days=1)
    replace(batch, r'"deadline":"[^"]+"', f'"deadline":"{until.isoformat()}"')

    uploads = objects / "uploads.d/acme.d"
    old, new = facts["upload"], ids.upload_id(int(now * 1000), ids.random_bits())
    upload = (uploads / f"{old}.d").rename(uploads / f"{new}.d") / "upload.json"
    replace(upload, r'"created_at":[\d.]+', f'"created_at":{now}')
    replace(upload, old, new)
    facts["upload"] = new


def replace(file: Path, old: str, new: str) -> None:
    """Replace the one place in a file."""
    written, times = re.subn(old, new, file.read_text())
    assert times == 1, (file, times)
    file.write_text(written)


def test_its_keys_open_what_they_opened(old: tuple[Stack, dict[str, Any]]):
    stack, facts = old

    assert stack.call("GET", "/v1/classifiers").status == 200
    reader = {"Authorization": f"Bearer {facts['reader']}"}
    assert stack.call("GET", "/v1/classifiers", **reader).status == 403
    assert stack.classify(headers=reader).status == 200
    names = [key["name"] for key in stack.call("GET", "/v1/keys").json()["data"]]
    assert sorted(names) == ["reader", "test", "test"]  # one is of this test


def test_its_classifier_answers_as_it_did_and_learns_on(old: tuple[Stack, dict[str, Any]]):
    stack, facts = old
    ask = {"input": "my parcel is lost", "classifier_id": "tickets@champion"}

    answer = stack.call("POST", "/v1/classify", ask).json()["data"][0]
    more = {"classifier_id": facts["classifier"], "input": EXAMPLES[:2]}
    trained = stack.call("POST", "/v1/train", more)
    rebuilt = stack.call("POST", "/v1/classifiers/tickets/rebuild", {"model": "tiny"})
    versions = stack.call("GET", "/v1/classifiers/tickets/versions").json()["data"]

    assert {name: answer[name] for name in facts["answer"]} == facts["answer"]
    assert trained.status == 200, trained.body
    assert rebuilt.status == 200, rebuilt.body
    assert sorted(each["version"] for each in versions) == [1, 2, 3, 4]


def test_its_jobs_files_and_webhooks_are_there(old: tuple[Stack, dict[str, Any]]):
    stack, facts = old

    job, batch = stack.job(facts["job"]), stack.call("GET", f"/v1/batches/{facts['batch']}").json()
    content = stack.call("GET", f"/v1/files/{facts['file']}/content")
    assert "output_file_id" in batch, batch
    output = stack.call("GET", f"/v1/files/{batch['output_file_id']}/content")
    webhook = stack.call("GET", f"/v1/webhooks/{facts['webhook']}")

    assert job["status"] == "succeeded", batch
    assert stack.call("GET", f"/v1/jobs/{facts['job']}/result").status == 200
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert content.body.decode() == ROWS
    assert len(output.body.splitlines()) == 2
    assert webhook.status == 200


def test_what_it_had_accepted_ends(old: tuple[Stack, dict[str, Any]]):
    stack, facts = old

    stack.until("the job ends", lambda: stack.job(facts["open_job"])["status"] == "succeeded")
    path = f"/v1/batches/{facts['open_batch']}"
    stack.until("the batch ends", lambda: stack.call("GET", path).json()["status"] == "completed")
    assert stack.call("GET", path).json()["request_counts"]["completed"] == 2


def test_an_upload_goes_on_and_a_replay_is_answered_as_before(old: tuple[Stack, dict[str, Any]]):
    stack, facts = old
    body = {"input": EXAMPLES, "name": "tickets", "keep_examples": True}

    replay = stack.call("POST", "/v1/train", body, Idempotency_Key=facts["train_key"])
    cancelled = stack.call("POST", f"/v1/uploads/{facts['upload']}/cancel")

    assert replay.status == 200, replay.body
    assert replay.headers["idempotent-replayed"] == "true"
    assert replay.json() == facts["train_answer"]
    assert cancelled.status == 200, cancelled.body
    assert cancelled.json()["status"] == "cancelled"
