"""login and completion."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from pigeonhole_client import _config
from pigeonhole_client._sync.client import Pigeonhole
from pigeonhole_client.cli.context import Command
from pigeonhole_client.errors import ConfigurationError

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_PIGEONHOLE_COMPLETE"


@click.command(cls=Command, example="pigeonhole login --url $URL < data/key")
@click.option("--url", help="The service, such as http://127.0.0.1:8080; asked for if absent.")
def login(url: str | None) -> None:
    """Keep the address of a service and a key, in a file that only you can read.

    The key is asked for, or read from standard input where that is no terminal; it is tried before
    it is kept.
    """
    if url is None:
        if not sys.stdin.isatty():
            raise ConfigurationError("pass --url: standard input is no terminal to ask on")
        url = str(click.prompt("URL", default="http://127.0.0.1:8080"))
    if sys.stdin.isatty():
        key = str(click.prompt("API key", hide_input=True))
    else:
        key = sys.stdin.readline()
    key = key.strip()
    if not key:
        raise ConfigurationError("there is no key on standard input")
    with Pigeonhole(url, key, patience_s=5) as client:
        models = [model for model in client.models.list() if model.available]
    path = _config.save_login(url, key)
    click.echo(f"{url} is kept in {path}; models: {', '.join(m.id for m in models) or 'none yet'}")


@click.command(
    cls=Command,
    example='eval "$(pigeonhole completion bash)"',
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete the commands; to be sourced where the shell starts."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "pigeonhole", _VARIABLE).source())
