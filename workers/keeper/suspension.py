"""Suspension: the running jobs of suspended accounts are cancelled.

The command that suspends an account leaves an entry `suspended/{account}`. It stays until the API
processes refuse the calls of the account and no job of it is left.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

from shared import ids, object_keys
from shared.accounts import AccountStore
from shared.errors import IllegalTransition
from shared.job_cancellation import cancel_job
from shared.jobs import State
from shared.ports import Doorbell, Ledger
from shared.telemetry import Log

log = Log("suspension")

_PAGE = 1000
_ENDED_BY_THEMSELVES = frozenset({State.CANCELLING, State.EXPIRING, State.FINALISING})


def cancel_suspended(
    accounts: AccountStore,
    ledger: Ledger,
    doorbell: Doorbell,
    *,
    now: datetime,
    key_cache_s: float,
) -> int:
    """Cancel the jobs of accounts that were suspended.

    Args:
        accounts: The accounts, and their store.
        ledger: The open jobs.
        doorbell: Rung for the ends of the jobs.
        now: The time.
        key_cache_s: How long API processes may still accept jobs of a suspended account.

    Returns:
        The number of jobs that were cancelled.

    Raises:
        Unavailable: The object store or Redis is unavailable; run it again.
    """
    suspended = {name: accounts.get(name).suspended_at for name in accounts.suspensions()}
    if not suspended:
        return 0
    left: set[str] = set()
    cancelled, unknown = 0, False
    names = accounts.store.list(object_keys.OPEN)
    while page := list(islice(names, _PAGE)):
        job_ids = [name.removeprefix(object_keys.OPEN) for name in page]
        for job in ledger.records([job_id for job_id in job_ids if ids.is_job_id(job_id)]):
            unknown |= job is None  # until job recovery has added it to the ledger
            if job is None or suspended.get(job.account) is None or job.state.terminal:
                continue
            left.add(job.account)
            if job.state not in _ENDED_BY_THEMSELVES:
                with suppress(IllegalTransition):
                    cancelled += cancel_job(ledger, doorbell, job, now=now) is not None
    for account, since in suspended.items():
        refused = since is None or now - since > timedelta(seconds=key_cache_s) * 2
        if refused and account not in left and not unknown:
            accounts.store.delete(object_keys.suspension(account))
    if cancelled:
        log.info("suspension.cancelled", jobs=cancelled)
    return cancelled
