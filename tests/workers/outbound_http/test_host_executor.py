from __future__ import annotations

import threading
from functools import partial

from workers.outbound_http.host_executor import KeyedExecutor

WAIT_S = 60


class Inside:
    """Counts who is inside an action; keeps them there until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.order: list[str] = []
        self.most: dict[str, int] = {}
        self.max_in_all = 0
        self._now: dict[str, int] = {}
        self._changed = threading.Condition()

    def enter(self, key: str) -> None:
        with self._changed:
            self.order.append(key)
            self._now[key] = self._now.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self._now[key])
            self.max_in_all = max(self.max_in_all, sum(self._now.values()))
            self._changed.notify_all()
        self.opened.wait(WAIT_S)
        with self._changed:
            self._now[key] -= 1
            self._changed.notify_all()

    def wait_for(self, entered: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.order) >= entered, WAIT_S)

    def wait_empty(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not any(self._now.values()), WAIT_S)


def test_all_run_a_few_at_a_time_of_one_key_fewer():
    turns, inside = KeyedExecutor("test", at_once=5, per_key=2), Inside()

    for key in "aaaaaaaabbbbbbbbcccccccc":
        turns.add(key, partial(inside.enter, key))
    inside.wait_for(5)
    inside.opened.set()
    inside.wait_for(24)
    inside.wait_empty()

    assert inside.max_in_all == 5
    assert set(inside.most.values()) <= {1, 2}


def test_who_is_slow_is_passed_by():
    turns, slow, quick = KeyedExecutor("test", at_once=4, per_key=2), Inside(), Inside()
    quick.opened.set()

    for _ in range(50):
        turns.add("slow", partial(slow.enter, "slow"))
    for _ in range(20):
        turns.add("quick", partial(quick.enter, "quick"))
    quick.wait_for(20)

    assert len(slow.order) == 2
    slow.opened.set()
    slow.wait_for(50)


def test_keys_take_turns():
    turns, gate, inside = KeyedExecutor("test", at_once=1, per_key=1), Inside(), Inside()
    inside.opened.set()
    turns.add("first", partial(gate.enter, "first"))
    gate.wait_for(1)

    for key in "aaabbb":
        turns.add(key, partial(inside.enter, key))
    gate.opened.set()
    inside.wait_for(6)

    assert inside.order == list("ababab")


def test_an_action_that_raises_takes_nobodys_place(caplog):
    turns, inside = KeyedExecutor("test", at_once=1, per_key=1), Inside()
    inside.opened.set()

    turns.add("a", lambda: 1 / 0)
    turns.add("a", partial(inside.enter, "a"))
    inside.wait_for(1)

    assert "executor.action_failed" in caplog.text


def test_closed_it_begins_nothing_more():
    turns, inside = KeyedExecutor("test", at_once=1, per_key=1), Inside()
    turns.add("a", partial(inside.enter, "a"))
    inside.wait_for(1)
    turns.add("a", partial(inside.enter, "waits"))

    turns.close()
    turns.add("a", partial(inside.enter, "late"))
    inside.opened.set()
    inside.wait_empty()

    assert inside.order == ["a"]
