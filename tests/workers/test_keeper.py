from __future__ import annotations

import threading
import time

import pytest

from shared import ids, object_keys
from shared.batches import UPLOAD_RETENTION_S, BatchResult, StoredFile
from shared.errors import BrokerUnavailable, ClocksDisagree
from shared.jobs import Job, State
from shared.member_reports import WorkerReport
from shared.messages import CONTROL, decode, encode, queues_of
from shared.webhook_store import WebhookStore
from tests.fakes import FakeDoorbell
from tests.workers.conftest import QUEUE, Bench
from tests.workers.handlers.test_batch import a_batch, run_all
from tests.workers.keeper.schedules import live_checks_of, schedules_of
from tests.workers.keeper.test_retention import NO_LIMIT, put_upload, uploads
from workers.keeper.main import Keeper
from workers.keeper.retention import expire_call_records, expire_files, expire_jobs
from workers.keeper.webhook_delivery import WebhookDelivery
from workers.outbound_http.client import Outbound


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
def keeper(bench: Bench, rung: list[str]) -> Keeper:
    return Keeper(
        ledger=bench.ledger,
        store=bench.store,
        doorbell=FakeDoorbell(rung.append),
        delivery=WebhookDelivery(WebhookStore(store=bench.store), Outbound()),
        schedules=schedules_of(bench, rung),
        live_checks=live_checks_of(bench),
        max_attempts=3,
        lease_s=10,
        audit_s=3600,
        result_retention_s=3600,
        compare_clocks=lambda: None,
        clock=lambda: 3600.0,
    )


def tick(keeper: Keeper) -> None:
    keeper.tick()
    keeper.settle(timeout_s=60)


def test_it_rings_where_work_waits_and_nobody_attends(
    bench: Bench, keeper: Keeper, rung: list[str]
):
    bench.submit()
    bench.ledger.let_pass(0.55)  # the bell of the submit counts as on its way

    tick(keeper)

    assert rung == [QUEUE]


def test_it_rings_once_for_each_worker_of_the_queue(bench: Bench, keeper: Keeper, rung: list[str]):
    for member, queues in (("w1", (QUEUE,)), ("w2", (QUEUE, "control")), ("w3", ("control",))):
        report = WorkerReport(device="cpu", queues=queues, models=())
        bench.ledger.report("worker", member, encode(report), ttl_s=60)
    bench.submit()
    bench.ledger.let_pass(0.55)

    tick(keeper)

    assert rung == [QUEUE, QUEUE]


def test_it_returns_what_a_dead_worker_held(bench: Bench, keeper: Keeper):
    bench.submit()
    bench.claim(lease_s=0)
    bench.ledger.let_pass(0.01)

    tick(keeper)

    assert bench.claim().attempt == 2


def test_it_adopts_every_open_job_of_a_ledger_that_lost_everything(bench: Bench, keeper: Keeper):
    tick(keeper)
    jobs = {bench.submit().id for _ in range(3)}
    bench.ledger.lose_everything()

    tick(keeper)

    claims = bench.ledger.claim(QUEUE, None, calls=0, parts=9, lease_s=10).claims
    assert {claim.job_id for claim in claims} == jobs


def test_a_job_of_the_time_before_queues_had_models_is_adopted_for_its_model(
    bench: Bench, keeper: Keeper
):
    job = bench.submit()
    name = object_keys.request("acme", job.id)
    old = bench.store.get(name).data.replace(QUEUE.encode(), b"cpu.standard")
    bench.store.put(name, old)
    assert b'"queue":"cpu.standard"' in old
    bench.ledger.lose_everything()

    tick(keeper)

    (claim,) = bench.ledger.claim(QUEUE, None, calls=0, parts=9, lease_s=10).claims
    assert claim.job_id == job.id


def test_work_for_a_device_of_which_no_worker_lives_is_moved(bench: Bench, keeper: Keeper):
    report = WorkerReport(device="gpu", queues=queues_of("gpu", ["tiny"]), models=("tiny",))
    bench.ledger.report("worker", "w", encode(report), ttl_s=60)
    job = bench.submit()

    tick(keeper)

    (claim,) = bench.ledger.claim("gpu.standard.tiny", None, calls=0, parts=9, lease_s=10).claims
    assert claim.job_id == job.id


def test_it_does_not_adopt_what_it_knows_or_what_has_ended(bench: Bench, keeper: Keeper):
    known, ended = bench.submit(), bench.submit()
    bench.store.put(object_keys.job("acme", ended.id), b"{}")
    bench.ledger.lose_everything()
    bench.ledger.create_job(known, parts=1)

    tick(keeper)

    claims = bench.ledger.claim(QUEUE, None, calls=0, parts=9, lease_s=10).claims
    assert [claim.job_id for claim in claims] == [known.id]
    assert object_keys.open_marker(ended.id) not in bench.store.objects


def test_a_marker_without_a_request_was_never_accepted(bench: Bench, keeper: Keeper):
    bench.store.put(object_keys.open_marker(ids.job_id(3_600_000, 1)), b"acme")
    bench.store.put("open/left-by-a-console", b"")

    tick(keeper)

    assert list(bench.store.list(object_keys.OPEN)) == ["open/left-by-a-console"]


def test_a_request_that_cannot_be_decoded_ends_as_a_failed_job(bench: Bench, keeper: Keeper):
    job_id = ids.job_id(3_600_000, 1)
    bench.store.put(object_keys.open_marker(job_id), b"acme")
    bench.store.put(object_keys.request("acme", job_id), b"garbage")

    tick(keeper)

    ended = decode(Job, bench.store.get(object_keys.job("acme", job_id)).data)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert "not a Submission" in ended.error.detail
    assert not list(bench.store.list(object_keys.OPEN))


def test_a_request_of_a_newer_schema_waits_for_a_newer_keeper(bench: Bench, keeper: Keeper):
    job = bench.submit()
    name = object_keys.request("acme", job.id)
    stored = bench.store.get(name).data
    bench.store.put(name, stored.replace(b'"schema_number":1', b'"schema_number":99'))
    bench.ledger.lose_everything()

    tick(keeper)

    assert object_keys.open_marker(job.id) in bench.store.objects
    assert object_keys.job("acme", job.id) not in bench.store.objects


@pytest.mark.slow
def test_an_outage_is_waited_out_and_the_living_get_time_to_beat(bench: Bench, keeper: Keeper):
    stopping = threading.Event()
    bench.submit()
    bench.claim(lease_s=0)
    bench.ledger.away = True
    thread = threading.Thread(target=keeper.run, args=(stopping,))
    thread.start()
    time.sleep(0.1)
    bench.ledger.away = False
    time.sleep(1.2)

    assert thread.is_alive()
    assert bench.nothing_ready(), "reaped before the holder could beat"
    stopping.set()
    thread.join(60)


def test_an_outage_of_the_store_does_not_stop_the_bells(
    bench: Bench, keeper: Keeper, rung: list[str]
):
    bench.submit()
    bench.ledger.let_pass(0.55)
    bench.store.away = True

    tick(keeper)

    assert rung == [QUEUE]


def test_a_keeper_without_a_broker_says_so(bench: Bench, keeper: Keeper):
    bench.ledger.away = True
    with pytest.raises(BrokerUnavailable):
        tick(keeper)


def test_ended_jobs_expire_and_open_ones_never(bench: Bench):
    old, running, young = (
        ids.job_id(1_000, 1),
        ids.job_id(1_000, 2),
        ids.job_id(9_000_000, 3),
    )
    for job_id in (old, running, young):
        bench.store.put(object_keys.request("acme", job_id), b"{}")
        bench.store.put(object_keys.result("acme", job_id), b"{}")
    for job_id in (old, young):
        bench.store.put(object_keys.job("acme", job_id), b"{}")
    bench.store.put(object_keys.open_marker(running), b"acme")

    assert expire_jobs(bench.store, bench.ledger, before=5_000.0, now=9_000.0, limit=NO_LIMIT) == 1

    assert set(bench.store.children(object_keys.jobs_of("acme"))) == {running, young}


def test_a_batch_is_no_longer_listed_once_it_has_expired(bench: Bench):
    old = ids.job_id(1_000, 1)
    bench.store.put(object_keys.job("acme", old), b"{}")
    bench.store.put(object_keys.batch("acme", old), b"")

    assert expire_jobs(bench.store, bench.ledger, before=5_000.0, now=9_000.0, limit=NO_LIMIT) == 1

    assert not [*bench.store.list(object_keys.BATCHES)]


def test_a_job_that_never_ended_in_all_its_time_expires(bench: Bench):
    job = bench.submit()

    expire_jobs(bench.store, bench.ledger, before=2e9, now=2e9, limit=NO_LIMIT)

    ended = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    assert ended.state is State.EXPIRED
    assert (ended.progress.total, ended.progress.failed) == (1, 1)
    assert bench.nothing_ready()
    assert expire_jobs(bench.store, bench.ledger, before=2e9, now=2e9, limit=NO_LIMIT) == 1
    assert not list(bench.store.list("jobs/"))


def test_a_batch_that_never_ended_in_all_its_time_has_its_error_file(bench: Bench):
    file = b"".join(b'{"id": %d, "text": "red"}\n' % n for n in range(3))
    job = a_batch(bench, file)
    bench.parts.run(bench.claim(CONTROL))
    part = bench.claim(QUEUE)

    for _ in range(2):  # the second time it waits for the worker
        expire_jobs(bench.store, bench.ledger, before=2e9, now=2e9, limit=NO_LIMIT)
    bench.ledger.requeue(part)
    run_all(bench)

    ended = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    result = decode(BatchResult, bench.store.get(object_keys.result("acme", job.id)).data)
    assert (ended.state, ended.progress.failed) == (State.EXPIRED, 3)
    assert result.codes == {"batch_expired": 3}
    assert result.error_file is not None


def test_a_batch_that_no_worker_ends_expires_a_day_later(bench: Bench):
    job = a_batch(bench, b'{"id": 1, "text": "red"}\n')

    for now in (2e9, 2e9 + 86399, 2e9 + 86401):
        assert not any(bench.store.list(object_keys.job("acme", job.id)))
        expire_jobs(bench.store, bench.ledger, before=2e9, now=now, limit=NO_LIMIT)

    assert any(bench.store.list(object_keys.job("acme", job.id)))


def test_used_idempotency_keys_expire(bench: Bench):
    bench.store.put(object_keys.idempotency("acme", "a"), b'{"until": 10}')
    bench.store.put(object_keys.idempotency("acme", "b"), b'{"until": 1000}')

    expire_call_records(bench.store, now=100, limit=NO_LIMIT)

    assert list(bench.store.list(object_keys.IDEMPOTENCY)) == [object_keys.idempotency("acme", "b")]


def put_file(bench: Bench, made_at: int, expires_at: float | None, *, whole: bool = True) -> str:
    file_id = ids.file_id(made_at * 1000, 1)
    file = StoredFile(
        id=file_id,
        purpose="batch",
        filename="x",
        bytes=1,
        created_at=made_at,
        expires_at=expires_at,
    )
    bench.store.put(object_keys.file_content("acme", file_id), b"x")
    if whole:
        bench.store.put(object_keys.file("acme", file_id), encode(file))
    return file_id


def test_files_expire_when_they_say_so(bench: Bench):
    kept = put_file(bench, 1, None), put_file(bench, 2, 101.0)
    put_file(bench, 3, 100.0)

    assert expire_files(bench.store, before=0, now=100, limit=NO_LIMIT) == 1

    assert sorted(kept) == list(bench.store.children(object_keys.files_of("acme")))


def test_bytes_that_no_job_can_still_make_a_file_of_are_deleted(bench: Bench):
    put_file(bench, 1, None, whole=False)
    kept = put_file(bench, 50, None, whole=False), put_file(bench, 2, None)

    assert expire_files(bench.store, before=49, now=100, limit=NO_LIMIT) == 1

    assert sorted(kept) == list(bench.store.children(object_keys.files_of("acme")))


def test_a_record_that_cannot_be_read_keeps_its_file(bench: Bench):
    file_id = put_file(bench, 1, None)
    bench.store.put(object_keys.file("acme", file_id), b"garbage")

    assert expire_files(bench.store, before=50, now=100, limit=NO_LIMIT) == 0


def test_a_keeper_deletes_files_too(bench: Bench, keeper: Keeper):
    put_file(bench, 1, 3000.0)

    tick(keeper)

    assert not list(bench.store.list(object_keys.FILES))


def test_a_keeper_deletes_uploads_an_hour_after_their_day(bench: Bench, keeper: Keeper):
    now = 10 * UPLOAD_RETENTION_S
    keeper.clock = lambda: now
    gone = put_upload(bench.store, now - UPLOAD_RETENTION_S - 3601)
    kept = put_upload(bench.store, now - UPLOAD_RETENTION_S - 3599)

    tick(keeper)

    assert uploads(bench.store) == {kept} != {gone}


def test_control_work_is_rung_too(bench: Bench, keeper: Keeper, rung: list[str]):
    job = bench.submit()
    bench.ledger.abort_job(job.id)
    bench.ledger.let_pass(0.55)

    tick(keeper)

    assert CONTROL in rung


def test_a_keeper_that_does_not_know_how_old_things_are_deletes_nothing(
    bench: Bench, keeper: Keeper, caplog: pytest.LogCaptureFixture
):
    def disagree() -> None:
        raise ClocksDisagree("this machine's clock is 691200.0 s ahead of Redis")

    keeper.clock = lambda: 10.0 * UPLOAD_RETENTION_S
    job_id = ids.job_id(1_000, 1)
    bench.store.put(object_keys.job("acme", job_id), b"{}")
    put_file(bench, 1, 3000.0)
    put_upload(bench.store, 1)
    bench.store.put(object_keys.idempotency("acme", "a"), b'{"until": 10}')
    before = dict(bench.store.objects)
    keeper.compare_clocks = disagree

    tick(keeper)

    assert bench.store.objects == before
    assert caplog.messages.count("retention.put_off") == 3


def test_a_keeper_that_cannot_ask_for_the_time_deletes_nothing(bench: Bench, keeper: Keeper):
    def away() -> None:
        raise BrokerUnavailable("Redis is away")

    put_file(bench, 1, 3000.0)
    keeper.compare_clocks = away

    tick(keeper)

    assert list(bench.store.list(object_keys.FILES))
