"""The balance of metered jobs: no part begins after the tokens of the account are used up.

A balance counts what has ended (`shared.statements`) and what the open jobs of the account have
used so far, which Redis holds. Parts that run at the same time may overdraw it. Jobs that are not
metered cost neither a read nor a round trip.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared import service_clock
from shared.errors import InsufficientBalance
from shared.jobs import Job
from shared.running_usage import RunningUsage
from shared.statements import Statements
from shared.types import Usage

_KEEP_S = 2.0  # how long the charges of ended work may be those of before
_MAX_ACCOUNTS = 10_000


class BalanceCheck:
    """What the accounts of metered jobs have left."""

    def __init__(
        self,
        statements: Statements,
        running: RunningUsage,
        *,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._statements = statements
        self._running = running
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, float]] = {}  # by account: tokens left, and when

    def left(self, account: str) -> int:
        """Tokens that the account has left.

        Raises:
            Unavailable: The object store or Redis is unavailable.
        """
        left, at = self._known.get(account, (0, float("-inf")))
        if not 0 <= self._clock() - at < _KEEP_S:
            at = self._clock()
            left = self._statements.balance(account).left
            with self._lock:
                if len(self._known) >= _MAX_ACCOUNTS:
                    self._known.clear()
                self._known[account] = left, at
        return left - self._running.total(account)

    def check(self, job: Job, *, needed: int = 1) -> None:
        """Refuse to begin work of a metered job whose account has too few tokens left.

        Raises:
            InsufficientBalance: It has fewer than `needed`.
            Unavailable: The object store or Redis is unavailable.
        """
        if not job.metered:
            return
        left = self.left(job.account)
        if left < needed:
            estimate = f"; this job needs about {needed}" if needed > 1 else ""
            raise InsufficientBalance(
                f"the balance of the account is {left} tokens{estimate}; ask the operator for a "
                "grant, then send the job again or retry the batch"
            )

    def count(self, job: Job, usage: Usage) -> None:
        """Count a finished part of a metered job."""
        if job.metered:
            self._running.add(job.account, job.id, usage.total_tokens)

    def recount(self, job: Job, usage: Usage) -> None:
        """Set what all finished parts of a metered job have used, after a loss of Redis, too."""
        if job.metered:
            self._running.replace(job.account, job.id, usage.total_tokens)

    def forget(self, job: Job) -> None:
        """Drop a metered job, which has been charged."""
        if job.metered:
            with self._lock:
                self._known.pop(job.account, None)
            self._running.forget(job.account, job.id)
