from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from shared.errors import BrokerUnavailable
from shared.messages import CONTROL
from shared.ports import Claim
from tests.waiting import wait_until
from tests.workers.conftest import QUEUE, Bench
from workers import consumer
from workers.consumer import Consumer


class Work:
    """Takes what a drain hands out; parts wait until they may end."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.calls: list[bytes] = []
        self.parts: list[str] = []
        self.at_once = 0
        self.max_at_once = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.room = True
        self.full: set[str] = set()
        self.closed: set[str] = set()
        self._lock = threading.Lock()

    def full_accounts(self, queue: str) -> set[str]:
        return self.full

    def closed_accounts(self, queue: str) -> set[str]:
        return self.closed

    def wait(self, queue: str, wait_s: float) -> bool:
        return self.room or bool(time.sleep(min(wait_s, 0.02)))

    def wait_for_less(self, queue: str, wait_s: float) -> None:
        time.sleep(min(wait_s, 0.005))

    def run(self, claim: Claim) -> None:
        with self._lock:
            self.parts.append(claim.job_id)
            self.at_once += 1
            self.max_at_once = max(self.max_at_once, self.at_once)
        self.may_end.wait(60)
        with self._lock:
            self.at_once -= 1
        self.bench.ledger.complete(claim, lease_s=10)

    def drain(self) -> Consumer:
        return Consumer(
            ledger=self.bench.ledger,
            worker="w",
            begin_call=self.calls.append,
            run_part=self.run,
            room=self,
            stopping=self.bench.stopping,
            lease_s=10,
            parts_at_once=2,
        )


@pytest.fixture
def work(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(consumer, "_LINGER_S", 0.05)
    made = Work(bench)
    yield made
    made.may_end.set()
    bench.stopping.set()


def test_it_takes_everything_and_leaves_when_there_is_nothing(bench: Bench, work: Work):
    for n in range(5):
        bench.ledger.enqueue_call(QUEUE, b"%d" % n, bound=10)
    for _ in range(5):
        bench.submit()

    work.drain().attend(QUEUE)

    wait_until(lambda: len(work.parts) == 5)
    assert work.calls == [b"0", b"1", b"2", b"3", b"4"]
    assert bench.ledger.enqueue_call(QUEUE, b"next", bound=10) is True, "nobody attends any more"


def test_a_second_bell_for_a_queue_that_is_attended_is_not_answered(bench: Bench, work: Work):
    drain = work.drain()
    work.room = False  # so that the first does not leave
    first, second = (threading.Thread(target=drain.attend, args=(QUEUE,)) for _ in range(2))
    first.start()
    wait_until(lambda: drain.attends(QUEUE))

    second.start()
    second.join(60)

    assert not second.is_alive()
    assert drain.attends(QUEUE)
    bench.stopping.set()
    first.join(60)
    assert not drain.attends(QUEUE)


def test_so_many_parts_run_at_once_and_no_more(bench: Bench, work: Work):
    for _ in range(6):
        bench.submit()
    work.may_end.clear()
    drain = work.drain()
    thread = threading.Thread(target=drain.attend, args=(QUEUE,))
    thread.start()
    wait_until(lambda: work.at_once == 2)
    time.sleep(0.1)
    assert len(work.parts) == 2

    work.may_end.set()
    wait_until(lambda: len(work.parts) == 6)

    assert work.max_at_once == 2
    bench.stopping.set()
    thread.join(60)


def test_calls_are_answered_while_every_slot_for_parts_is_taken(bench: Bench, work: Work):
    for _ in range(4):
        bench.submit()
    work.may_end.clear()
    thread = threading.Thread(target=work.drain().attend, args=(QUEUE,))
    thread.start()
    wait_until(lambda: work.at_once == 2)

    bench.ledger.enqueue_call(QUEUE, b"call", bound=10)

    wait_until(lambda: work.calls == [b"call"])
    bench.stopping.set()
    work.may_end.set()
    thread.join(60)


def test_nothing_is_taken_while_the_models_have_no_room(bench: Bench, work: Work):
    work.room = False
    bench.ledger.enqueue_call(QUEUE, b"call", bound=10)
    thread = threading.Thread(target=work.drain().attend, args=(QUEUE,))
    thread.start()
    time.sleep(0.1)
    assert work.calls == []

    work.room = True

    wait_until(lambda: work.calls == [b"call"])
    bench.stopping.set()
    thread.join(60)


def test_calls_of_others_are_taken_while_enough_of_one_account_waits(bench: Bench, work: Work):
    work.full = {"heavy"}
    long = b"long" + b"." * 5000
    bench.ledger.enqueue_call(QUEUE, long, bound=10, account="heavy")
    bench.ledger.enqueue_call(QUEUE, b"other", bound=10, account="other")
    thread = threading.Thread(target=work.drain().attend, args=(QUEUE,))
    thread.start()

    wait_until(lambda: work.calls == [b"other"])
    bench.ledger.enqueue_call(QUEUE, b"another", bound=10, account="other")
    wait_until(lambda: work.calls == [b"other", b"another"])
    bench.ledger.enqueue_call(QUEUE, b"short", bound=10, account="heavy")
    wait_until(lambda: work.calls == [b"other", b"another", b"short"])
    work.closed = {"heavy"}
    bench.ledger.enqueue_call(QUEUE, b"short", bound=10, account="heavy")
    time.sleep(0.1)
    work.full = work.closed = set()
    wait_until(lambda: work.calls == [b"other", b"another", b"short", b"short", long])
    bench.stopping.set()
    thread.join(60)


def test_what_is_passed_over_is_offered_to_other_workers(bench: Bench, work: Work):
    work.full = {"heavy"}
    thread = threading.Thread(target=work.drain().attend, args=(QUEUE,))
    thread.start()

    assert bench.ledger.enqueue_call(QUEUE, b"1", bound=10, account="heavy") is True, "it rings"

    bench.stopping.set()
    thread.join(60)


def test_long_tasks_of_one_account_do_not_keep_the_task_of_another(bench: Bench, work: Work):
    for _ in range(6):
        bench.submit()
    work.may_end.clear()
    drain = work.drain()
    thread = threading.Thread(target=drain.attend, args=(QUEUE,))
    thread.start()
    wait_until(lambda: work.at_once == 2)

    others = [bench.submit(account="other").id for _ in range(2)]

    wait_until(lambda: len(work.parts) == 3)
    assert work.parts[-1] == others[0]
    work.may_end.set()
    wait_until(lambda: len(work.parts) == 8)
    bench.stopping.set()
    thread.join(60)


def test_told_to_stop_it_takes_nothing_more_and_ends_what_runs(bench: Bench, work: Work):
    for _ in range(6):
        bench.submit()
    work.may_end.clear()
    drain = work.drain()
    thread = threading.Thread(target=drain.attend, args=(QUEUE,))
    thread.start()
    wait_until(lambda: work.at_once == 2)

    bench.stopping.set()
    assert drain.close(timeout_s=0.1) is False
    work.may_end.set()

    assert drain.close(timeout_s=60) is True
    thread.join(60)
    assert len(work.parts) == 2


def test_a_broker_that_goes_away_frees_the_queue_for_the_next_bell(bench: Bench, work: Work):
    drain = work.drain()
    bench.ledger.away = True
    drain.attend(QUEUE)
    assert not drain.attends(QUEUE)

    bench.ledger.away = False
    bench.ledger.enqueue_call(QUEUE, b"call", bound=10)
    drain.attend(QUEUE)

    assert work.calls == [b"call"]


def test_no_slot_is_lost_when_claiming_fails(bench: Bench, work: Work):
    drain = work.drain()
    for _ in range(5):
        bench.ledger.away = True
        drain.attend(QUEUE)
    bench.ledger.away = False
    for _ in range(4):
        bench.submit()
    work.may_end.clear()
    thread = threading.Thread(target=drain.attend, args=(QUEUE,))
    thread.start()

    wait_until(lambda: work.at_once == 2)
    work.may_end.set()
    bench.stopping.set()
    thread.join(60)


def test_the_ledger_being_away_is_the_ports_error(bench: Bench):
    bench.ledger.away = True
    with pytest.raises(BrokerUnavailable):
        bench.ledger.waiting(CONTROL)
