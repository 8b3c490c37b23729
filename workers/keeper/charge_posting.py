"""Posting: the charges of ended jobs and of synchronous calls are added to their statements."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from shared import object_keys
from shared.errors import MessageUndecodable, ObjectMissing
from shared.messages import decode
from shared.statements import Statements
from shared.telemetry import Log
from shared.usage import Charge
from workers import metrics

log = Log("charges")
_MAX_AT_ONCE = 1000  # charges of one account in one change of its page
_THREADS = 8


def post_charges(statements: Statements) -> int:
    """Add all waiting charges to their statements, then delete them.

    Killed in between, or run twice at the same time, it adds each charge once.

    Returns:
        The number of charges that were added.

    Raises:
        Unavailable: The object store is unavailable; run it again.
    """
    store = statements.store
    posted = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for account in list(store.children(object_keys.CHARGES)):
            names = store.list(object_keys.charges_of(account))
            while chunk := list(islice(names, _MAX_AT_ONCE)):
                read = list(pool.map(lambda name: _read(statements, name), chunk))
                new = statements.post(account, [charge for charge in read if charge is not None])
                done = [name for name, each in zip(chunk, read, strict=True) if each is not None]
                list(pool.map(store.delete, done))
                posted += new
    if posted:
        metrics.CHARGES.inc(posted)
        log.info("charge.posted", count=posted)
    return posted


def _read(statements: Statements, name: str) -> Charge | None:
    """A charge; None if another keeper has added it, or if it cannot be read."""
    try:
        return decode(Charge, statements.store.get(name).data)
    except ObjectMissing:
        return None
    except MessageUndecodable as exc:  # it stays, for a newer version or for the operator
        log.error("charge.undecodable", name=name, reason=exc.detail)
        return None
