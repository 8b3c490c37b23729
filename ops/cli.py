"""The command line of the operator, `pigeonhole-server`: the service, accounts, keys, and models.

Reads the same `PIGEONHOLE_…` variables as the service; without any it uses the launcher's data
directory. Exit status: 0, 1 for a failure, 2 for a wrong command or setting. Model commands run in
a process of their own, `workers.model_cli`, so that this one needs no machine learning packages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from ops.account_commands import add_account_commands
from ops.cli_support import print_table
from ops.key_commands import add_key_commands
from ops.usage_commands import add_balance_commands, add_usage_command
from shared import settings as table
from shared.errors import ConfigurationError, PigeonholeError
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
        "runs",
        "jobs",
        "login",
        "retrain",
        "tag",
        "train",
    }
)


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

    add_key_commands(commands)
    add_balance_commands(add_account_commands(commands))
    add_usage_command(commands)

    settings = commands.add_parser("settings", help="print the table of settings, in Markdown")
    settings.set_defaults(command=_settings)

    models = commands.add_parser("models", help="list, download, check and optimise models")
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
    optimise = lookups.add_parser(
        "optimise", help="make int8 versions of text models for the CPU of this machine"
    )
    optimise.add_argument("names", nargs="*", metavar="NAME", help="default: all that can be")
    optimise.set_defaults(command=_shelf, action="optimise")
    return parser


def _run(_: argparse.Namespace, env: Mapping[str, str]) -> int:
    from ops import launcher  # the launcher needs what a bare API image may lack

    return launcher.run(env)


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
    print_table(("model", "engine", "device", "languages", "here", "also called"), rows)
    return 0


def _shelf(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Pull, check or optimise models; what is said goes straight to where ours goes."""
    Settings.from_env(env)
    command = [*_SHELF, arguments.action, *arguments.names]
    return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    main()
