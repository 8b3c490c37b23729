"""A worker on the hashing model for tests of the API: it works in the thread that rings for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from shared.member_reports import WorkerReport
from shared.messages import Call, decode, encode
from tests.workers.conftest import Bench

_PATIENCE_S = 60.0  # a busy machine may not answer within the second that callers here wait
_opened: list[BenchWorker] = []


class BenchWorker:
    """The handlers of a bench, which `make` makes when the first doorbell rings.

    `asleep` makes it do nothing; `error` makes it refuse everything.
    """

    def __init__(self, make: Callable[..., Bench]) -> None:
        self._make = make
        self.asleep = False
        self.error: Exception | None = None
        self.calls: list[Call] = []

    @cached_property
    def bench(self) -> Bench:
        """What it works with."""
        made = self._make(ring=self.drain)
        tasks, calls = made.handlers.tasks, made.handlers.calls
        object.__setattr__(
            tasks, "work", {kind: self._unless_refused(run) for kind, run in tasks.work.items()}
        )
        calls._begin = {kind: self._unless_refused(run) for kind, run in calls._begin.items()}
        object.__setattr__(tasks.planner, "run", self._unless_refused(tasks.planner.run))
        _opened.append(self)
        return made

    def _unless_refused(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                raise self.error
            return work(*args, **kwargs)

        return run

    def drain(self, queue: str) -> None:
        """Do what waits in a queue."""
        while not self.asleep:
            taken = self.bench.ledger.claim(
                queue, "tiny", calls=8, parts=1, lease_s=10, leaving=True
            )
            for message in taken.messages:
                call = decode(Call, message)
                self.calls.append(call)
                patient = call.model_copy(update={"deadline": call.deadline + _PATIENCE_S})
                self.bench.handlers.calls.begin(encode(patient))
            self.bench.handlers.calls.settle(timeout_s=60)
            for claim in taken.claims:
                self.bench.parts.run(claim)
            if not taken:
                return


def report() -> bytes:
    """What such a worker says of itself."""
    queues = ("cpu.standard.tiny", "cpu.train.tiny")
    return encode(
        WorkerReport(device="cpu", queues=queues, models=("tiny",), revisions={"tiny": revision()})
    )


@cache
def revision() -> str:
    """What the scores of the bench's model depend on."""
    bench = Bench()
    bench.close()
    return bench.models["tiny"].scoring_revision


def close_all() -> None:
    """End the threads of every worker that was rung; one that is rung again starts anew."""
    while _opened:
        _opened.pop().__dict__.pop("bench").close()
