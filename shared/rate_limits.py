"""The port of rate limits: sliding windows and concurrent calls, counted for all API processes.

A window covers `WINDOW_S` seconds in steps of `STEP_S`. A request counts until its whole step has
left the window, so no `WINDOW_S` seconds ever hold more than the limit, wherever they begin; the
price is at most `STEP_S / WINDOW_S` (0.4 %) of the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.tiers import Rate, RateClass

WINDOW_S = 60
STEP_S = 0.25
Exceeded = Literal["requests", "tokens", "concurrency"]


@dataclass(frozen=True, kw_only=True)
class RateDemand:
    """What one call asks for.

    Attributes:
        subject: What the limits count by: an account, or a key.
        rate_class: Class of the call; each has windows of its own.
        rate: Limits of the class.
        requests: 1; 0 reads the state and counts nothing.
        tokens: Estimated tokens of the call.
        concurrent_calls: Limit on calls at the same time; None: the call does not count as one.
        lease_s: Time after which the call no longer counts as concurrent, if its process dies.
        job_id: The job that the call becomes, whose end corrects the tokens; empty: none. A
            repeated call with the same job counts once.
    """

    subject: str
    rate_class: RateClass
    rate: Rate
    requests: int = 1
    tokens: int = 0
    concurrent_calls: int | None = None
    lease_s: float = 0.0
    job_id: str = ""


@dataclass(frozen=True, kw_only=True)
class RateState:
    """The counts of the windows, this call included unless it is refused.

    Attributes:
        exceeded: Which limit refuses the call; None: the call is admitted.
        requests, tokens: Counted in the window.
        requests_wait_s, tokens_wait_s: Time until the call fits into the limit; 0: it fits.
        reset_s: Time until the oldest counted request leaves the window.
        step: The step in which the call is counted.
        lease: Token of the concurrent call; empty if it does not count as one.
    """

    exceeded: Exceeded | None
    requests: int
    tokens: int
    requests_wait_s: float = 0.0
    tokens_wait_s: float = 0.0
    reset_s: float = 0.0
    step: int = 0
    lease: str = ""


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """The end of a call: the correction of its tokens, and the end of its lease."""

    subject: str
    rate_class: RateClass
    step: int
    tokens: int  # added to the estimate; negative if that was too high
    lease: str


class RateLimiter(Protocol):
    """Counts calls. `admit` and `settle` are one atomic round trip; times are the server's.

    Raises:
        BrokerUnavailable: From every method, if Redis does not respond in time.
    """

    def admit(self, demand: RateDemand, settlements: Sequence[Settlement] = ()) -> RateState:
        """Settle calls that have ended, then count a call, or refuse it and count nothing."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle calls that have ended. A call that has left its window is not corrected."""

    def settle_job(self, job_id: str, tokens: int) -> None:
        """Correct the estimate of a job by the tokens that it has used, once.

        It is safe to repeat; if the process is killed meanwhile, the estimate may stand.
        """
