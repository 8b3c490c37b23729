"""batches.tag against a real service: killed in the upload and in the wait, and run again."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pigeonhole_client import AsyncPigeonhole, BatchFailed, Pigeonhole, TagProgress, _tag_state
from pigeonhole_client.errors import ConfigurationError, NotFound

from tests.client.service import LABELS, SOURCE, url, write_rows
from tests.stack import ROOT, Stack, running_stack

pytestmark = pytest.mark.integration

ROWS = 6000
EMPTY_EVERY = 100
PART_BYTES = 4000


class Program:
    """A client process that tags a file."""

    def __init__(self, address: str, key: str, **arguments: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.tag_program", json.dumps(arguments)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (SOURCE, ROOT))),
                "PIGEONHOLE_URL": address,
                "PIGEONHOLE_API_KEY": key,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.lines.append(json.loads(line))

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(60)
        self._reading.join(60)

    def result(self) -> dict[str, Any]:
        assert self._process.wait(120) == 0
        self._reading.join(60)
        found: dict[str, Any] = self.lines[-1]["result"]
        return found


def state_of(source: Path) -> _tag_state.TagState | None:
    try:
        return _tag_state.interrupted(source)[1]
    except ConfigurationError:
        return None


def until_state(
    source: Path, reached: Callable[[_tag_state.TagState], object], what: str, program: Program
) -> None:
    waiting, ends_at = threading.Event(), time.monotonic() + 120
    while time.monotonic() < ends_at:
        state = state_of(source)
        if state is not None and reached(state):
            return
        assert program.running, f"the client ended before: {what}"
        waiting.wait(0.01)
    raise AssertionError(what)


def assert_tagged(result: dict[str, Any], source: Path, rows: int = ROWS) -> None:
    """Each row is in exactly one of the two files."""
    failed = len(range(0, rows, EMPTY_EVERY))
    assert (result["total"], result["completed"], result["failed"]) == (rows, rows - failed, failed)
    with Path(result["output"]).open() as file:
        done = [row["id"] for row in csv.DictReader(file)]
    with Path(result["errors"]).open() as file:
        bad = [json.loads(line)["id"] for line in file]
    assert sorted(done + bad) == sorted(f"r{number}" for number in range(rows))
    assert [(g["code"], g["count"]) for g in result["failures"]] == [("empty_text", failed)]
    left = {path.name for path in source.parent.iterdir()} - {
        source.name,
        Path(result["output"]).name,
        Path(result["errors"]).name,
    }
    assert not left, "nothing of the run stays"


def assert_made_once(client: Pigeonhole, source: Path) -> None:
    """One file, and one batch of it."""
    files = [file.id for file in client.files.list() if file.filename == source.name]
    assert len(files) == 1
    assert len([b for b in client.batches.list() if b.input_file_id == files[0]]) == 1


def arguments(source: Path) -> dict[str, Any]:
    return {
        "path": str(source),
        "labels": LABELS,
        "id_column": "id",
        "part_bytes": PART_BYTES,
    }


def test_a_file_is_tagged_and_its_failures_are_told(client: Pigeonhole, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "plain.csv", ROWS, empty_every=EMPTY_EVERY)
    told: list[TagProgress] = []

    result = client.batches.tag(**arguments(source), progress=told.append, top_k=1)

    assert_tagged(result.to_dict(), source)
    assert_made_once(client, source)
    assert not result.resumed
    assert result.total_tokens > ROWS
    assert result.output == str(tmp_path / "plain.tagged.csv")
    assert "60 empty_text: " in result.summary()
    assert "(rows r0, r100, r200, …)" in result.summary()
    assert (told[0].phase, told[-1].phase) == ("uploading", "downloading")
    assert max(p.done for p in told if p.phase == "uploading") == source.stat().st_size


def test_a_client_killed_in_the_upload_sends_the_rest_only(
    client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "upload.csv", ROWS, empty_every=EMPTY_EVERY)
    first = Program(url(stack), stack.key, **arguments(source), pause_s=0.2)
    until_state(source, lambda s: len(s.parts) >= 10, "ten parts are sent", first)
    first.kill()
    before = state_of(source)
    assert before is not None
    assert 10 <= len(before.parts) < source.stat().st_size // PART_BYTES

    again = Program(url(stack), stack.key, **arguments(source))
    result = again.result()

    assert result["resumed"]
    assert_tagged(result, source)
    assert_made_once(client, source)
    assert again.lines[0]["progress"]["done"] == len(before.parts) * PART_BYTES
    sent = [p["progress"] for p in again.lines[:-1] if p["progress"]["phase"] == "uploading"]
    assert len(sent) - 1 == -(-source.stat().st_size // PART_BYTES) - len(before.parts)


def test_a_client_killed_in_the_wait_follows_the_same_batch(
    client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "wait.csv", ROWS, empty_every=EMPTY_EVERY)
    stack.freeze("worker")
    try:
        first = Program(url(stack), stack.key, **arguments(source))
        until_state(source, lambda s: s.batch_id, "there is a batch", first)
        first.kill()
    finally:
        stack.send("worker", signal.SIGCONT)
    before = state_of(source)
    assert before is not None

    with Pigeonhole(url(stack), stack.key) as other:
        result = other.batches.resume_tag(source)

    assert result.batch_id == before.batch_id
    assert result.resumed
    assert_tagged(result.to_dict(), source)
    assert_made_once(client, source)


def test_two_processes_do_not_make_the_same_run_at_once(
    client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "twice.csv", ROWS, empty_every=EMPTY_EVERY)
    stack.freeze("worker")
    try:
        first = Program(url(stack), stack.key, **arguments(source))
        until_state(source, lambda s: s.batch_id, "there is a batch", first)
        with pytest.raises(ConfigurationError, match="another process"):
            client.batches.tag(**arguments(source))
        with pytest.raises(ConfigurationError, match="another process"):
            client.batches.resume_tag(source)
    finally:
        stack.send("worker", signal.SIGCONT)

    assert_tagged(first.result(), source)
    assert_made_once(client, source)


@pytest.mark.parametrize("step", ["batch_id", "file_id"])
def test_a_client_killed_after_a_call_and_before_its_note_does_it_once(
    step: str, client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    """The state of a client that was killed after the answer of a call: without what it says."""
    source = write_rows(tmp_path / f"{step}.csv", ROWS, empty_every=EMPTY_EVERY)
    stack.freeze("worker")
    try:
        first = Program(url(stack), stack.key, **arguments(source))
        until_state(source, lambda s: s.batch_id, "there is a batch", first)
        first.kill()
    finally:
        stack.send("worker", signal.SIGCONT)
    place, state = _tag_state.interrupted(source)
    made = state.batch_id
    state.batch_id = ""
    if step == "file_id":
        state.file_id = state.batch_key = ""
        client.batches.cancel(made)
    state.save(place)

    result = client.batches.tag(**arguments(source))

    assert_tagged(result.to_dict(), source)
    files = [file.id for file in client.files.list() if file.filename == source.name]
    assert len(files) == 1, "the parts are there: completing them again gives the same file"
    assert (result.batch_id == made) == (step == "batch_id")


def test_a_changed_input_and_another_command_are_runs_of_their_own(
    client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "changed.csv", ROWS)
    first = Program(url(stack), stack.key, **arguments(source), pause_s=0.2)
    until_state(source, lambda s: len(s.parts) >= 3, "parts are sent", first)
    first.kill()
    write_rows(source, 200, empty_every=EMPTY_EVERY)

    with pytest.raises(ConfigurationError, match="was changed since"):
        client.batches.resume_tag(source)
    result = client.batches.tag(**arguments(source))

    assert_tagged(result.to_dict(), source, rows=200)
    assert not result.resumed
    with pytest.raises(ConfigurationError, match="no interrupted run"):
        client.batches.resume_tag(source)
    other = client.batches.tag(source, ["blue", "pink"], output=tmp_path / "other.csv")
    assert other.batch_id != result.batch_id


def test_a_batch_that_is_forgotten_is_made_anew(client: Pigeonhole, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "forgotten.csv", 200, empty_every=EMPTY_EVERY)
    fresh = client.batches.tag(**arguments(source))
    place = tmp_path / f".forgotten.csv.{'0' * 8}.pigeonhole-tag"
    request = {"endpoint": "/v1/classify", "classify": {"labels": LABELS}, "output_format": "csv"}
    _tag_state.TagState(
        base_url=client.batches._transport.address.base_url,
        request={**request, "id_column": "id"},
        output=str(fresh.output),
        errors=str(fresh.errors),
        input=_tag_state.describe(source),
        part_bytes=PART_BYTES,
        upload_id="upload_zybr2d8n1bhpjq8jg8tqpy78gn",
        parts={"0": "part_1"},
        file_id="file-zybr2d8n1bhpjq8jg8tqpy78gn",
        batch_id="batch_zybr2d8n1bhpjq8jg8tqpy78gn",
    ).save(place)

    result = client.batches.resume_tag(source)

    assert_tagged(result.to_dict(), source, rows=200)
    with pytest.raises(NotFound):
        client.batches.get("batch_zybr2d8n1bhpjq8jg8tqpy78gn")


def test_a_file_that_is_no_table_fails_with_its_reason(client: Pigeonhole, tmp_path: Path) -> None:
    source = tmp_path / "other.csv"
    source.write_text("id,words\n1,red\n")

    with pytest.raises(BatchFailed, match="text"):
        client.batches.tag(source, LABELS)

    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]
    with pytest.raises(ConfigurationError, match="is empty"):
        client.batches.tag(_empty(tmp_path / "empty.csv"), LABELS)
    with pytest.raises(ConfigurationError, match="names no format"):
        client.batches.tag(source, LABELS, output=tmp_path / "out.xlsx")


def _empty(path: Path) -> Path:
    path.touch()
    return path


def test_a_restart_of_the_api_in_the_middle_is_waited_out(tmp_path: Path) -> None:
    """Killed in the upload and in the wait, each time for two seconds."""
    source = write_rows(tmp_path / "restart.csv", ROWS, empty_every=EMPTY_EVERY)
    with running_stack(tmp_path / "stack") as stack:
        stack.freeze("worker")
        program = Program(url(stack), stack.key, **arguments(source))
        steps: dict[str, Callable[[_tag_state.TagState], object]] = {
            "parts are sent": lambda state: state.parts,
            "there is a batch": lambda state: state.batch_id,
        }
        for what, reached in steps.items():
            until_state(source, reached, what, program)
            stack.kill("api")
            threading.Event().wait(2)
            assert program.running
            stack.start("api")
        stack.until("the API answers", lambda: stack.call("GET", "/health/live").status == 200)
        stack.send("worker", signal.SIGCONT)
        result = program.result()
        with Pigeonhole(url(stack), stack.key) as client:
            assert_made_once(client, source)

    assert not result["resumed"]
    (tmp_path / "stack").rename(tmp_path.parent / f"{tmp_path.name}-stack")
    assert_tagged(result, source)


def test_a_connection_cut_in_the_download_goes_on_where_it_was(
    client: Pigeonhole, stack: Stack, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(content)
    file = client.files.upload(tmp_path / "in", purpose="user_data")
    half = tmp_path / f".out.{file.id}.part"
    half.write_bytes(content[:1_000_000])

    path = client.files.download(file.id, tmp_path / "out")

    assert path.read_bytes() == content
    assert not half.exists()
    half.write_bytes(content)
    assert client.files.download(file.id, tmp_path / "out").read_bytes() == content


def test_the_asynchronous_client_tags_too(stack: Stack, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "async.csv", ROWS, empty_every=EMPTY_EVERY)

    async def scene() -> dict[str, Any]:
        async with AsyncPigeonhole(url(stack), stack.key) as client:
            result = await client.batches.tag(**arguments(source))
            return result.to_dict()

    assert_tagged(asyncio.run(scene()), source)
