"""Accounts on the object store: a record each, changed by compare-and-set.

An account owns keys, jobs, files and classifiers. One that has keys but no record exists as well:
it has the default tier. So a data directory of a version without records keeps working.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from shared import object_keys, service_clock
from shared.errors import Conflict, ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.types import Value

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ATTEMPTS = 20  # of a change in conflict with other writers


class Account(Value):
    """One account. `id` is the name that keys and object keys use, `name` is for people.

    An empty `tier` is the default of the tiers file. `created_at` is None without a record.
    """

    id: str
    name: str = ""
    tier: str = ""
    created_at: datetime | None = None
    suspended_at: datetime | None = None


def is_account_id(text: str) -> bool:
    """Whether the text has the form of an account id; the account need not exist.

    >>> [is_account_id(text) for text in ("acme", "team-1", "Acme", "-a", "")]
    [True, True, False, False, False]
    """
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class AccountStore:
    """The records of all accounts. `clock` returns seconds since 1970."""

    store: ObjectStore
    clock: Callable[[], float] = service_clock.now

    def get(self, account: str) -> Account:
        """The account; one of the default tier where there is no record."""
        return self._load(account)[0]

    def all(self) -> Iterator[Account]:
        """The accounts that have a record, by id."""
        for name in self.store.list(object_keys.ACCOUNTS):
            with suppress(ObjectMissing):
                yield decode(Account, self.store.get(name).data)

    def create(self, account: str, *, name: str = "", tier: str = "") -> Account:
        """Create an account. The caller checks the form of the id and the tier.

        Raises:
            Conflict: The account has a record.
        """
        record = Account(id=account, name=name, tier=tier, created_at=self._now())
        try:
            self.store.put(object_keys.account(account), encode(record), if_absent=True)
        except PreconditionFailed:
            raise Conflict(f"the account {account} exists already") from None
        return record

    def change(self, account: str, change: Callable[[Account], Account]) -> Account:
        """Apply a change to the current record, with any number of concurrent writers.

        An account without a record gets one.

        Raises:
            Conflict: Too many concurrent changes.
        """
        for _ in range(_ATTEMPTS):
            record, etag = self._load(account)
            changed = change(record)
            if changed == record:
                return record
            if changed.created_at is None:
                changed = changed.model_copy(update={"created_at": self._now()})
            with suppress(PreconditionFailed, ObjectMissing):
                self.store.put(
                    object_keys.account(account),
                    encode(changed),
                    if_match=etag or None,
                    if_absent=not etag,
                )
                return changed
        raise Conflict("too many concurrent changes to the account; try again", retry_after_s=1)

    def suspend(self, account: str) -> Account:
        """Suspend an account: the API refuses its calls, and the keeper cancels its jobs."""
        suspended = self.change(
            account,
            lambda record: record.model_copy(
                update={"suspended_at": record.suspended_at or self._now()}
            ),
        )
        # After the record: the keeper drops an entry of an account that is not suspended.
        self.store.put(object_keys.suspension(account), b"")
        return suspended

    def resume(self, account: str) -> Account:
        """End the suspension of an account. Jobs that were cancelled stay cancelled."""
        self.store.delete(object_keys.suspension(account))
        return self.change(account, lambda record: record.model_copy(update={"suspended_at": None}))

    def suspensions(self) -> list[str]:
        """The accounts whose jobs the keeper has to cancel."""
        names = self.store.list(object_keys.SUSPENSIONS)
        return [name.removeprefix(object_keys.SUSPENSIONS) for name in names]

    def _load(self, account: str) -> tuple[Account, str]:
        """The record and its ETag; an empty ETag: there is no record."""
        try:
            stored = self.store.get(object_keys.account(account))
        except ObjectMissing:
            return Account(id=account), ""
        return decode(Account, stored.data), stored.etag

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)
