"""Statements: each charge counts once, whatever is repeated, and the pages carry the balance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared import object_keys, statements
from shared.adapters.directory.object_store import DirectoryStore
from shared.statements import Grant, Statements
from shared.usage import FREE_TOKENS, Charge, UsageRow
from tests.clock import Clock
from workers.keeper.charge_posting import post_charges

ME = "acme"
HOUR_S = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock(1000 * 86400.0)


@pytest.fixture
def books(tmp_path: Path, clock: Clock) -> Statements:
    return Statements(store=DirectoryStore(tmp_path), clock=clock)


def a_charge(name: str, tokens: int = 10, *, hour: str = "1972-09-27T00", **fields: str) -> Charge:
    row = UsageRow(hour=hour, endpoint="classify", model="tiny", requests=1, items=1, **fields)
    return Charge(id=name, rows=(row.model_copy(update={"input_tokens": tokens}),))


def all_rows(books: Statements) -> tuple[UsageRow, ...]:
    return books.rows(ME, first="0", last="9")


def test_a_charge_counts_before_and_after_it_is_posted(books: Statements):
    books.charge(ME, a_charge("job_a", 7))
    books.charge(ME, a_charge("job_a", 7))

    assert books.balance(ME).charged == 7
    assert [row.input_tokens for row in all_rows(books)] == [7]
    assert post_charges(books) == 1
    assert books.balance(ME).charged == 7
    assert [(row.requests, row.input_tokens) for row in all_rows(books)] == [(1, 7)]
    assert list(books.store.list(object_keys.CHARGES)) == []


@pytest.mark.parametrize("posted", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_balance_and_usage_come_of_one_read(
    books: Statements, clock: Clock, monkeypatch: pytest.MonkeyPatch, posted: bool, closed: bool
):
    books.balance(ME, free_tokens=100)
    if closed:
        clock.now += 2 * 86400.0  # the next change closes the page
    books.charge(ME, a_charge("job_a", 7))
    post_charges(books)
    books.charge(ME, a_charge("job_b", 8))
    if posted:
        post_charges(books)
    expected = books.balance(ME, free_tokens=100), all_rows(books)
    names: list[str] = []
    get = books.store.get
    monkeypatch.setattr(books.store, "get", lambda name: names.append(name) or get(name))

    assert books.read(ME, first="0", last="9", free_tokens=100) == expected
    assert expected[0].left == 85
    assert len(names) == len(set(names))


def test_a_first_read_grants_the_free_tokens(books: Statements):
    assert books.read(ME, first="0", last="9", free_tokens=50)[0].left == 50
    assert books.balance(ME).left == 50


def test_a_charge_that_is_written_again_after_it_was_posted_changes_nothing(books: Statements):
    for _ in range(3):
        books.charge(ME, a_charge("job_a", 7))
        assert books.balance(ME).charged == 7
        post_charges(books)

    assert books.balance(ME).charged == 7
    assert sum(row.requests for row in all_rows(books)) == 1


def test_keepers_that_post_the_same_charges_at_once_add_each_once(books: Statements):
    for number in range(60):
        books.charge(ME, a_charge(f"job_{number}", number))
    others = [Statements(store=books.store, clock=books.clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        posted = sum(pool.map(post_charges, others))

    assert posted == 60
    assert books.balance(ME).charged == sum(range(60))


def test_a_full_page_is_followed_by_one_that_carries_the_totals(
    books: Statements, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(statements, "MAX_CHARGES", 10)
    books.grant(ME, Grant(id="grant_1", tokens=1000, at=0))
    for number in range(35):
        books.post(ME, [a_charge(f"job_{number}", 2)])

    pages = list(books.pages(ME))

    assert [page.number for page in pages] == [3, 2, 1, 0]
    assert [len(page.charges) for page in pages] == [5, 10, 10, 10]
    assert (books.balance(ME).granted, books.balance(ME).left) == (1000, 1000 - 70)
    assert sum(row.requests for row in all_rows(books)) == 35
    assert books.post(ME, [a_charge("job_19", 2), a_charge("job_20", 2)]) == 0


def test_a_page_is_closed_after_a_day_and_an_hour_is_found_without_older_pages(
    books: Statements, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    for day in range(5):
        books.post(ME, [a_charge(f"job_{day}", 3, hour=f"1972-09-{27 + day}T00")])
        clock.now += 90_000
        books.post(ME, [a_charge(f"job_{day}b", 3, hour=f"1972-09-{27 + day}T23")])
    pages = list(books.pages(ME))
    monkeypatch.setattr(Statements, "pages", lambda self, account: iter(pages[:2]))

    rows = books.rows(ME, first="1972-09-31T00", last="1972-09-31T12")

    assert len(pages) == 5
    assert [(row.hour, row.input_tokens) for row in rows] == [("1972-09-31T00", 3)]


def test_the_free_tokens_of_a_tier_are_granted_once_for_ever(books: Statements, clock: Clock):
    for _ in range(3):
        assert books.balance(ME, free_tokens=100).left == 100
    books.post(ME, [a_charge("job_a", 150)])
    clock.now += 100_000
    books.post(ME, [a_charge("job_b", 1)])  # closes the page
    assert books.balance(ME, free_tokens=100).left == -51
    assert books.grant(ME, Grant(id="grant_1", tokens=60, at=0)).left == 9
    assert books.grant(ME, Grant(id=FREE_TOKENS, tokens=100, at=0)).left == 9


def test_concurrent_grants_and_charges_all_count(books: Statements):
    def work(number: int) -> None:
        mine = Statements(store=books.store, clock=books.clock)
        mine.grant(ME, Grant(id=f"grant_{number}", tokens=100, at=0))
        mine.post(ME, [a_charge(f"job_{number}", 10)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))

    assert books.balance(ME).left == 24 * 90


def test_a_charge_that_cannot_be_read_stays_and_stops_no_other(books: Statements):
    books.store.put(object_keys.charge(ME, "job_0"), b"garbage")
    books.charge(ME, a_charge("job_a", 7))

    assert post_charges(books) == 1
    assert books.balance(ME).charged == 7
    assert len(list(books.store.list(object_keys.CHARGES))) == 1
