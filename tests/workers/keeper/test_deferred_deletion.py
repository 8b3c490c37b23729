"""What open jobs may still read outlives its name; then it goes, and nothing else stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from api.services.files import FileService
from shared import ids, object_keys
from shared.batches import BatchRequest, StoredFile
from shared.byte_cache import ByteCache
from shared.classifier_store import ClassifierStore
from shared.deletions import MARGIN_S
from shared.errors import InvalidRequest, NotFound
from shared.ids import parse_ref
from shared.jobs import Job, State
from shared.messages import CONTROL
from shared.request_resolution import with_files
from shared.types import Item, Media
from tests.fakes import FakeDoorbell
from tests.workers.conftest import NOW, QUEUE, Bench
from tests.workers.handlers.test_batch import (
    ASK,
    ME,
    a_batch,
    decode_body,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_train import a_job, creation, hold, update
from workers.keeper.deferred_deletion import finish_deletions
from workers.keeper.deletion_limit import DeletionLimit
from workers.keeper.job_recovery import adopt
from workers.keeper.orphan_gc import sweep
from workers.keeper.retention import expire_files, expire_jobs

ROWS = [{"id": str(n), "text": "red"} for n in range(40)]
LATER_S = MARGIN_S + 1
LIMIT = DeletionLimit("things", wait_s=0)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.batch.part_sizes._MAX_ROWS", 5)
    monkeypatch.setattr("workers.handlers.batch.cut_parts._WINDOW", 2)


def files(bench: Bench) -> FileService:
    return FileService(store=bench.store)


def a_file(bench: Bench, data: bytes = b"x", *, account: str = ME, expires_at: float | None = None):
    file_id = ids.file_id(10**12, ids.random_bits())
    file = StoredFile(
        id=file_id, purpose="batch", filename="x", bytes=1, created_at=1.0, expires_at=expires_at
    )
    bench.store.put(object_keys.file_content(account, file_id), data)
    files(bench).keep(account, file)
    return file_id


def begun(bench: Bench) -> tuple[Job, str]:
    """A batch of which a first part is done, and its file."""
    job = a_batch(bench, jsonl(*ROWS))
    file_id = decode_body(bench, job).source.object
    file = StoredFile(id=file_id, purpose="batch", filename="rows", bytes=1, created_at=1.0)
    files(bench).keep(ME, file)
    bench.parts.run(bench.claim(CONTROL))
    bench.parts.run(bench.claim(QUEUE))
    return job, file_id


def finish(bench: Bench) -> int:
    return finish_deletions(bench.store, now=time.time() + LATER_S)


def wiped(bench: Bench) -> None:
    bench.ledger.lose_everything()
    adopt(bench.store, bench.ledger, FakeDoorbell(lambda _: None), now=NOW)


class TestFiles:
    @pytest.mark.parametrize("lost", [lambda _: None, wiped])
    def test_a_batch_reads_its_file_to_the_end(self, bench: Bench, lost: Callable[[Bench], None]):
        job, file_id = begun(bench)

        files(bench).delete(ME, file_id)
        with pytest.raises(NotFound):
            files(bench).get(ME, file_id)
        assert finish(bench) == 0
        lost(bench)
        run_all(bench)

        assert ended(bench, job).state is State.SUCCEEDED
        assert len(lines(bench, result(bench, job).output_file)) == len(ROWS)
        assert finish(bench) == 1
        assert not list(bench.store.list(object_keys.DELETED))
        assert not list(bench.store.list(object_keys.file_prefix(ME, file_id)))

    def test_nothing_is_kept_where_no_job_is_open(self, bench: Bench):
        file_id = a_file(bench)

        files(bench).delete(ME, file_id)

        assert not bench.store.objects

    def test_jobs_of_others_and_later_ones_keep_nothing(self, bench: Bench):
        bench.submit()
        theirs = a_file(bench, account="other")
        files(bench).delete("other", theirs)
        assert finish(bench) == 1

        later = ids.job_id(int((time.time() + 2 * LATER_S) * 1000), 1)
        bench.store.put(object_keys.open_marker(later), ME.encode())
        for job in list(bench.store.list(object_keys.OPEN)):
            if job != object_keys.open_marker(later):
                bench.store.delete(job)
        mine = a_file(bench)
        files(bench).delete(ME, mine)
        assert finish(bench) == 1
        assert not list(bench.store.list(object_keys.FILES))

    def test_a_call_that_looked_it_up_just_before_is_waited_for(self, bench: Bench):
        bench.submit()
        files(bench).delete("other", a_file(bench, account="other"))

        assert finish_deletions(bench.store, now=time.time()) == 0

    def test_a_deletion_that_was_cut_off_is_finished(self, bench: Bench):
        job = bench.submit()
        file_id = a_file(bench)
        files(bench).delete(ME, file_id)
        bench.store.delete(object_keys.open_marker(job.id))
        files(bench).keep(  # as if the call had died before the record went
            ME, StoredFile(id=file_id, purpose="batch", filename="x", bytes=1, created_at=1.0)
        )

        assert finish(bench) == 1
        assert not list(bench.store.list(object_keys.FILES))

    def test_a_garbled_deletion_stops_no_other(self, bench: Bench):
        bench.store.put(object_keys.deletion("files/acme/a/file.json"), b"garbage")
        bench.submit()
        files(bench).delete("other", a_file(bench, account="other"))

        assert finish(bench) == 1

    def test_bytes_are_not_swept_while_they_are_needed(self, bench: Bench):
        job, file_id = begun(bench)
        files(bench).delete(ME, file_id)

        expire_files(bench.store, before=time.time(), now=time.time(), limit=LIMIT)

        run_all(bench)
        assert ended(bench, job).state is State.SUCCEEDED

    def test_a_file_that_expires_meanwhile_is_kept(self, bench: Bench):
        job, file_id = begun(bench)
        file = files(bench).get(ME, file_id)
        files(bench).keep(ME, file.model_copy(update={"expires_at": time.time() - 1}))
        assert expire_files(bench.store, before=0, now=time.time(), limit=LIMIT) == 0

        run_all(bench)

        assert ended(bench, job).state is State.SUCCEEDED
        assert expire_files(bench.store, before=0, now=time.time(), limit=LIMIT) == 1
        assert not list(bench.store.list(object_keys.file_prefix(ME, file_id)))

    def test_a_row_s_file_is_found_by_a_job_from_before_and_no_other(self, bench: Bench):
        bench.submit()
        file_id = a_file(bench)
        item = Item(file=Media(file_id=file_id))
        files(bench).delete(ME, file_id)

        (found,) = with_files([item], account=ME, store=bench.store, accepted_at=NOW.timestamp())

        assert found.file == Media(object=object_keys.file_content(ME, file_id))
        for accepted_at in (None, time.time() + LATER_S):
            with pytest.raises(InvalidRequest):
                with_files([item], account=ME, store=bench.store, accepted_at=accepted_at)


class TestClassifiers:
    @pytest.fixture
    def colours(self, bench: Bench) -> str:
        body = creation(name="colours", keep_examples=True, access="public")
        bench.train.train(a_job(), body, hold())
        return body.classifier_id

    def a_batch(self, bench: Bench, classifier_id: str) -> Job:
        """Of plain rows, which ask a classifier; accepted."""
        record, _ = bench.classifiers.records.load(ME, classifier_id)
        body = decode_body(bench, a_batch(bench, jsonl(*ROWS)))
        bench.ledger.lose_everything()  # the first batch was only its pattern
        for name in list(bench.store.list(object_keys.OPEN)):
            bench.store.delete(name)
        assert body.rows is not None
        weights = record.weights(record.latest)
        ask = ASK.model_copy(update={"questions": (), "classifier": weights})
        rows = body.rows.model_copy(update={"ask": ask})
        return bench.submit(body.model_copy(update={"rows": rows}))

    def forget_weights(self, bench: Bench) -> None:
        """As in a worker that was started after the deletion."""
        bench.classifiers._kept = ByteCache("classifiers", max_bytes=2**20)

    def test_that_is_deleted_is_there_for_a_batch(self, bench: Bench, colours: str):
        job = self.a_batch(bench, colours)
        bench.parts.run(bench.claim(CONTROL))
        record, _ = bench.classifiers.records.load(ME, colours)

        bench.classifiers.records.delete(record)
        self.forget_weights(bench)
        with pytest.raises(NotFound):
            bench.classifiers.records.own(ME, parse_ref("colours"))
        assert finish(bench) == 0
        sweep(bench.store, before=time.time() + 86400, limit=LIMIT)
        assert not list(bench.store.list(object_keys.examples(ME, colours)))
        run_all(bench)

        assert ended(bench, job).progress.completed == len(ROWS)
        assert finish(bench) == 1
        assert not list(bench.store.list(object_keys.classifier_prefix(ME, colours)))
        assert not list(bench.store.list("public/"))

    def test_s_version_that_is_pushed_out_is_there_for_a_batch(self, bench: Bench, colours: str):
        job = self.a_batch(bench, colours)
        bench.parts.run(bench.claim(CONTROL))
        before = set(bench.store.list(object_keys.versions(ME, colours)))

        for _ in range(3):  # as many as are kept
            bench.train.train(a_job(), update(colours), hold())
        self.forget_weights(bench)
        sweep(bench.store, before=time.time() + 86400, limit=LIMIT)
        run_all(bench)

        assert ended(bench, job).progress.completed == len(ROWS)
        assert finish(bench) == 1
        assert not before & set(bench.store.objects)

    @pytest.mark.parametrize("ref", ["colours", "{id}", "colours@v1"])
    def test_that_is_deleted_is_there_for_lines_that_name_it(
        self, bench: Bench, colours: str, ref: str
    ):
        asked = {"input": "red", "classifier_id": ref.format(id=colours), "threshold": {"red": 0.1}}
        file = jsonl(*({"custom_id": f"c{n}", "body": asked} for n in range(40)))
        job = a_batch(bench, file, rows=None)
        bench.parts.run(bench.claim(CONTROL))
        record, _ = bench.classifiers.records.load(ME, colours)
        bench.classifiers.records.delete(record)
        self.forget_weights(bench)

        run_all(bench)

        assert ended(bench, job).progress.completed == 40

    def test_that_is_deleted_learns_nothing_more(self, bench: Bench, colours: str):
        job = bench.submit(update(colours))
        record, _ = bench.classifiers.records.load(ME, colours)
        bench.classifiers.records.delete(record)

        run_all(bench)

        done = ended(bench, job)
        assert (done.state, done.error and done.error.code) == (State.FAILED, "RESOURCE_NOT_FOUND")

    def test_s_name_is_free_at_once(self, bench: Bench, colours: str):
        bench.submit()
        record, _ = bench.classifiers.records.load(ME, colours)
        bench.classifiers.records.delete(record)

        bench.train.train(a_job(), creation(name="colours"), hold())

        records = ClassifierStore(store=bench.store)
        assert records.own(ME, parse_ref("colours")).id != colours


def test_a_batch_is_kept_until_its_retry_has_ended(bench: Bench):
    job, _ = begun(bench)
    bench.ledger.lose_everything()
    body: BatchRequest = decode_body(bench, job)
    retry = bench.submit(body.model_copy(update={"retry_of": job.id, "origin": job.id}))
    bench.store.delete(object_keys.open_marker(job.id))
    bench.store.put(object_keys.job(ME, job.id), b"{}")
    mark = json.dumps({"job_id": retry.id, "until": 1.0}).encode()
    bench.store.put(object_keys.retry(ME, job.id), mark)

    expire_jobs(bench.store, bench.ledger, before=2e9, now=1e9, limit=LIMIT)
    assert any(bench.store.list(object_keys.job_prefix(ME, job.id)))

    bench.store.delete(object_keys.open_marker(retry.id))
    expire_jobs(bench.store, bench.ledger, before=2e9, now=1e9, limit=LIMIT)
    assert not any(bench.store.list(object_keys.job_prefix(ME, job.id)))
