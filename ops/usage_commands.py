"""The operator's commands of usage and balance: `usage`, and `accounts grant` and `balance`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from api.schemas.usage import GroupBy, UsageAmounts, grouped
from ops.account_commands import known_account
from ops.cli_support import account_id, print_table, service_store
from shared import ids, object_keys
from shared.accounts import AccountStore
from shared.ports import ObjectStore
from shared.statements import Balance, Grant, Statements
from shared.usage import UsageRow, hour_of

_DEFAULT_DAYS = 30
_MAX_TOKENS = 10**15
_COLUMNS = ("requests", "items", "failed_items", "tokens", "cached")  # of the table for people


def add_usage_command(commands: Any) -> None:
    """Add the command `usage`."""
    usage = commands.add_parser("usage", help="show what accounts have used")
    usage.add_argument("--from", dest="first", type=_time, help="first day or hour, in UTC")
    usage.add_argument("--to", dest="last", type=_time, help="last day or hour, included, in UTC")
    usage.add_argument("--account", type=account_id, help="only this account")
    usage.add_argument("--group-by", choices=get_args(GroupBy), default="day")
    usage.add_argument("--csv", action="store_true", help="print all counts as CSV")
    usage.set_defaults(command=lambda arguments, env: _usage(arguments, service_store(env)))


def add_balance_commands(actions: Any) -> None:
    """Add the actions of `accounts` that are about its balance."""
    grant = actions.add_parser("grant", help="add tokens to the balance of an account")
    grant.add_argument("account", type=account_id, help="id of the account")
    grant.add_argument("tokens", type=_tokens, help="how many; fewer than 0 take tokens away")
    grant.add_argument("--note", default="", help="what the grant is for")
    grant.set_defaults(command=lambda arguments, env: _grant(arguments, service_store(env)))
    balance = actions.add_parser("balance", help="show the balance of an account, and its grants")
    balance.add_argument("account", type=account_id, help="id of the account")
    balance.add_argument("--json", action="store_true", help="print it as JSON")
    balance.set_defaults(command=lambda arguments, env: _balance(arguments, service_store(env)))


def _usage(arguments: argparse.Namespace, store: ObjectStore) -> int:
    now = datetime.fromtimestamp(store.now(), UTC)
    last = arguments.last or (now, False)
    first = arguments.first or (last[0] - timedelta(days=_DEFAULT_DAYS), False)
    hours = hour_of(first[0]), hour_of(last[0] + timedelta(hours=23 if last[1] else 0))
    statements = Statements(store=store, clock=store.now)
    found: list[tuple[str, str, Any]] = []
    for account in [arguments.account] if arguments.account else _accounts(store):
        rows: tuple[UsageRow, ...] = statements.rows(account, first=hours[0], last=hours[1])
        found += [(account, name, each) for name, each in grouped(rows, arguments.group_by).items()]
    names = tuple(UsageAmounts.model_fields) if arguments.csv else _COLUMNS
    table = [("account", arguments.group_by, *names)]
    table += [
        (account, name, *(str(getattr(counts, each)) for each in names))
        for account, name, counts in found
    ]
    if arguments.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(table)
        return 0
    print_table(table[0], table[1:])
    return 0


def _grant(arguments: argparse.Namespace, store: ObjectStore) -> int:
    known_account(AccountStore(store=store), arguments.account)
    statements = Statements(store=store, clock=store.now)
    grant = Grant(
        id=f"grant_{ids.token()}", tokens=arguments.tokens, at=store.now(), note=arguments.note
    )
    balance = statements.grant(arguments.account, grant)
    print(f"{arguments.account} has {balance.left} tokens left; this takes effect within seconds")
    return 0


def _balance(arguments: argparse.Namespace, store: ObjectStore) -> int:
    statements = Statements(store=store, clock=store.now)
    balance = statements.balance(arguments.account)
    grants = [each for page in statements.pages(arguments.account) for each in page.grants]
    if arguments.json:
        print(json.dumps({**_as_dict(balance), "grants": [each.model_dump() for each in grants]}))
        return 0
    print(f"{balance.left} tokens left: {balance.granted} granted, {balance.charged} used")
    for each in sorted(grants, key=lambda each: each.at):
        at = datetime.fromtimestamp(each.at, UTC)
        print(f"{at:%Y-%m-%d %H:%M}  {each.tokens:>15}  {each.id}  {each.note}".rstrip())
    return 0


def _as_dict(balance: Balance) -> dict[str, int]:
    return {"balance": balance.left, "granted": balance.granted, "used": balance.charged}


def _accounts(store: ObjectStore) -> list[str]:
    """All accounts that have used anything."""
    prefixes = (object_keys.STATEMENTS, object_keys.CHARGES)
    return sorted({account for prefix in prefixes for account in store.children(prefix)})


def _time(text: str) -> tuple[datetime, bool]:
    """A time, and whether it is a whole day."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date such as 2026-01-31 nor a time such as 2026-01-31T09"
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at, len(text) <= len("2026-01-31")


def _tokens(text: str) -> int:
    try:
        tokens = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        tokens = 0
    if not 0 < abs(tokens) <= _MAX_TOKENS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of tokens other than 0, of at most {_MAX_TOKENS}"
        )
    return tokens
