"""Whether this process could do with more of a queue's work, and of which accounts.

Work waits in the ledger, where a free worker can have it; a worker takes no more than the next few
forward passes hold. For calls and for jobs that take turns with them this is counted by account:
what waits of one account keeps no call of another in the ledger. Nor does the memory that its open
calls take. A batch is taken when little waits at all, for its parts run behind everything else.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.messages import CONTROL, model_of, priority_of
from shared.types import Priority
from workers.embedding.texts import LoadedModel
from workers.handlers.sync_calls import SyncCalls

_PASSES_AHEAD = 2  # claimed work that waits in this process, in forward passes
_OPEN_CALLS = 64  # of an account that has that much here


class ClaimCapacity:
    """The room in front of the models of this process."""

    def __init__(self, models: Mapping[str, LoadedModel], calls: SyncCalls) -> None:
        self._models = models
        self._calls = calls

    def full_accounts(self, queue: str) -> set[str]:
        """Accounts of which enough waits here, but for short calls: those go before it."""
        if queue == CONTROL:
            return set()
        priority = priority_of(queue)
        full = self._models[model_of(queue)].full_accounts(priority, passes=_PASSES_AHEAD)
        return full | self._calls.full_accounts(priority)

    def closed_accounts(self, queue: str) -> set[str]:
        """Accounts of which enough short calls wait here too."""
        return self._calls.accounts_with(_OPEN_CALLS, priority_of(queue))

    def wait(self, queue: str, wait_s: float) -> bool:
        """Wait until the queue can be claimed from at all; False when the time is over."""
        if queue == CONTROL or priority_of(queue) is not Priority.BULK:
            return True
        if not self._calls.wait_for_room(priority=Priority.BULK, timeout_s=wait_s):
            return False
        return all(
            batcher.wait_for_room(
                batcher.budget_tokens * _PASSES_AHEAD,
                priority=Priority.BULK,
                timeout_s=wait_s,
            )
            for batcher in self._models[model_of(queue)].batchers
        )

    def wait_for_less(self, queue: str, wait_s: float) -> None:
        """Wait until less waits here of the queue's model, or the time is over."""
        self._models[model_of(queue)].batchers[0].wait_for_pass(timeout_s=wait_s)
