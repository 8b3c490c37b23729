from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.waiting import wait_until
from tests.workers.conftest import QUEUE, Bench
from workers import watchdog
from workers.watchdog import EXIT_UNFIT, Watchdog, WatchedState


def watch(bench: Bench, **seen: Callable[..., object]) -> tuple[Watchdog, list[int]]:
    exits: list[int] = []
    watched = {
        "healthy": lambda: True,
        "stalled_s": lambda: 0.0,
        "loading_s": lambda: 0.0,
        "attends": lambda _: True,
    }
    dog = Watchdog(
        ledger=bench.ledger,
        role="worker",
        member="w",
        report=lambda: b"{}",
        queues=(QUEUE,),
        watched=WatchedState(**{**watched, **seen}),
        forward_pass_limit_s=1.0,
        exit=exits.append,
    )
    dog.start()
    return dog, exits


def test_a_worker_that_is_well_is_reported_and_leaves_the_list_when_it_stops(bench: Bench):
    dog, exits = watch(bench)
    wait_until(lambda: bench.ledger.reports("worker") == {"w": b"{}"})

    dog.close()

    assert exits == []
    assert bench.ledger.reports("worker") == {}


def test_a_watchdog_is_alive_from_its_first_look_until_it_stands_still(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    dog, _ = watch(bench)
    wait_until(dog.alive)
    dog.close()

    monkeypatch.setattr(watchdog, "_STILL_S", 0.0)

    assert not dog.alive()


def test_a_worker_that_is_replaced_stays_on_the_list_while_the_next_one_starts(bench: Bench):
    dog, _ = watch(bench)
    wait_until(lambda: bench.ledger.reports("worker") == {"w": b"{}"})

    dog.close(replaced=True)

    assert bench.ledger.reports("worker") == {"w": b"{}"}


@pytest.mark.parametrize(
    "seen",
    [
        {"healthy": lambda: False},
        {"stalled_s": lambda: 1.5},
        {"loading_s": lambda: watchdog._LOAD_LIMIT_S + 1},
    ],
    ids=["dead", "hung", "loading hangs"],
)
def test_a_worker_that_cannot_work_ends(bench: Bench, seen: dict[str, Callable[..., object]]):
    dog, exits = watch(bench, **seen)

    wait_until(lambda: exits)

    assert exits == [EXIT_UNFIT]
    dog.close()


def test_a_worker_that_hears_no_bell_while_work_waits_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchdog, "_DEAF_S", 0.1)
    monkeypatch.setattr(watchdog, "_TICK_S", 0.05)
    bench.ledger.enqueue_call(QUEUE, b"call", bound=10)

    dog, exits = watch(bench, attends=lambda _: False)

    wait_until(lambda: exits)
    dog.close()


def test_a_broker_that_is_away_is_no_reason_to_end(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watchdog, "_DEAF_S", 0.1)
    monkeypatch.setattr(watchdog, "_TICK_S", 0.02)
    bench.ledger.enqueue_call(QUEUE, b"call", bound=10)
    bench.ledger.away = True

    dog, exits = watch(bench, attends=lambda _: False)
    threading.Event().wait(0.3)

    assert exits == []
    dog.close()
