"""Mixed jobs while everything is killed: each account is charged what its results cost, once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from shared import ids, object_keys
from shared.adapters.celery.broker import CeleryDoorbell
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.store_factory import store_of
from shared.batches import BatchRequest, BatchResult, ColumnMapping, RowSource
from shared.errors import PigeonholeError
from shared.job_intake import JobIntake
from shared.job_kinds import JOB_KINDS
from shared.jobs import Job, State
from shared.messages import decode
from shared.ports import ObjectStore
from shared.statements import Statements
from shared.types import ClassifyRequest, JobKind, Question, Usage
from tests.chaos.rounds import ROUNDS
from tests.chaos.test_batches import table, upload
from tests.chaos.test_workers import unfinished
from tests.keys import secret_of
from tests.stack import LABELS, Stack, running_stack

pytestmark = pytest.mark.chaos
JOBS = 200 if ROUNDS == 1 else 1000 * ROUNDS
KILLS = JOBS // 20
ACCOUNTS = ("acme", "bolt", "core")
CALLER = "caller"  # makes synchronous calls only
WORDS = 6  # of each row of `table`
VICTIMS = ("worker", "worker2", "keeper", "api", "redis", "redis, emptied")


def header(store: ObjectStore, account: str) -> str:
    return f"Bearer {secret_of(store, account)}"


@contextmanager
def killing(stack: Stack, dice: random.Random) -> Iterator[Counter[str]]:
    """Kill and start a random process again and again during the block."""
    killed: Counter[str] = Counter()
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(dice.uniform(0.5, 2.0)):
            victim = dice.choice(VICTIMS)
            name = victim.partition(",")[0]
            if victim == "redis, emptied":
                stack.wipe_redis()
            else:
                stack.kill(name)
                stack.start(name)
            killed[victim] += 1
            for each in ("worker", "worker2", "keeper", "api"):  # as the launcher does
                if stack.processes[each].poll() is not None:
                    stack.start(each)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def submit_one(stack: Stack, number: int, key: str, files: dict[str, str], account: str) -> None:
    """One job of a kind that its number decides; every seventh is cancelled at once."""
    headers = {"Authorization": key, "Prefer": "respond-async"}
    texts = [f"red thing {number} {n} " + "word " * 20 for n in range(number % 40 + 1)]
    path, body = "/v1/classify", {"input": texts, "labels": LABELS}
    if number % 10 == 1:
        examples = [{"text": f"{each} {number}", "label": each} for each in LABELS]
        path, body = "/v1/train", {"input": examples, "num_iters": 3}  # type: ignore[dict-item]
    elif number % 25 == 2:
        path, body = (
            "/v1/batches",
            {
                "input_file_id": files[account],  # type: ignore[dict-item]
                "endpoint": "/v1/classify",  # type: ignore[dict-item]
                "completion_window": "24h",  # type: ignore[dict-item]
                "classify": {"labels": LABELS},  # type: ignore[dict-item]
                "id_column": "id",  # type: ignore[dict-item]
            },
        )
    answer = stack.call("POST", path, body, timeout_s=30, **headers)
    if number % 7 == 3 and answer.status in {200, 202}:
        job_id = answer.json()["id"].replace("batch_", "job_")
        stack.call("DELETE", f"/v1/jobs/{job_id}", Authorization=key, timeout_s=30)


def submit_expiring(stack: Stack, store: ObjectStore, account: str, file: str) -> None:
    """A batch whose time is over in a moment; over HTTP the shortest window is a minute."""
    redis_url = stack.settings.redis_url
    intake = JobIntake(
        store=store,
        ledger=RedisLedger(connect(redis_url, timeout_s=2)),
        doorbell=CeleryDoorbell(redis_url, timeout_s=2),
        result_retention_s=86400,
    )
    ask = ClassifyRequest(model="tiny", items=(), questions=(Question(labels=tuple(LABELS)),))
    body = BatchRequest(
        model="tiny",
        source=RowSource(object=object_keys.file_content(account, file), format="jsonl"),
        rows=ColumnMapping(id_column="id", ask=ask),
        deadline=time.time() + 3,
        output_file=ids.file_id(int(time.time() * 1000), ids.random_bits()),
        error_file=ids.file_id(int(time.time() * 1000), ids.random_bits()),
    )
    intake.accept(
        body, account=account, queue="cpu.bulk.tiny", request_id="req_test", dialect="jina"
    )


def accepted(store: ObjectStore) -> int:
    """Number of jobs of all accounts."""
    return sum(1 for a in ACCOUNTS for _ in store.children(object_keys.jobs_of(a)))


def jobs_of(store: ObjectStore, account: str) -> list[Job]:
    return [
        decode(Job, store.get(object_keys.job(account, job_id)).data)
        for job_id in store.children(object_keys.jobs_of(account))
    ]


def cost(store: ObjectStore, job: Job) -> Usage:
    """What the results of a job cost, by what workers left of it and not by its final record."""
    if job.kind is not JobKind.BATCH and job.state is not State.SUCCEEDED:
        return Usage()
    try:
        data = store.get(object_keys.result(job.account, job.id)).data
    except PigeonholeError:
        return Usage()  # a batch that ended before it was planned
    result = decode(JOB_KINDS[job.kind].result, data)
    if isinstance(result, BatchResult):
        name = result.output_file and object_keys.file_content(job.account, result.output_file)
        rows = len(store.get(name).data.splitlines()) if name else 0
        assert rows == job.progress.completed
        assert result.usage.input_tokens == WORDS * rows, job
    return result.usage


@pytest.mark.timeout(900 * ROUNDS)
def test_each_account_is_charged_exactly_what_its_finished_results_cost(tmp_path: Path):
    dice = random.Random(7)
    settings = {"lease_s": 3, "audit_s": 2, "max_attempts": 100, "request_timeout_s": 5}
    with running_stack(tmp_path, workers=2, ready_s=180, **settings) as stack:
        store = store_of(stack.settings)
        keys = {account: header(store, account) for account in (*ACCOUNTS, CALLER)}
        bad = {13: b"{broken", 14: b'{"id": "r2", "text": "again"}', 15: b'{"id": "x"}'}
        files = {}
        for account in ACCOUNTS:
            stack.key = keys[account].removeprefix("Bearer ")
            files[account] = upload(stack, table(1200, bad.get))
        sent: Counter[int] = Counter()
        first = stack.classify(headers={"Authorization": keys[CALLER]})
        sent[first.status] += 1
        call_tokens = first.json()["usage"]["total_tokens"]

        def submit(number: int) -> None:
            account = ACCOUNTS[number % 3]
            with suppress(OSError, HTTPException, PigeonholeError):
                if number % 40 == 5:
                    submit_expiring(stack, store, account, files[account])
                else:
                    submit_one(stack, number, keys[account], files, account)

        def call() -> None:
            while not submitting.is_set():
                status = 0
                with suppress(OSError, HTTPException):
                    answer = stack.classify(headers={"Authorization": keys[CALLER]}, timeout_s=20)
                    status = answer.status
                sent[status] += 1
                time.sleep(0.02)

        submitting = threading.Event()
        caller = threading.Thread(target=call)
        caller.start()
        with killing(stack, dice) as killed, ThreadPoolExecutor(6) as pool:
            list(pool.map(submit, range(JOBS)))
            number = JOBS
            while accepted(store) < JOBS or killed.total() < KILLS:
                list(
                    pool.map(submit, range(number, number + 6))
                )  # also for those that were refused
                number += 6
        submitting.set()
        caller.join()
        stack.until("all have ended", lambda: unfinished(stack) == 0, timeout_s=300)
        stack.until(
            "charges are posted",
            lambda: not list(store.list(object_keys.CHARGES)),
            timeout_s=60,
        )
        stack.until_ready()

        books = Statements(store=store, clock=time.time)
        states: Counter[tuple[str, str]] = Counter()
        for account in ACCOUNTS:
            jobs = jobs_of(store, account)
            states.update((job.kind, job.state) for job in jobs)
            due = sum((cost(store, job) for job in jobs), Usage())
            rows = books.rows(account, first="0", last="9")
            assert sum(row.tokens for row in rows) == due.total_tokens
            assert books.balance(account).charged == due.total_tokens > 0
            for name in ("label_tokens", "train_tokens", "input_tokens"):
                assert sum(getattr(row, name) for row in rows) == getattr(due, name), name
            assert sum(row.requests for row in rows) == len(jobs)
            assert sum(row.items for row in rows) == sum(j.progress.completed for j in jobs)
            assert sum(row.failed_items for row in rows) == sum(j.progress.failed for j in jobs)
            check_groups(stack, keys[account], jobs)
        calls = books.balance(CALLER).charged
        perhaps = sent[0] + sent[504]  # answered by a worker, perhaps, while the API died
        assert 0 < calls <= (sent[200] + perhaps) * call_tokens
        print(f"{number} jobs, killed {dict(killed)}, ended {dict(states)}, calls {dict(sent)}")
        assert {state for _, state in states} >= {State.SUCCEEDED, State.CANCELLED}


def check_groups(stack: Stack, key: str, jobs: list[Job]) -> None:
    """Every number of every report can be recomputed from the jobs."""
    groups = {
        "endpoint": lambda job: str(job.kind),
        "key": lambda job: job.key_id,
        "classifier": lambda job: job.classifier,
        "hour": lambda job: f"{job.finished_at:%Y-%m-%dT%H}",
    }
    for group_by, group_of in groups.items():
        answer = stack.call("GET", f"/v1/usage?group_by={group_by}", Authorization=key)
        expected: Counter[str] = Counter()
        for job in jobs:
            expected[group_of(job)] += job.usage.total_tokens  # type: ignore[no-untyped-call]
        found = {each["group"]: each["tokens"] for each in answer.json()["data"]}
        assert found == dict(expected)
