"""The operator's command line, `pigeonhole-server`: run the service, manage keys, look up settings.

Reads the same `PIGEONHOLE_…` variables as the service; without any it uses the launcher's data
directory. Exit status: 0, 1 for a failure, 2 for a wrong command or setting. Model commands run in
a process of their own, `workers.model_cli`, so that this one needs no machine learning packages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

from api.services import keys as key_store
from shared import settings as table
from shared.adapters.store_factory import store_of
from shared.errors import ConfigurationError, NotFound, PigeonholeError
from shared.ports import ObjectStore
from shared.settings import Settings

_SHELF = (sys.executable, "-m", "workers.model_cli")
# Of pigeonhole-client, whose command has the name that this one had until 0.1.
CLIENT_COMMANDS = frozenset(
    {
        "batches",
        "classifiers",
        "classify",
        "completion",
        "evaluate",
        "jobs",
        "login",
        "tag",
        "train",
    }
)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_MAX_KEY_NAME_CHARS = 100
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def main() -> None:
    """Run one command and exit."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one command and return its exit status.

    Raises:
        SystemExit: The command line is wrong (status 2), or asked for help.
    """
    if argv and argv[0] in CLIENT_COMMANDS:
        print(f"pigeonhole-server: {_told_of_the_client(argv[0])}", file=sys.stderr)
        return 2
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments, env)
    except PigeonholeError as exc:
        print(f"pigeonhole-server: {exc.detail}", file=sys.stderr)
        return 2 if isinstance(exc, ConfigurationError) else 1
    return status


def _told_of_the_client(command: str) -> str:
    told = f"{command} is a command of the client: run `pigeonhole {command}`"
    if find_spec("pigeonhole_client") is not None:
        return told
    return f"{told}, after `pip install ./api/client` in a checkout of Pigeonhole"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pigeonhole-server",
        description="Run and manage Pigeonhole. Texts and files are classified with the command of "
        "the client, `pigeonhole`.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    go = commands.add_parser("run", help="run the whole service on this machine")
    go.set_defaults(command=_run)

    keys = commands.add_parser("keys", help="create, list and revoke API keys")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a key; its secret is shown only once")
    create.add_argument(
        "--name", required=True, type=_key_name, help="name that says what the key is for"
    )
    create.add_argument("--account", type=_account, default="default", help="account of the key")
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=(),
        metavar="A,B",
        help=f"limit the key to some of the scopes: {', '.join(key_store.SCOPES)}",
    )
    create.add_argument(
        "--expires", type=_date, metavar="WHEN", help="expiry: 30d, 12h or 2027-01-01"
    )
    create.add_argument("--json", action="store_true", help="print the key as JSON")
    create.set_defaults(command=_create_key)
    listing = actions.add_parser("list", help="list all keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="print a JSON object per line")
    listing.set_defaults(command=_list_keys)
    revoke = actions.add_parser("revoke", help="revoke a key")
    revoke.add_argument("id", help="id of the key, from `keys list`")
    revoke.set_defaults(command=_revoke_key)

    settings = commands.add_parser("settings", help="print the table of settings, in Markdown")
    settings.set_defaults(command=_settings)

    models = commands.add_parser("models", help="list, download and check models")
    lookups = models.add_subparsers(required=True, metavar="ACTION")
    offered = lookups.add_parser(
        "list", help="list the models of the catalogue, and which are installed"
    )
    offered.add_argument("--json", action="store_true", help="print a JSON object per line")
    offered.set_defaults(command=_list_models)
    pull = lookups.add_parser("pull", help="download models, so that workers can load them")
    pull.add_argument("names", nargs="+", metavar="NAME", help="name from `models list`")
    pull.set_defaults(command=_shelf, action="pull")
    check = lookups.add_parser(
        "check", help="load models as a worker does, and classify an item with each"
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all installed models")
    check.set_defaults(command=_shelf, action="check")
    return parser


def _run(_: argparse.Namespace, env: Mapping[str, str]) -> int:
    from ops import launcher  # the launcher needs what a bare API image may lack

    return launcher.run(env)


def _create_key(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    store = _store(env)
    secret, key = key_store.create_key(
        store,
        name=arguments.name,
        account=arguments.account,
        scopes=arguments.scopes,
        created_at=_now(store),
        expires_at=_end(arguments.expires, _now(store)),
    )
    if arguments.json:
        print(_as_json(key, secret=secret))
    else:
        print(secret)
        print(
            f"Key {key.id}: the secret is shown only this once, so store it now.", file=sys.stderr
        )
    return 0


def _list_keys(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    store = _store(env)
    keys = key_store.list_keys(store)
    if arguments.json:
        for key in keys:
            print(_as_json(key))
        return 0
    now = _now(store)
    rows = [
        (
            key.id,
            key.account,
            ",".join(key.scopes) or "all",
            f"{key.created_at:%Y-%m-%d}",
            f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
            _state(key, now),
            key.name,
        )
        for key in keys
    ]
    _print_table(("id", "account", "scopes", "created", "last used", "state", "name"), rows)
    return 0


def _revoke_key(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    settings = Settings.from_env(env)
    store = store_of(settings)
    key = key_store.revoke_key(store, arguments.id, now=_now(store))
    if key is None:
        raise NotFound(f"there is no key {arguments.id}; `pigeonhole-server keys list` shows them")
    print(f"{key.id} ({key.name}) is revoked; this takes effect within {settings.key_cache_s:g} s")
    return 0


def _settings(_: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env  # the table is the same everywhere
    print(table.table())
    return 0


def _list_models(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    Settings.from_env(env)
    listed = subprocess.run([*_SHELF, "list"], env=env, stdout=subprocess.PIPE, check=False)
    if listed.returncode != 0 or arguments.json:
        print(listed.stdout.decode(), end="")
        return listed.returncode
    models = [json.loads(line) for line in listed.stdout.splitlines()]
    rows = [
        (
            model["name"] + (" (default)" if model["default"] else ""),
            model["engine"],
            model["device"],
            ",".join(model["languages"]) or "-",
            f"{model['size_bytes'] / 1e6:.0f} MB" if model["here"] else "no",
            ", ".join(model["aliases"]) or "-",
        )
        for model in models
    ]
    _print_table(("model", "engine", "device", "languages", "here", "also called"), rows)
    return 0


def _shelf(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Pull or check models; what is said goes straight to where ours goes."""
    Settings.from_env(env)
    command = [*_SHELF, arguments.action, *arguments.names]
    return subprocess.run(command, env=env, check=False).returncode


def _store(env: Mapping[str, str]) -> ObjectStore:
    """The store of the service that the environment names.

    Raises:
        ConfigurationError: It is to be the launcher's, and no launcher has run here: a key made
            there would open nothing.
    """
    settings = Settings.from_env(env)
    if not settings.object_store and not (settings.data_dir / "objects").is_dir():
        raise ConfigurationError(
            f"no service data in {settings.data_dir.absolute()}; change to the directory "
            "where the service was started, or set PIGEONHOLE_DATA_DIR or "
            "PIGEONHOLE_OBJECT_STORE"
        )
    return store_of(settings)


def _as_json(key: key_store.Key, **more: str) -> str:
    return json.dumps({**key.model_dump(mode="json"), **more}, ensure_ascii=False)


def _state(key: key_store.Key, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'expired' if key.expires_at <= now else 'until'} {key.expires_at:%Y-%m-%d %H:%M}"


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _key_name(text: str) -> str:
    if not text.strip() or len(text) > _MAX_KEY_NAME_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"a key name must have 1 to {_MAX_KEY_NAME_CHARS} printable characters, not only spaces"
        )
    return text.strip()


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "an account name may have a-z, 0-9, - and _, and at most 64 characters"
        )
    return text


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(scope.strip() for scope in text.split(",")))
    unknown = [scope for scope in scopes if scope not in key_store.SCOPES]
    if unknown:
        known = ", ".join(key_store.SCOPES)
        raise argparse.ArgumentTypeError(f"unknown scope {unknown[0]!r}; supported are {known}")
    return scopes


def _date(text: str) -> datetime | timedelta:
    try:
        if length := re.fullmatch(r"(\d+)([hdw])", text):
            return timedelta(**{_UNITS[length[2]]: int(length[1])})
        date = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration such as 30d nor a date"
        ) from None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


def _end(given: datetime | timedelta | None, now: datetime) -> datetime | None:
    """When a key expires.

    Raises:
        ConfigurationError: It has passed, or the calendar does not reach so far.
    """
    try:
        end = now + given if isinstance(given, timedelta) else given
    except OverflowError:
        raise ConfigurationError("--expires is too far in the future") from None
    if end is not None and end <= now:
        raise ConfigurationError(f"--expires: {end:%Y-%m-%d %H:%M} has passed")
    return end


def _now(store: ObjectStore) -> datetime:
    """The time by the object store's clock: that of an operator's machine may be wrong."""
    return datetime.fromtimestamp(store.now(), UTC)


if __name__ == "__main__":
    main()
