"""Balances: work of an account without tokens left is refused before it begins.

An account has a balance if its tier grants `free_tokens` (which may be 0). Others are not looked
at: they cost neither a read nor a wait. A balance is read from the object store at most every
`KEEP_S`; what this process has counted since, and what open jobs have used, is subtracted. So the
calls of a few seconds to other processes may overdraw it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from api.services.caller import Caller
from api.services.usage_counter import UsageCounter
from shared import service_clock
from shared.errors import InsufficientBalance
from shared.job_kinds import JOB_KINDS, Body
from shared.running_usage import RunningUsage
from shared.statements import Statements

KEEP_S = 2.0
_MAX_ACCOUNTS = 10_000


@dataclass(frozen=True)
class _KnownBalance:
    """Tokens left at a time, when this process had written `written` of its counted tokens."""

    left: int
    written: int
    at: float


def is_metered(caller: Caller, request: Body) -> bool:
    """Whether the work stops when the balance of the caller's account is used up."""
    return caller.tier.free_tokens is not None and not JOB_KINDS[request.kind].free


class Balances:
    """The balances of accounts, as of the last seconds."""

    def __init__(
        self,
        statements: Statements,
        counter: UsageCounter,
        running: RunningUsage,
        *,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._statements = statements
        self.counter = counter
        self.running = running
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _KnownBalance] = {}

    def check(self, caller: Caller, request: Body) -> None:
        """Refuse work of an account that has no tokens left.

        Raises:
            InsufficientBalance: It has none.
            Unavailable: The object store or Redis is unavailable, so the balance is unknown.
        """
        if caller.tier.free_tokens is None or not is_metered(caller, request):
            return
        left = self._left(caller.account, caller.tier.free_tokens)
        if left <= 0:
            raise InsufficientBalance(
                f"the balance of the account is {left} tokens; ask the operator for a grant"
            )

    def _left(self, account: str, free_tokens: int) -> int:
        with self._lock:
            known = self._known.get(account)
        if known is None or not 0 <= self._clock() - known.at < KEEP_S:
            known = self._read(account, free_tokens)
        counted, _ = self.counter.totals(account)
        return known.left - (counted - known.written)

    def _read(self, account: str, free_tokens: int) -> _KnownBalance:
        now = self._clock()
        _, written = self.counter.totals(account)  # before the read, which holds them all
        balance = self._statements.balance(account, free_tokens=free_tokens)
        left = balance.left - self.running.total(account)
        known = _KnownBalance(left=left, written=written, at=now)
        with self._lock:
            if len(self._known) >= _MAX_ACCOUNTS:
                self._known.clear()
            self._known[account] = known
        return known
