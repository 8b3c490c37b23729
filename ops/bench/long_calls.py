"""What others' long calls cost a short one: `python -m ops.bench.long_calls [--seconds N]`.

While accounts keep the only worker busy with as much as one call may hold, another account calls
with a short text. The baseline is a full forward pass: a call of one text of that length, alone.
Each load is another kind of long work; all of it may end in 504, its callers begin again at once.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ops.bench import targets
from ops.bench.cluster import fleet
from ops.bench.service import HttpCaller, Service
from ops.bench.speed import TWO, seconds
from ops.bench.texts import WORDS

_MOST = 3.0  # full forward passes that 95 % of the short calls may take
_FULL_WORDS = 1000  # about as many tokens as a forward pass holds on a CPU
_PAUSE_S = 0.1
_BEGUN_S = 3.0
_ALONE = 30
_NUMBERS = itertools.count()

Body = dict[str, Any]


def main() -> None:
    """Print a table of what was measured and of what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    options = parser.parse_args()
    targets.head()
    with fleet() as service:
        other = service.account("other")
        caller = HttpCaller(other)
        for _ in range(5):
            caller.call(other.request({"input": "warm", "labels": TWO}))
        full_s = statistics.median(
            seconds(
                partial(caller.call, other.request({"input": words(_FULL_WORDS), "labels": TWO}))
            )
            for _ in range(_ALONE)
        )
        caller.close()
        for name, count, body in _LOADS:
            accounts = [service.account(f"heavy{n}") for n in range(count)]
            with load(accounts, body):
                took = short_calls(other, for_s=options.seconds)
            took.sort()
            worst_s = took[int(len(took) * 0.95)]
            targets.line(
                f"a short call beside {name} ({len(took)}), median (95 %) ms; "
                "baseline: one full forward pass",
                f"{1e3 * statistics.median(took):.0f} ({1e3 * worst_s:.0f})",
                f"{1e3 * full_s:.0f}",
                worst_s / full_s,
                f"95 % <= {_MOST:g}",
                met=worst_s <= _MOST * full_s,
            )


def words(count: int) -> str:
    """A text that was not sent before."""
    shuffle = random.Random(next(_NUMBERS))
    return " ".join(shuffle.choices(WORDS, k=count))


def _long_texts() -> Body:
    return {"input": [words(1000) for _ in range(200)], "labels": TWO}


def _one_pass() -> Body:
    return {"input": words(_FULL_WORDS), "labels": TWO}


def _fast() -> Body:
    return {**_long_texts(), "priority": "fast"}


def _max_text() -> Body:
    return {"input": [words(6000) for _ in range(200)], "labels": TWO}


def _many_labels() -> Body:
    return {"input": "a text", "labels": [words(40)[:250] for _ in range(250)]}


_LOADS: tuple[tuple[str, int, Callable[[], Body]], ...] = (
    ("two callers of 200 texts of 1,000 words", 2, _long_texts),
    ("two such callers that say `fast`", 2, _fast),
    ("eight such callers, an account each", 8, _long_texts),
    ("sixteen callers of one text of 1,000 words, an account each", 16, _one_pass),
    ("two callers of 7 MB of text", 2, _max_text),
    ("two callers of 250 new labels of 40 words", 2, _many_labels),
)


@contextmanager
def load(accounts: Sequence[Service], body: Callable[[], Body]) -> Iterator[None]:
    """A caller of each account who sends one body after the other, whatever is answered."""
    over = threading.Event()

    def send(service: Service) -> None:
        while not over.is_set():
            caller = HttpCaller(service)
            try:
                caller.call(service.request(body()))
            except (OSError, RuntimeError):
                pass  # 504, or the end
            finally:
                caller.close()

    threads = [threading.Thread(target=send, args=(each,), daemon=True) for each in accounts]
    for thread in threads:
        thread.start()
    time.sleep(_BEGUN_S)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def short_calls(service: Service, *, for_s: float) -> list[float]:
    """Seconds of short calls, one after the other with a pause between."""
    took: list[float] = []
    caller = HttpCaller(service)
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        took.append(
            seconds(partial(caller.call, service.request({"input": words(8), "labels": TWO})))
        )
        time.sleep(_PAUSE_S)
    caller.close()
    return took


if __name__ == "__main__":
    main()
