"""Whose turn it is: accounts that wait for one thing, by the work that was done for them.

Virtual time counts work. Each piece of work moves its account on by its cost. An account that comes
back does not get the time that it was away, and is charged for what it was ahead when it left. An
account that waits is thereby never more than one turn ahead of another that waits (start-time fair
queueing: Goyal, Vin, Cheng 1996), as in the ledger (`shared/adapters/redis/lua/prelude.lua`).

Of the accounts whose turn could be next, the one whose next piece of work ends first in virtual
time goes first: a small piece does not wait for one large piece of each of a hundred others.

Pure: no thread, no clock. The caller holds a lock.
"""

from __future__ import annotations

from collections.abc import Collection


class FairOrder:
    """Virtual time of accounts."""

    def __init__(self) -> None:
        self._now = 0.0  # where the account is that is furthest behind of those that wait
        self._places: dict[str, float] = {}  # of accounts that are ahead of it

    def advance(self, waiting: Collection[str]) -> None:
        """Say which accounts wait; call it before the others, whenever that changed."""
        if not waiting:
            self._now = 0.0
            self._places.clear()
            return
        self._now = max(self._now, min(self.place(account) for account in waiting))
        ahead = {account: at for account, at in self._places.items() if at > self._now}
        self._places = ahead

    def place(self, account: str) -> float:
        """Where the account is in virtual time."""
        return max(self._now, self._places.get(account, 0.0))

    def ahead(self, account: str) -> float:
        """How much more was done for it than for the waiting account that is furthest behind."""
        return self.place(account) - self._now

    def charge(self, account: str, cost: float) -> None:
        """Count work that was done for an account."""
        self._places[account] = self.place(account) + cost
