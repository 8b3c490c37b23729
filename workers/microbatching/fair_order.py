"""Fair queueing: the order of accounts that share a model, by the work done for them.

Virtual time counts work. Each piece of work advances its account by its cost. An account that
returns gets no credit for its absence, and keeps the lead that it had when it left. A waiting
account is thereby never more than one piece of work ahead of another one (start-time fair queueing:
Goyal, Vin, Cheng 1996), as in the ledger (`shared/adapters/redis/lua/prelude.lua`).

Among the accounts that could be next, the one whose next piece of work ends first in virtual time
goes first: a small piece does not wait for one large piece of each of a hundred other accounts.

This module is pure: no threads and no clock. The caller holds a lock.
"""

from __future__ import annotations

from collections.abc import Collection


class FairOrder:
    """The virtual times of accounts."""

    def __init__(self) -> None:
        self._now = 0.0  # the smallest virtual time of the waiting accounts
        self._places: dict[
            str, float
        ] = {}  # virtual times of the accounts that are ahead of `_now`

    def advance(self, waiting: Collection[str]) -> None:
        """Set the waiting accounts. Call it before the other methods whenever they change."""
        if not waiting:
            self._now = 0.0
            self._places.clear()
            return
        self._now = max(self._now, min(self.place(account) for account in waiting))
        ahead = {account: at for account, at in self._places.items() if at > self._now}
        self._places = ahead

    def place(self, account: str) -> float:
        """The virtual time of an account."""
        return max(self._now, self._places.get(account, 0.0))

    def ahead(self, account: str) -> float:
        """The work done for an account beyond that of the waiting account furthest behind."""
        return self.place(account) - self._now

    def charge(self, account: str, cost: float) -> None:
        """Add work that was done for an account."""
        self._places[account] = self.place(account) + cost
