"""`pigeonhole-server accounts`: create, list, show, change, suspend and resume accounts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from api.services.keys import has_keys, list_keys
from ops.cli_support import account_id, print_table, service_store, store_time
from shared import tiers
from shared.accounts import Account, AccountStore
from shared.errors import NotFound
from shared.settings import Settings
from shared.tiers import Tiers


def add_account_commands(commands: Any) -> Any:
    """Add the commands to those of a parser; returns the parsers of the actions."""
    group = commands.add_parser("accounts", help="create, list, change and suspend accounts")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create an account")
    create.add_argument("id", type=account_id, help="id, as keys name it: a-z, 0-9, - and _")
    create.add_argument("--name", default="", help="name for people")
    create.add_argument("--tier", default="", help="tier; absent: the default of the tiers file")
    create.set_defaults(command=_create)
    listing = actions.add_parser("list", help="list the accounts that have a record or a key")
    listing.add_argument("--json", action="store_true", help="print a JSON object per line")
    listing.set_defaults(command=_list)
    show = actions.add_parser("show", help="print an account and its limits as JSON")
    show.add_argument("id", type=account_id)
    show.set_defaults(command=_show)
    change = actions.add_parser("set", help="change the tier or the name of an account")
    change.add_argument("id", type=account_id)
    change.add_argument("--tier", help="new tier")
    change.add_argument("--name", help="new name")
    change.set_defaults(command=_set)
    for name, command, about in (
        ("suspend", _suspend, "refuse the calls of an account and cancel its jobs"),
        ("resume", _resume, "end the suspension of an account"),
    ):
        action = actions.add_parser(name, help=about)
        action.add_argument("id", type=account_id)
        action.set_defaults(command=command)
    return actions


def known_account(accounts: AccountStore, account: str) -> Account:
    """An account that has a record or a key.

    Raises:
        NotFound: There is none: a wrong id must not make a new account.
    """
    record = accounts.get(account)
    if record.created_at is None and not has_keys(accounts.store, account):
        raise NotFound(
            f"there is no account {account}; `pigeonhole-server accounts list` shows them"
        )
    return record


def account_store(env: Mapping[str, str]) -> AccountStore:
    """The accounts of the service; their times are those of the object store."""
    store = service_store(env)
    return AccountStore(store=store, clock=lambda: store_time(store).timestamp())


def _create(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    tier = _tiers(env).find(arguments.tier)
    record = account_store(env).create(arguments.id, name=arguments.name, tier=arguments.tier)
    print(f"{record.id} is created; its tier is {tier.name}")
    return 0


def _list(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    accounts, table = account_store(env), _tiers(env)
    records = {key.account: Account(id=key.account) for key in list_keys(accounts.store)}
    records |= {record.id: record for record in accounts.all()}
    listed = [records[name] for name in sorted(records)]
    if arguments.json:
        for record in listed:
            print(json.dumps(_shown(record, table), ensure_ascii=False))
        return 0
    rows = [
        (
            record.id,
            table.of(record.tier).name,
            f"{record.created_at:%Y-%m-%d}" if record.created_at else "-",
            "suspended" if record.suspended_at else "active",
            record.name or "-",
        )
        for record in listed
    ]
    print_table(("account", "tier", "created", "state", "name"), rows)
    return 0


def _show(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    table = _tiers(env)
    record = known_account(account_store(env), arguments.id)
    limits = table.of(record.tier).model_dump(mode="json", exclude={"name"})
    print(json.dumps({**_shown(record, table), "limits": limits}, ensure_ascii=False, indent=2))
    return 0


def _set(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    accounts = account_store(env)
    if arguments.tier is not None:
        _tiers(env).find(arguments.tier)
    known_account(accounts, arguments.id)
    changes = {
        field: value
        for field, value in (("tier", arguments.tier), ("name", arguments.name))
        if value is not None
    }
    record = accounts.change(arguments.id, lambda old: old.model_copy(update=changes))
    print(f"{record.id} has the tier {_tiers(env).of(record.tier).name}; {_effect(env)}")
    return 0


def _suspend(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    accounts = account_store(env)
    known_account(accounts, arguments.id)
    record = accounts.suspend(arguments.id)
    print(f"{record.id} is suspended; {_effect(env)}, and the keeper cancels its jobs")
    return 0


def _resume(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    accounts = account_store(env)
    known_account(accounts, arguments.id)
    record = accounts.resume(arguments.id)
    print(f"{record.id} is active; {_effect(env)}")
    return 0


def _shown(record: Account, table: Tiers) -> dict[str, Any]:
    return {**record.model_dump(mode="json"), "tier": table.of(record.tier).name}


def _effect(env: Mapping[str, str]) -> str:
    return f"this takes effect within {Settings.from_env(env).key_cache_s:g} s"


def _tiers(env: Mapping[str, str]) -> Tiers:
    return tiers.load(Settings.from_env(env).tiers)
