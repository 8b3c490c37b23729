"""Of which accounts a process takes more work."""

from __future__ import annotations

from shared.messages import CONTROL
from tests.workers.conftest import QUEUE, Bench, a_request
from tests.workers.handlers.test_sync_calls import a_call, answer, begin_of
from workers.claim_capacity import ClaimCapacity
from workers.handlers.sync_calls import SyncCalls


def test_accounts_whose_open_calls_take_the_memory_are_full(bench: Bench):
    calls = SyncCalls(begin_of(bench), bench.replies, max_open_bytes=100_000)
    room = ClaimCapacity(bench.models, calls)
    assert room.full_accounts(QUEUE) == set()

    bench.encoder.free.clear()
    calls.begin(a_call("large", a_request("x" * 200_000), account="heavy"))

    assert room.full_accounts(QUEUE) == {"heavy"}
    assert room.full_accounts(CONTROL) == set()
    bench.encoder.free.set()
    assert answer(bench, "large").result is not None
    calls.close(timeout_s=5)
    assert room.full_accounts(QUEUE) == set()
