"""Statements: the balance and the usage of an account, on the object store.

A statement is a chain of pages. A page carries the totals of all pages before it, so that the
balance is one read. Pages are changed by compare-and-set until they are full or a day old, and
never again. Charges wait in objects of their own until the keeper adds them to the page:

    job ends → charges/{account}/{job} (if absent) → open marker deleted
    keeper: charges added to the page, with their ids → charges deleted

The ids in the page decide: a charge that is written, or added, a second time changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from shared import object_keys, service_clock
from shared.errors import Conflict, MessageUndecodable, ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.telemetry import Log
from shared.types import Value
from shared.usage import FREE_TOKENS, Charge, UsageRow, added_up, hour_of

log = Log("statements")
MAX_CHARGES = 5000  # of a page; their ids take about 150 KB
_PAGE_S = 86400.0
_REPEAT_S = 6 * 3600.0
"""A charge may be added again, by a process that was stopped in between, within this time and
within the two pages before the current one."""
_ATTEMPTS = 50  # of an addition in conflict with other writers
_MAX_PAGES_KNOWN = 1000


class Grant(Value):
    """Tokens that the operator, or the tier, gave an account. Times in seconds since 1970."""

    id: str
    tokens: int
    at: float
    note: str = ""


class StatementPage(Value):
    """One page. `granted` and `charged` are totals of this page and of all before it."""

    number: int
    opened_at: float
    closed_at: float | None = None
    granted: int = 0
    charged: int = 0
    free: bool = False  # the free tokens of a tier were granted
    grants: tuple[Grant, ...] = ()
    rows: tuple[UsageRow, ...] = ()
    charges: tuple[str, ...] = ()  # ids

    def next(self) -> StatementPage:
        """The page after this one, which is closed."""
        assert self.closed_at is not None
        return StatementPage(
            number=self.number + 1,
            opened_at=self.closed_at,
            granted=self.granted,
            charged=self.charged,
            free=self.free,
        )


class Balance(Value):
    """Tokens of an account: all that were granted, and all that were charged."""

    granted: int = 0
    charged: int = 0
    free: bool = False

    @property
    def left(self) -> int:
        """Tokens left; below zero if the last work cost more than was left."""
        return self.granted - self.charged


@dataclass(frozen=True, kw_only=True)
class Statements:
    """The statements of all accounts. `clock` gives seconds since 1970."""

    store: ObjectStore
    clock: Callable[[], float] = service_clock.now
    # Of closed pages, which never change: the ids of their charges, by their names.
    _closed: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def charge(self, account: str, charge: Charge) -> None:
        """Write a charge, once: a second one of its id changes nothing.

        Raises:
            Unavailable: The object store is unavailable; whether it was written is unknown.
        """
        with suppress(PreconditionFailed):
            name = object_keys.charge(account, charge.id)
            self.store.put(name, encode(charge), if_absent=True)

    def post(self, account: str, charges: Sequence[Charge]) -> int:
        """Add charges to the statement, each once. Safe to repeat, and by several processes.

        Returns:
            The number of charges that were not there before.

        Raises:
            Conflict: Other writers were always faster.
        """

        def added(page: StatementPage) -> StatementPage:
            known = self._known(account, page)
            new = {each.id: each for each in charges if each.id not in known}
            if not new:
                return page
            rows = [row for each in new.values() for row in each.rows]
            return page.model_copy(
                update={
                    "charged": page.charged + sum(row.tokens for row in rows),
                    "rows": added_up((*page.rows, *rows)),
                    "charges": (*page.charges, *new),
                }
            )

        before, after = self._change(account, added)
        return len(after.charges) - len(before.charges)

    def grant(self, account: str, grant: Grant) -> Balance:
        """Add tokens to the balance; a second grant of the same id changes nothing.

        Raises:
            Conflict: Other writers were always faster.
        """

        def added(page: StatementPage) -> StatementPage:
            free = grant.id == FREE_TOKENS
            if page.free if free else grant.id in {each.id for each in page.grants}:
                return page
            return page.model_copy(
                update={
                    "granted": page.granted + grant.tokens,
                    "grants": (*page.grants, grant),
                    "free": page.free or free,
                }
            )

        self._change(account, added)
        return self.balance(account)

    def balance(self, account: str, *, free_tokens: int | None = None) -> Balance:
        """The balance, including the charges that are not yet in the statement.

        With `free_tokens`, an account that never had any gets them now.
        """
        waiting = list(self.waiting(account))  # before the page: the keeper moves them there
        page, _, _ = self._current(account)
        if free_tokens is not None and not page.free:
            return self.grant(account, Grant(id=FREE_TOKENS, tokens=free_tokens, at=self.clock()))
        new = self._not_in(account, page, waiting)
        return _balance(page, [row for each in new for row in each.rows])

    def rows(self, account: str, *, first: str, last: str) -> tuple[UsageRow, ...]:
        """The usage from one hour to another, both included, up to this moment."""
        return self.read(account, first=first, last=last)[1]

    def read(
        self, account: str, *, first: str, last: str, free_tokens: int | None = None
    ) -> tuple[Balance, tuple[UsageRow, ...]]:
        """What `balance` and `rows` give, of one moment and with each object read once."""
        waiting = list(self.waiting(account))
        rows: list[UsageRow] = []
        newest: StatementPage | None = None
        for page in self.pages(account):
            newest = newest or page
            if page.closed_at is not None and hour_of(page.closed_at) < first:
                break  # what a page holds has ended before it was closed
            rows += page.rows
        page = newest or StatementPage(number=0, opened_at=0)
        new = [row for each in self._not_in(account, page, waiting) for row in each.rows]
        used = added_up(row for row in (*rows, *new) if first <= row.hour <= last)
        if free_tokens is not None and not page.free:
            return self.balance(account, free_tokens=free_tokens), used
        return _balance(page, new), used

    def pages(self, account: str) -> Iterator[StatementPage]:
        """The pages of an account, newest first."""
        for name in self.store.list(object_keys.statement(account)):
            yield self._read(name)[0]

    def waiting(self, account: str, *, limit: int | None = None) -> Iterator[Charge]:
        """The charges that wait for the keeper."""
        for name in islice(self.store.list(object_keys.charges_of(account)), limit):
            try:
                yield decode(Charge, self.store.get(name).data)
            except ObjectMissing:
                continue  # the keeper was faster
            except MessageUndecodable as exc:
                log.error("charge.undecodable", name=name, reason=exc.detail)

    def _not_in(self, account: str, page: StatementPage, charges: Iterable[Charge]) -> list[Charge]:
        charges = list(charges)
        known = self._known(account, page) if charges else frozenset()
        return [each for each in charges if each.id not in known]

    def _known(self, account: str, page: StatementPage) -> set[str]:
        """Ids of the charges in the page, and in those before it that may be added again."""
        known = set(page.charges)
        now = self.clock()
        for back in range(1, page.number + 1):
            name = object_keys.statement_page(account, page.number - back)
            if name not in self._closed:
                if len(self._closed) >= _MAX_PAGES_KNOWN:
                    self._closed.clear()
                closed = self._read(name)[0]
                self._closed[name] = closed.closed_at or now, frozenset(closed.charges)
            closed_at, charges = self._closed[name]
            if back > 2 and closed_at < now - _REPEAT_S:
                break
            known |= charges
        return known

    def _change(
        self, account: str, change: Callable[[StatementPage], StatementPage]
    ) -> tuple[StatementPage, StatementPage]:
        """The current page before and after a change; closed after it if it is full or old."""
        for _ in range(_ATTEMPTS):
            page, name, etag = self._current(account)
            changed = change(page)
            if changed == page:
                return page, page
            now = self.clock()
            if len(changed.charges) >= MAX_CHARGES or now - page.opened_at >= _PAGE_S:
                changed = changed.model_copy(update={"closed_at": now})
            with suppress(PreconditionFailed, ObjectMissing):
                self.store.put(name, encode(changed), if_match=etag or None, if_absent=not etag)
                return page, changed
        raise Conflict("too many concurrent changes to the statement; try again", retry_after_s=1)

    def _current(self, account: str) -> tuple[StatementPage, str, str]:
        """The page that is open, with its name and ETag; an empty ETag: it is not written yet."""
        newest = next(self.store.list(object_keys.statement(account)), None)
        if newest is None:
            page, etag = StatementPage(number=0, opened_at=self.clock()), ""
        else:
            page, etag = self._read(newest)
            if page.closed_at is not None:
                page, etag = page.next(), ""
        return page, object_keys.statement_page(account, page.number), etag

    def _read(self, name: str) -> tuple[StatementPage, str]:
        stored = self.store.get(name)
        return decode(StatementPage, stored.data), stored.etag


def _balance(page: StatementPage, waiting: Sequence[UsageRow]) -> Balance:
    """The balance after the newest page and the rows of charges that wait to be added to it."""
    charged = page.charged + sum(row.tokens for row in waiting)
    return Balance(granted=page.granted, charged=charged, free=page.free)
