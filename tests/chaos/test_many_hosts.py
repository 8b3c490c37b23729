"""Ten hosts with slow and lossy links: hosts are cut off and come back, and hosts are killed.

API x2, workers x4, keeper x2, Redis and S3 have a network namespace each (`tests/hosts.py`). Half
of the hosts are 5 ms away from the servers and half 50 ms, in each direction.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import boto3
import pytest

from shared.adapters.store_factory import store_of
from shared.settings import Settings
from tests.chaos.test_batches import COLOURS, done, ended, lines, start
from tests.chaos.test_outages import supervise
from tests.hosts import Hosts, Loopback, Namespaces, why_no_namespaces
from tests.keys import secret_of
from tests.servers import HOST, free_port, valkey_command
from tests.stack import Stack

pytestmark = pytest.mark.chaos
ROWS, JOBS = 4_000, 20
BATCHES = 3  # of the account that sends more
CUT_S = 30.0
LOSS = 0.002  # of the pieces of each stream
WORDS = 48  # of a row: 10 ms of a slow worker
CALL_S = 5.0
APIS, KEEPERS = ("api1", "api2"), ("keeper1", "keeper2")
WORKERS = ("worker1", "worker2", "worker3", "worker4")
NEAR_MS, FAR_MS = 5, 50  # to the servers, in each direction
PROGRAMS = {
    **dict.fromkeys(APIS, "api.main"),
    **dict.fromkeys(KEEPERS, "workers.keeper.main"),
    **dict.fromkeys(WORKERS, "tests.slow_worker"),
}
BUCKET = "pigeonhole"
S3_LOGIN = {"s3_access_key": "id", "s3_secret_key": "secret"}


def text_of(number: int) -> str:
    colour = COLOURS[number % 3]
    return f"{colour} {colour} {'thing ' * (WORDS - 3)}{number % 20}"


def table(count: int) -> bytes:
    rows = (f'{{"id": "r{n}", "text": "{text_of(n)}"}}\n' for n in range(count))
    return "".join(rows).encode()


@dataclass
class Calls:
    """Synchronous calls to one API host, one after another, until the end."""

    stack: Stack
    answers: list[tuple[float, float, int]] = field(default_factory=list)  # begin, seconds, status
    over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while not self.over.wait(0.2):
            began = time.monotonic()
            try:
                status = self.stack.classify("a red rose", timeout_s=4 * CALL_S).status
            except (OSError, HTTPException):
                status = 0  # nobody there
            self.answers.append((began, time.monotonic() - began, status))

    def statuses(self, since: float, until: float = float("inf")) -> Counter[int]:
        """Answers to calls that began within the time, by status."""
        return Counter(status for began, _, status in self.answers if since <= began < until)

    def slowest_s(self) -> float:
        return max(took_s for _, took_s, _ in self.answers)


@pytest.fixture(scope="module", params=[Namespaces, Loopback])
def hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hosts]:
    refused = why_no_namespaces()
    if request.param is Namespaces and refused:
        pytest.skip(refused)
    if request.param is Loopback and not refused:
        pytest.skip("instead of network namespaces, which are permitted here")
    stack = Hosts(
        tmp_path_factory.mktemp("hosts"),
        request.param(),
        lease_s=4,
        audit_s=5,
        request_timeout_s=CALL_S,
        object_store=f"s3://{BUCKET}/test",
        **S3_LOGIN,
    )
    try:
        start_servers(stack)
        for name, module in PROGRAMS.items():
            stack.add_host(
                name,
                *(sys.executable, "-m", module),
                delay_ms=NEAR_MS if name[-1] in "13" else FAR_MS,
                loss=LOSS,
                redis_url=f"redis://{HOST}:{{redis}}/0",
                s3_endpoint=f"http://{HOST}:{{s3}}",
            )
        for name in APIS:
            stack.at(name).until_ready()
        for name in WORKERS:
            stack.until(name, lambda name=name: stack.events(name, "worker.ready"))
        yield stack
    finally:
        stack.stop()


def start_servers(stack: Hosts) -> None:
    """Start Redis and S3, with a bucket and the keys of two accounts."""
    port = free_port()
    redis = valkey_command(port, stack.folder / "redis")
    redis[redis.index("--bind") + 1] = "{address}"
    stack.add_server("redis", port, [*redis, "--protected-mode", "no"])
    port = free_port()
    moto = str(Path(sys.executable).parent / "moto_server")
    stack.add_server("s3", port, [moto, "-H", "{address}", "-p", str(port)])
    address = stack.servers["s3"]
    stack.until("S3 listens", lambda: socket.create_connection(address).close() is None)
    endpoint = "http://{}:{}".format(*address)
    boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    ).create_bucket(Bucket=BUCKET)
    store = store_of(Settings.from_env(stack.variables | {"PIGEONHOLE_S3_ENDPOINT": endpoint}))
    stack.key, stack.other_key = (secret_of(store, account) for account in ("acme", "other"))


@contextmanager
def supervised(hosts: Hosts) -> Iterator[dict[str, threading.Event]]:
    """Restart what exits, as systemd or Kubernetes does; an event by name ends that."""
    stops = {name: threading.Event() for name in PROGRAMS}
    threads = [supervise(hosts, name, stop) for name, stop in stops.items()]
    try:
        yield stops
    finally:
        for stop in stops.values():
            stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def calling(*views: Hosts) -> Iterator[list[Calls]]:
    callers = [Calls(view) for view in views]
    threads = [caller.start() for caller in callers]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.over.set()
        for thread in threads:
            thread.join()


def predictions(stack: Hosts) -> dict[str, str]:
    texts = [text_of(number) for number in range(60)]
    answers = stack.classify(texts).json()["data"]
    return {text: answer["prediction"] for text, answer in zip(texts, answers, strict=True)}


def check_complete(stack: Hosts, batch_id: str, right: dict[str, str]) -> None:
    """Every row is in the output exactly once, in order, with its own prediction."""
    final = ended(stack, batch_id, timeout_s=90)
    assert final["status"] == "completed", final
    found = lines(stack, final["output_file_id"])
    assert [line["id"] for line in found] == [f"r{n}" for n in range(ROWS)]
    assert {line["prediction"] == right[text_of(n)] for n, line in enumerate(found)} == {True}


def ends(stack: Hosts) -> Counter[str]:
    """How often each job was brought to its end."""
    return Counter(e["job_id"] for name in WORKERS for e in stack.events(name, "job.ended"))


def part_starts(stack: Hosts) -> list[tuple[str, str]]:
    """When each part of a job was first begun, and the job; in order of time."""
    events = [e for name in WORKERS for e in stack.events(name, "part.started")]
    first = [e for e in events if e["attempt"] == 1 and e["task"].startswith("part:")]
    return sorted((event["at"], event["job_id"]) for event in first)


@pytest.mark.timeout(150)  # with the start of all hosts
def test_redis_is_cut_off_in_the_middle_of_batches(hosts: Hosts):
    near, other, far = hosts.at("api1"), hosts.at("api1", key=hosts.other_key), hosts.at("api2")
    right = predictions(near)
    with supervised(hosts), calling(near, far) as callers:
        mine, theirs = start(near, table(ROWS)), start(other, table(ROWS))
        hosts.until("parts run", lambda: len(part_starts(hosts)) > 4)
        hosts.cut("redis")
        cut_at = time.monotonic()
        time.sleep(CUT_S)
        mended_at = time.monotonic()
        hosts.mend("redis")
        for view in (near, far):
            view.until(
                "calls are answered", lambda v=view: v.classify("red").status == 200, timeout_s=20
            )
        for view, batch_id in ((near, mine), (other, theirs)):
            check_complete(view, batch_id, right)
    for caller in callers:
        assert set(caller.statuses(cut_at, mended_at - CALL_S)) == {503}
        assert caller.slowest_s() < CALL_S + 1
    assert set(ends(hosts).values()) == {1}


@pytest.mark.timeout(150)
def test_a_host_is_cut_off_and_others_are_killed_in_the_middle_of_batches(hosts: Hosts):
    near, other = hosts.at("api1"), hosts.at("api1", key=hosts.other_key)
    right = predictions(near)
    with supervised(hosts) as stops, calling(near, hosts.at("api2")) as (caller, _):
        batches = [(near, start(near, table(ROWS))) for _ in range(BATCHES)]
        batches.append((other, start(other, table(ROWS))))
        hosts.until("all run", lambda: all(done(view, each) for view, each in batches))
        hosts.cut("worker1")
        cut_at = time.monotonic()
        texts = [text_of(n) for n in range(50)]
        jobs = [near.submit(texts) for _ in range(JOBS)]
        time.sleep(3)
        for name in ("worker2", "keeper2", "api2"):
            stops[name].set()
            hosts.kill_host(name)
        killed_at = time.monotonic()
        time.sleep(max(0.0, cut_at + CUT_S - time.monotonic()))
        begun = len(hosts.events("worker1", "part.started"))
        hosts.mend("worker1")
        for view, batch_id in batches:
            check_complete(view, batch_id, right)
        for job_id in jobs:
            near.until("jobs end", lambda j=job_id: near.job(j)["status"] == "succeeded")
        near.until(
            "the host that was cut off works again",
            lambda: near.submit(texts) and len(hosts.events("worker1", "part.started")) > begun,
        )

    assert set(caller.statuses(0, killed_at)) <= {200, 503, 504}
    after = caller.statuses(killed_at + CALL_S)
    assert after[200] >= 0.95 * after.total() > 20, after
    assert caller.slowest_s() < CALL_S + 1
    assert set(ends(hosts).values()) == {1}
    check_fairness(hosts, theirs=batches[-1][1], mine=[each for _, each in batches[:-1]])


def check_fairness(hosts: Hosts, *, theirs: str, mine: list[str]) -> None:
    """While an account has one batch and another has several, each gets half of the parts."""
    jobs = [job_id.replace("job_", "batch_") for _, job_id in part_starts(hosts)]
    jobs = [job_id for job_id in jobs if job_id in {theirs, *mine}]
    last = len(jobs) - 1 - jobs[::-1].index(theirs)
    beside = jobs[jobs.index(theirs) : last]
    assert len(beside) > 30
    assert beside.count(theirs) / len(beside) > 0.4, beside
