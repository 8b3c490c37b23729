"""Long calls of some accounts and short calls of others, on real processes and one worker.

The model takes its time for each token, by sleeping, so that the bounds hold on a busy machine.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.adapters.store_factory import store_of
from tests.keys import secret_of
from tests.slow_worker import FULL_PASS_S
from tests.stack import LABELS, Answer, Stack, running_stack

pytestmark = [pytest.mark.integration, pytest.mark.timed]

MAX_PASSES = 3.0
CALLS = 30
FULL = 900  # words: 29 windows of this model, a forward pass
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("fair"), ready_s=180, request_timeout_s=6
    ) as running:
        running.kill("worker", signal.SIGTERM)  # it says goodbye: nobody counts on it any more
        running.start("worker", sys.executable, "-m", "tests.slow_worker")
        # Not /health/ready: it may still tell of the worker that has gone.
        running.until("answered", lambda: running.classify("warm").status == 200, timeout_s=180)
        yield running


def words(count: int) -> str:
    """A text that was not sent before."""
    number = next(_numbers)
    return " ".join(f"w{number}x{i}" for i in range(count))


def classify(stack: Stack, key: str, texts: object, **more: Any) -> Answer:
    body = {"input": texts, "labels": LABELS, **more}
    return stack.call("POST", "/v1/classify", body, Authorization=f"Bearer {key}")


def key_of(stack: Stack, account: str) -> str:
    return secret_of(store_of(stack.settings), account)


@contextmanager
def load(stack: Stack, accounts: int, texts: int, **more: Any) -> Iterator[None]:
    """Accounts that send one long call after the other, however each ends."""
    over = threading.Event()

    def send(key: str) -> None:
        while not over.is_set():
            classify(stack, key, [words(FULL) for _ in range(texts)], **more)

    keys = [key_of(stack, f"heavy{n}") for n in range(accounts)]
    threads = [threading.Thread(target=send, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    time.sleep(3)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def seconds(stack: Stack, key: str, text: str) -> float:
    began = time.monotonic()
    assert classify(stack, key, text).status == 200
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("accounts", "texts", "more"),
    [(2, 200, {}), (2, 200, {"priority": "fast"}), (12, 1, {})],
    ids=["long calls", "long calls that say fast", "many accounts"],
)
def test_a_short_call_waits_for_few_passes_beside_any_load_of_others(
    stack: Stack, accounts: int, texts: int, more: dict[str, Any]
):
    key = key_of(stack, "other")
    full_s = statistics.median(seconds(stack, key, words(FULL)) for _ in range(3))
    assert full_s >= FULL_PASS_S * 0.9

    with load(stack, accounts, texts, **more):
        took = sorted(seconds(stack, key, words(8)) for _ in range(CALLS))

    assert took[int(CALLS * 0.95)] <= MAX_PASSES * full_s, took


def test_a_short_call_waits_for_few_passes_beside_long_ones_of_its_own_account(stack: Stack):
    key = key_of(stack, "heavy0")
    full_s = statistics.median(seconds(stack, key, words(FULL)) for _ in range(3))

    with load(stack, 1, 200):
        took = sorted(seconds(stack, key, words(8)) for _ in range(CALLS))

    assert took[int(CALLS * 0.95)] <= MAX_PASSES * full_s, took


def test_work_of_a_call_that_was_given_up_does_not_run_on(stack: Stack):
    key = key_of(stack, "impatient")
    full_s = statistics.median(seconds(stack, key, words(FULL)) for _ in range(3))

    assert classify(stack, key, [words(FULL) for _ in range(200)]).status == 504

    # About 170 passes of it are left.
    assert seconds(stack, key, words(FULL)) <= 15 * full_s
