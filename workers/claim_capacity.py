"""Claim capacity (backpressure): whether this process can take more work, and of which accounts.

Work waits in the ledger, where a free worker can claim it; a worker claims no more than the next
few forward passes hold. For calls, and for jobs that share forward passes with them, the limit is
per account: neither the queued work nor the memory of open calls of one account delays the calls of
another. Parts of batches are claimed only when little work waits, since they run at the lowest
priority.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.messages import CONTROL, model_of, priority_of
from shared.types import Priority
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.sync_calls import SyncCalls

_PASSES_AHEAD = 2  # limit of claimed work that waits in this process, in forward passes
_OPEN_CALLS = 64  # limit of open calls of an account at that limit


class ClaimCapacity:
    """The capacity of the models of this process."""

    def __init__(self, models: Mapping[str, LoadedModel], calls: SyncCalls) -> None:
        self._models = models
        self._calls = calls

    def full_accounts(self, queue: str) -> set[str]:
        """Accounts at their limit. Their short calls are still claimed, since these run first."""
        if queue == CONTROL:
            return set()
        priority = priority_of(queue)
        full = self._models[model_of(queue)].full_accounts(priority, passes=_PASSES_AHEAD)
        return full | self._calls.full_accounts(priority)

    def closed_accounts(self, queue: str) -> set[str]:
        """Accounts at their limit of short calls, too."""
        return self._calls.accounts_with(_OPEN_CALLS, priority_of(queue))

    def wait(self, queue: str, wait_s: float) -> bool:
        """Wait until the process has capacity for the queue; False after `wait_s`."""
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
        """Wait until less work of the queue's model waits in the process, at most `wait_s`."""
        self._models[model_of(queue)].batchers[0].wait_for_pass(timeout_s=wait_s)
