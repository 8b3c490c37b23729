"""`pigeonhole-server keys`: create, list, rotate and revoke API keys.

No command takes a secret as an argument, so none is in a list of processes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from api.services import keys
from ops.cli_support import (
    account_id,
    date,
    duration,
    end_of,
    print_table,
    service_store,
    store_time,
)
from shared import tiers
from shared.adapters.store_factory import store_of
from shared.errors import NotFound
from shared.key_record import MAX_NAME_CHARS, SCOPES, SERVICES, Key, is_key_name
from shared.settings import Settings

_OVERLAP = timedelta(days=1)


def add_key_commands(commands: Any) -> None:
    """Add the commands to those of a parser."""
    group = commands.add_parser("keys", help="create, list, rotate and revoke API keys")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a key; its secret is shown only once")
    create.add_argument(
        "--name", required=True, type=_key_name, help="name that says what the key is for"
    )
    create.add_argument("--account", type=account_id, default="default", help="account of the key")
    create.add_argument(
        "--scopes",
        type=_some_of("scope", SCOPES),
        default=(),
        metavar="A,B",
        help=f"limit the key to some of the scopes: {', '.join(SCOPES)}",
    )
    create.add_argument(
        "--services",
        type=_some_of("service", SERVICES),
        default=(),
        metavar="A,B",
        help=f"limit the key to some of the services: {', '.join(SERVICES)}",
    )
    create.add_argument(
        "--tier", default="", help="tier of this key alone, instead of that of its account"
    )
    create.add_argument("--expires", type=date, metavar="WHEN", help="expiry: 30d, 12h, 2027-01-01")
    create.add_argument("--json", action="store_true", help="print the key as JSON")
    create.set_defaults(command=_create)
    listing = actions.add_parser("list", help="list all keys, without their secrets")
    listing.add_argument("--account", type=account_id, help="only the keys of this account")
    listing.add_argument("--json", action="store_true", help="print a JSON object per line")
    listing.set_defaults(command=_list)
    rotate = actions.add_parser(
        "rotate", help="create a key like another one, which then expires soon"
    )
    rotate.add_argument("id", help="id of the key, from `keys list`")
    rotate.add_argument(
        "--overlap",
        type=duration,
        default=_OVERLAP,
        metavar="TIME",
        help="how long the old key still works: 12h, 7d (default: 1d)",
    )
    rotate.add_argument("--json", action="store_true", help="print the new key as JSON")
    rotate.set_defaults(command=_rotate)
    revoke = actions.add_parser("revoke", help="revoke a key")
    revoke.add_argument("id", help="id of the key, from `keys list`")
    revoke.set_defaults(command=_revoke)


def _create(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    store = service_store(env)
    if arguments.tier:
        tiers.load(Settings.from_env(env).tiers).find(arguments.tier)
    now = store_time(store)
    secret, key = keys.create_key(
        store,
        name=arguments.name,
        account=arguments.account,
        scopes=arguments.scopes,
        services=arguments.services,
        tier=arguments.tier,
        created_at=now,
        expires_at=end_of(arguments.expires, now),
    )
    return _show_secret(secret, key, as_json=arguments.json)


def _list(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    store = service_store(env)
    listed = keys.list_keys(store, arguments.account)
    if arguments.json:
        for key in listed:
            print(_as_json(key))
        return 0
    now = store_time(store)
    rows = [
        (
            key.id,
            key.account,
            ",".join(key.scopes) or "all",
            ",".join(key.services) or "all",
            key.tier or "-",
            f"{key.created_at:%Y-%m-%d}",
            f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
            _state(key, now),
            key.name,
        )
        for key in listed
    ]
    head = ("id", "account", "scopes", "services", "tier", "created", "last used", "state", "name")
    print_table(head, rows)
    return 0


def _rotate(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    store = service_store(env)
    secret, key = keys.rotate_key(
        store, arguments.id, now=store_time(store), overlap=arguments.overlap
    )
    return _show_secret(secret, key, as_json=arguments.json)


def _revoke(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    store = store_of(settings)
    key = keys.revoke_key(store, arguments.id, now=store_time(store))
    if key is None:
        raise NotFound(f"there is no key {arguments.id}; `pigeonhole-server keys list` shows them")
    print(f"{key.id} ({key.name}) is revoked; this takes effect within {settings.key_cache_s:g} s")
    return 0


def _show_secret(secret: str, key: Key, *, as_json: bool) -> int:
    if as_json:
        print(_as_json(key, secret=secret))
    else:
        print(secret)
        print(
            f"Key {key.id}: the secret is shown only this once, so store it now.", file=sys.stderr
        )
    return 0


def _as_json(key: Key, **more: str) -> str:
    return json.dumps({**key.model_dump(mode="json"), **more}, ensure_ascii=False)


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'until' if key.valid_at(now) else 'expired'} {key.expires_at:%Y-%m-%d %H:%M}"


def _key_name(text: str) -> str:
    if not is_key_name(text):
        raise argparse.ArgumentTypeError(
            f"a key name must have 1 to {MAX_NAME_CHARS} printable characters, not only spaces"
        )
    return text.strip()


def _some_of(what: str, known: tuple[str, ...]) -> Any:
    """Reads a list of known names, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"unknown {what} {name!r}; supported are {', '.join(known)}"
                )
        return names

    return parse
