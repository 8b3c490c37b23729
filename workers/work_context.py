"""For whom a worker does a piece of work: what decides its turn wherever it waits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from shared import tracing
from shared.types import Priority


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkContext:
    """Of one call or part, from its handler down to the forward pass.

    `deadline` is on the monotonic clock, in seconds; None waits without end. `account` is whose
    turn the work takes. `job` names the bulk job that it is a part of, if any. `batch`: it is rows
    of a batch, which may compare any number of pairs. `rank` is how many pieces of the same call go
    before it. `span` is that of the call or part in its trace, if the process traces.
    """

    priority: Priority
    deadline: float | None = None
    account: str = ""
    job: str = ""
    batch: bool = False
    rank: int = 0
    span: tracing.Span | None = field(default_factory=tracing.current, compare=False)

    def ranked(self, rank: int) -> Self:
        """Of a further piece of the call."""
        return replace(self, rank=rank)

    def shared(self) -> Self:
        """Of work whose result others wait for too: one caller's deadline does not end it."""
        return replace(self, deadline=None, job="")
