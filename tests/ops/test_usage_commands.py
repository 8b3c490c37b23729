"""The operator's commands of usage and balance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import cli
from shared.adapters.directory.object_store import DirectoryStore
from shared.statements import Statements
from shared.usage import Charge, UsageRow

Run = Callable[..., str]


@pytest.fixture
def books(tmp_path: Path) -> Statements:
    (tmp_path / "objects").mkdir()
    return Statements(store=DirectoryStore(tmp_path / "objects"))


@pytest.fixture
def run(books: Statements, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*argv: str, status: int = 0) -> str:
        assert cli.run(argv, {"PIGEONHOLE_DATA_DIR": str(tmp_path)}) == status
        return capsys.readouterr().out

    return command


def charge(books: Statements, account: str, hour: str, tokens: int) -> None:
    row = UsageRow(hour=hour, endpoint="classify", model="tiny", requests=1, input_tokens=tokens)
    books.charge(account, Charge(id=f"job_{account}_{hour}", rows=(row,)))


def test_a_grant_raises_the_balance_and_a_negative_one_lowers_it(run: Run) -> None:
    run("accounts", "create", "acme")
    assert "acme has 1000 tokens left" in run("accounts", "grant", "acme", "1_000")
    assert "acme has 600 tokens left" in run("accounts", "grant", "acme", "-400", "--note", "error")

    found = json.loads(run("accounts", "balance", "acme", "--json"))

    assert (found["balance"], found["granted"], found["used"]) == (600, 600, 0)
    assert [(each["tokens"], each["note"]) for each in found["grants"]] == [
        (1000, ""),
        (-400, "error"),
    ]
    assert run("accounts", "balance", "acme").startswith("600 tokens left: 600 granted, 0 used\n")


def test_usage_lists_accounts_by_day_and_csv_has_all_counts(run: Run, books: Statements) -> None:
    charge(books, "acme", "2026-01-30T23", 5)
    charge(books, "acme", "2026-01-31T09", 7)
    charge(books, "acme", "2026-02-01T00", 9)
    charge(books, "zoo", "2026-01-31T09", 11)
    days = ("usage", "--from", "2026-01-31", "--to", "2026-01-31")

    rows = list(csv.DictReader(io.StringIO(run(*days, "--csv"))))
    table = run(*days, "--account", "acme").splitlines()

    assert [(row["account"], row["day"], row["tokens"]) for row in rows] == [
        ("acme", "2026-01-31", "7"),
        ("zoo", "2026-01-31", "11"),
    ]
    assert {"input_tokens", "train_tokens", "visual_tokens"} <= rows[0].keys()
    assert [line.split() for line in table] == [
        ["account", "day", "requests", "items", "failed_items", "tokens", "cached"],
        ["acme", "2026-01-31", "1", "0", "0", "7", "0"],
    ]


@pytest.mark.parametrize("tokens", ["0", "many", "1e6"])
def test_a_wrong_number_of_tokens_is_refused(run: Run, tokens: str) -> None:
    with pytest.raises(SystemExit):
        run("accounts", "grant", "acme", tokens)
