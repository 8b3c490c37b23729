from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared.accounts import Account, AccountStore
from shared.adapters.directory.object_store import DirectoryStore
from shared.errors import Conflict

NOW = 1_800_000_000.0


@pytest.fixture
def accounts(tmp_path: Path) -> AccountStore:
    return AccountStore(store=DirectoryStore(tmp_path / "store"), clock=lambda: NOW)


def test_an_account_without_a_record_has_the_default_tier(accounts: AccountStore) -> None:
    assert accounts.get("default") == Account(id="default")
    assert list(accounts.all()) == []


def test_an_account_is_created_once(accounts: AccountStore) -> None:
    made = accounts.create("acme", name="Acme Ltd", tier="free")

    assert accounts.get("acme") == made
    assert made.created_at is not None
    assert made.created_at.timestamp() == NOW
    with pytest.raises(Conflict, match="acme exists already"):
        accounts.create("acme")


def test_a_change_gives_an_account_its_record(accounts: AccountStore) -> None:
    accounts.change("old", lambda record: record.model_copy(update={"tier": "premium"}))

    assert accounts.get("old").tier == "premium"
    assert [account.id for account in accounts.all()] == ["old"]


def test_concurrent_changes_are_all_applied(accounts: AccountStore) -> None:
    def note(sign: str) -> None:
        accounts.change(
            "busy", lambda record: record.model_copy(update={"name": record.name + sign})
        )

    threads = [threading.Thread(target=note, args=(sign,)) for sign in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(accounts.get("busy").name) == list("abcdef")


def test_a_suspension_is_listed_until_the_account_is_resumed(accounts: AccountStore) -> None:
    accounts.create("acme")

    accounts.suspend("acme")
    assert accounts.suspensions() == ["acme"]
    assert accounts.get("acme").suspended_at is not None

    accounts.resume("acme")
    assert accounts.suspensions() == []
    assert accounts.get("acme").suspended_at is None


def test_a_suspension_keeps_its_first_time(accounts: AccountStore) -> None:
    first = accounts.suspend("acme")
    later = AccountStore(store=accounts.store, clock=lambda: NOW + 60)

    assert later.suspend("acme") == first
